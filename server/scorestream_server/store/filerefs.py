"""Filerefs in the store."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, not_found
from scorestream_server.domain.fileref import Fileref
from scorestream_server.domain.home import FILEREF_SCHEME
from scorestream_server.scoring.nearest import MOST_SHOWN, nearest
from scorestream_server.store.schema import FILEREFS

MOST = 1000
"""Filerefs of a session."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Paths as a client gave them, and what they come to once filerefs are replaced by what they stand for."""

    given: tuple[str, ...]
    paths: tuple[str, ...]

    @contextmanager
    def told(self) -> Iterator[None]:
        """Have errors about what a fileref stands for name the fileref."""
        try:
            yield
        except ScorestreamError as error:
            for given, path in zip(self.given, self.paths, strict=True):
                if given != path and error.metadata.get("path") == path:
                    error.message = f"{given} stands for {path!r}. {error.message}"
            raise


def assign(connection: sa.Connection, fileref: Fileref) -> Fileref:
    """Insert a fileref, in the place of one that has its name.

    Raises:
        ScorestreamError: RESOURCE_EXHAUSTED, where the session has `MOST` others.
    """
    remove(connection, fileref.session_id, fileref.fileref_id)
    count = sa.select(sa.func.count()).where(FILEREFS.c.session_id == fileref.session_id)
    if connection.execute(count).scalar_one() >= MOST:
        raise ScorestreamError(
            ErrorCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_FILEREFS",
            f"The session has {MOST:,} filerefs, as many as it may. Deassign some.",
        )
    values = {column.name: getattr(fileref, column.name) for column in FILEREFS.columns}
    connection.execute(sa.insert(FILEREFS).values(values))
    return fileref


def get(connection: sa.Connection, session_id: str, fileref_id: str) -> Fileref:
    """Return a fileref.

    Raises:
        ScorestreamError: NOT_FOUND, naming those that there are, or the one that was probably meant.
    """
    row = connection.execute(_one(session_id, fileref_id)).one_or_none()
    if row is not None:
        return _fileref(row)
    query = sa.select(FILEREFS.c.fileref_id).where(FILEREFS.c.session_id == session_id)
    names = list(connection.execute(query.order_by(FILEREFS.c.fileref_id)).scalars())
    near = nearest(fileref_id, names)
    there = ", ".join(names[:MOST_SHOWN]) + (", ..." if len(names) > MOST_SHOWN else "")
    hint = f"did you mean {near!r}?" if near else f"it has: {there or 'none'}."
    raise not_found(
        "FILEREF_NOT_FOUND",
        f"The session has no fileref {fileref_id!r}; {hint} Make one with: scorestream fileref assign.",
        fileref=fileref_id,
    )


def page(connection: sa.Connection, session_id: str, after: str, limit: int) -> tuple[list[Fileref], bool]:
    """Return up to `limit` filerefs of a session whose names follow `after`, and whether there are more."""
    query = sa.select(FILEREFS).where(FILEREFS.c.session_id == session_id, FILEREFS.c.fileref_id > after)
    rows = connection.execute(query.order_by(FILEREFS.c.fileref_id).limit(limit + 1)).all()
    return [_fileref(row) for row in rows[:limit]], len(rows) > limit


def targets(connection: sa.Connection, session_id: str, texts: Sequence[str]) -> Targets:
    """Return paths with what their filerefs stand for.

    Raises:
        ScorestreamError: NOT_FOUND, for a fileref that there is not.
    """
    paths = [
        get(connection, session_id, text.removeprefix(FILEREF_SCHEME).lower()).path
        if text.startswith(FILEREF_SCHEME)
        else text
        for text in texts
    ]
    return Targets(tuple(texts), tuple(paths))


def remove(connection: sa.Connection, session_id: str, fileref_id: str) -> None:
    """Forget a fileref, if there is one of that name."""
    connection.execute(
        sa.delete(FILEREFS).where(FILEREFS.c.session_id == session_id, FILEREFS.c.fileref_id == fileref_id)
    )


def remove_all(connection: sa.Connection, session_id: str) -> None:
    """Forget the filerefs of a session that ends."""
    connection.execute(sa.delete(FILEREFS).where(FILEREFS.c.session_id == session_id))


def _one(session_id: str, fileref_id: str) -> sa.Select[Any]:
    return sa.select(FILEREFS).where(FILEREFS.c.session_id == session_id, FILEREFS.c.fileref_id == fileref_id)


def _fileref(row: Any) -> Fileref:
    return Fileref(row.session_id, row.fileref_id, row.path, row.create_time)
