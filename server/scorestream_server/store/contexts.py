"""Contexts: those of the store, and the built-in ones beside them."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.context import (
    Context,
    ContextSettings,
    ContextTags,
    etag_of,
    tagged,
    tags_of,
    with_tags,
)
from scorestream_server.domain.errors import (
    ErrorCode,
    ScorestreamError,
    counted,
    invalid,
    not_found,
    precondition,
)
from scorestream_server.store import requests
from scorestream_server.store.schema import CONTEXT_TAGS, CONTEXTS, IS_OPEN, SESSIONS

NAMED_AT_MOST = 3
"""How many of the sessions that stand in the way of something are told by name."""
MOST_TAGS = 64
"""Of a kind."""


class ContextStore:
    """All contexts of a server. A built-in one hides one of its name in the store.

    Args:
        built_in: those that come with the server, by name; the default one is there.
    """

    def __init__(self, built_in: Mapping[str, Context]) -> None:
        self._built_in = built_in

    def get(self, connection: sa.Connection, context_id: str) -> Context:
        """Return a context.

        Raises:
            ScorestreamError: NOT_FOUND.
        """
        built_in = self._built_in.get(context_id)
        if built_in is not None:
            return _with_tags(built_in, _added(connection, context_id))
        found = _find(connection, context_id)
        if found is None:
            raise not_found(
                "CONTEXT_NOT_FOUND",
                f"There is no context {context_id!r}. `scorestream context list` shows those that there are.",
                context=context_id,
            )
        return found

    def every(self, connection: sa.Connection) -> list[Context]:
        """Return every context."""
        stored = (_context(row) for row in connection.execute(sa.select(CONTEXTS)))
        return [*self._own(connection), *(found for found in stored if found.id not in self._built_in)]

    def hidden(self, connection: sa.Connection) -> list[str]:
        """Return the names of contexts in the store that built-in ones hide."""
        names = sa.select(CONTEXTS.c.id).where(CONTEXTS.c.id.in_(list(self._built_in)))
        return list(connection.execute(names.order_by(CONTEXTS.c.id)).scalars())

    def page(self, connection: sa.Connection, *, after: str, limit: int) -> tuple[list[Context], bool]:
        """Return up to `limit` contexts by name, those whose names come after that one, and whether there are more."""
        query = sa.select(CONTEXTS).where(CONTEXTS.c.id > after, CONTEXTS.c.id.not_in(list(self._built_in)))
        stored = connection.execute(query.order_by(CONTEXTS.c.id).limit(limit + 1))
        found = [_context(row) for row in stored]
        found += [context for context in self._own(connection) if context.id > after]
        found.sort(key=lambda context: context.id)
        return found[:limit], len(found) > limit

    def create(self, connection: sa.Connection, context: Context, request_id: str) -> Context:
        """Insert a context; a request id seen before gives the context of then.

        Raises:
            ScorestreamError: ALREADY_EXISTS.
        """
        if request_id:
            earlier = requests.find(connection, context.owner, request_id, "context")
            if earlier is not None:
                return self.get(connection, earlier)
        if context.id in self._built_in or _find(connection, context.id) is not None:
            raise ScorestreamError(
                ErrorCode.ALREADY_EXISTS,
                "CONTEXT_EXISTS",
                f"There is a context {context.id!r} already. Change it, or take another name.",
                metadata={"context": context.id},
            )
        if request_id and context.create_time is not None:
            requests.record(connection, context.owner, request_id, "context", context.id, context.create_time)
        connection.execute(sa.insert(CONTEXTS).values(_values(context)))
        return context

    def update(
        self,
        connection: sa.Connection,
        old: Context,
        settings: ContextSettings,
        fixed: Sequence[str],
        now: float,
    ) -> Context:
        """Have a context say something else, and return it.

        Args:
            connection: of a transaction that writes.
            old: the context that the change was made for.
            settings: what it is to say.
            fixed: attributes that cannot change while sessions of it are open.
            now: seconds since 1970.

        Raises:
            ScorestreamError: NOT_FOUND; FAILED_PRECONDITION, where it changed meanwhile or sessions need it as it is.
        """
        self.require_as_it_was(self.get(connection, old.id), old.etag)
        moved = [name for name in fixed if _said(settings, name) != _said(old.settings, name)]
        if moved:
            self._require_unused(connection, old.id, f"change {' and '.join(moved)} of")
        made = dataclasses.replace(old, settings=settings, etag=etag_of(settings, now), update_time=now)
        connection.execute(sa.update(CONTEXTS).where(CONTEXTS.c.id == old.id).values(_values(made)))
        return made

    def tag(
        self, connection: sa.Connection, context_id: str, add: ContextTags, remove: ContextTags, now: float
    ) -> Context:
        """Add and remove tags of a context, whatever else changed of it meanwhile, and return it.

        Those that the configuration file gives a built-in context stay; what is added to them is kept here.

        Raises:
            ScorestreamError: NOT_FOUND; FAILED_PRECONDITION, where one to be removed comes from the configuration file;
                INVALID_ARGUMENT, where they would be too many.
        """
        old = self.get(connection, context_id)
        tags = with_tags(tags_of(old.settings), add, remove)
        if max(len(tags.service), len(tags.stage)) > MOST_TAGS:
            raise invalid(
                "TOO_MANY_TAGS", f"A context has at most {MOST_TAGS} tags of a kind.", context=old.id
            )
        settings = tagged(old.settings, tags)
        if settings == old.settings:
            return old
        built_in = self._built_in.get(context_id)
        if built_in is None:
            made = dataclasses.replace(old, settings=settings, etag=etag_of(settings, now), update_time=now)
            connection.execute(sa.update(CONTEXTS).where(CONTEXTS.c.id == old.id).values(_values(made)))
            return made
        fixed = tags_of(built_in.settings)
        _require_free(built_in, remove, fixed)
        added = with_tags(tags, ContextTags(), fixed)
        connection.execute(sa.delete(CONTEXT_TAGS).where(CONTEXT_TAGS.c.context_id == context_id))
        values = {"context_id": context_id, "tags": msgspec.json.encode(added)}
        connection.execute(sa.insert(CONTEXT_TAGS).values(values))
        return _with_tags(built_in, added)

    def delete(self, connection: sa.Connection, context_id: str, etag: str) -> None:
        """Delete a context, where it still has this etag, if one is given.

        Raises:
            ScorestreamError: NOT_FOUND; FAILED_PRECONDITION, where it is built in, changed meanwhile or is in use.
        """
        context = self.get(connection, context_id)
        self.require_own(context)
        self.require_as_it_was(context, etag or context.etag)
        self._require_unused(connection, context_id, "delete")
        connection.execute(sa.delete(CONTEXTS).where(CONTEXTS.c.id == context_id))

    def require_own(self, context: Context) -> None:
        """Refuse to change what is built in."""
        if context.built_in:
            raise precondition(
                "CONTEXT_BUILT_IN",
                f"Context {context.id!r} comes from {context.origin}, and is changed there only.",
                context=context.id,
            )

    def require_as_it_was(self, context: Context, etag: str) -> None:
        """Refuse a change that was made for what a context said before."""
        if context.etag != etag:
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(context.update_time))
            raise precondition(
                "STALE_ETAG",
                f"Context {context.id!r} was changed at {when}, after you read it: your etag is {etag[:80]!r}, its own is now "
                f"{context.etag!r}. Read it again, and repeat your change if it is still wanted.",
                context=context.id,
                etag=context.etag,
            )

    def _require_unused(self, connection: sa.Connection, context_id: str, what: str) -> None:
        of_it = sa.and_(SESSIONS.c.context == context_id, IS_OPEN)
        number = connection.execute(sa.select(sa.func.count()).where(of_it)).scalar_one()
        if number:
            first = sa.select(SESSIONS.c.name).where(of_it).order_by(SESSIONS.c.seq).limit(NAMED_AT_MOST)
            names = [repr(name) for name in connection.execute(first).scalars()]
            more = f" and {number - len(names):,} more" if number > len(names) else ""
            raise precondition(
                "CONTEXT_IN_USE",
                f"You cannot {what} context {context_id!r} now: {counted(number, 'open session')} "
                f"{'was' if number == 1 else 'were'} made from it ({', '.join(names)}{more}). End them first, with: "
                "scorestream session terminate.",
                context=context_id,
                sessions=str(number),
            )

    def _own(self, connection: sa.Connection) -> list[Context]:
        """Return the built-in contexts with the tags that they have now."""
        rows = connection.execute(sa.select(CONTEXT_TAGS))
        added = {row.context_id: msgspec.json.decode(row.tags, type=ContextTags) for row in rows}
        return [_with_tags(context, added.get(name)) for name, context in self._built_in.items()]


def _added(connection: sa.Connection, context_id: str) -> ContextTags | None:
    row = connection.execute(
        sa.select(CONTEXT_TAGS).where(CONTEXT_TAGS.c.context_id == context_id)
    ).one_or_none()
    return None if row is None else msgspec.json.decode(row.tags, type=ContextTags)


def _with_tags(context: Context, added: ContextTags | None) -> Context:
    """Return a built-in context with what was added to its tags."""
    if added is None:
        return context
    settings = tagged(context.settings, with_tags(tags_of(context.settings), added, ContextTags()))
    return dataclasses.replace(context, settings=settings, etag=etag_of(settings, None))


def _require_free(context: Context, remove: ContextTags, fixed: ContextTags) -> None:
    """Refuse to remove tags that the configuration file gives."""
    stay = sorted({*remove.service} & {*fixed.service} | {*remove.stage} & {*fixed.stage})
    if stay:
        raise precondition(
            "TAG_BUILT_IN",
            f"Tag {stay[0]!r} of context {context.id!r} comes from {context.origin}, and is removed there only.",
            context=context.id,
            tag=stay[0],
        )


def _said(settings: ContextSettings, name: str) -> Any:
    return getattr(settings if hasattr(settings, name) else settings.pool, name)


def _find(connection: sa.Connection, context_id: str) -> Context | None:
    row = connection.execute(sa.select(CONTEXTS).where(CONTEXTS.c.id == context_id)).one_or_none()
    return None if row is None else _context(row)


def _context(row: Any) -> Context:
    settings = msgspec.json.decode(row.settings, type=ContextSettings)
    return Context(row.id, settings, row.owner, row.etag, row.create_time, row.update_time)


def _values(context: Context) -> dict[str, Any]:
    return {
        "id": context.id,
        "settings": msgspec.json.encode(context.settings),
        "owner": context.owner,
        "etag": context.etag,
        "create_time": context.create_time,
        "update_time": context.update_time,
    }
