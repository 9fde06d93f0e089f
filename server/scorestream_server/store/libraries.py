"""Libraries: those of the store, and those of the configuration file beside them."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, not_found, precondition
from scorestream_server.domain.library import WORK, Library
from scorestream_server.store import requests
from scorestream_server.store.schema import LIBRARIES

MOST = 1000
"""Libraries of a session, and global ones of clients."""


class LibraryStore:
    """All libraries of a server. One of the configuration file hides a global one of its name in the store.

    Args:
        built_in: those of the configuration file.
    """

    def __init__(self, built_in: Iterable[Library]) -> None:
        self._built_in: Mapping[str, Library] = {library.library_id: library for library in built_in}

    def get(self, connection: sa.Connection, session_id: str, library_id: str) -> Library:
        """Return a session's library, or, where the session is empty, a global one.

        Raises:
            ScorestreamError: NOT_FOUND, naming those that there are.
        """
        found = self._one(connection, session_id, library_id)
        if found is None:
            raise self._unknown(connection, session_id, library_id)
        return found

    def find(self, connection: sa.Connection, session_id: str, library_id: str) -> Library:
        """Return the library that a name stands for in a session: its own, or else the global one.

        Raises:
            ScorestreamError: NOT_FOUND, naming those that there are.
        """
        found = self._one(connection, session_id, library_id) or self._one(connection, "", library_id)
        if found is None:
            raise self._unknown(connection, session_id, library_id)
        return found

    def of(self, connection: sa.Connection, session_id: str) -> list[Library]:
        """Return a session's libraries by name, or, where the session is empty, the global ones."""
        query = sa.select(LIBRARIES).where(LIBRARIES.c.session_id == session_id)
        found = [_library(row) for row in connection.execute(query)]
        if not session_id:
            found = [one for one in found if one.library_id not in self._built_in]
            found += self._built_in.values()
        return sorted(found, key=lambda library: library.library_id)

    def create(self, connection: sa.Connection, library: Library, request_id: str) -> Library:
        """Insert a library; a request id seen before gives the library of then.

        Raises:
            ScorestreamError: ALREADY_EXISTS; RESOURCE_EXHAUSTED, where there are `MOST` others.
        """
        if request_id:
            earlier = requests.find(connection, library.owner, request_id, "library")
            if earlier is not None:
                session_id, _, library_id = earlier.partition("/")
                return self.get(connection, session_id, library_id)
        if self._one(connection, library.session_id, library.library_id) is not None:
            whose = "The session has a library" if library.session_id else "There is a global library"
            raise ScorestreamError(
                ErrorCode.ALREADY_EXISTS,
                "LIBRARY_EXISTS",
                f"{whose} {library.library_id!r} already. Change it, or take another name.",
                metadata={"library": library.library_id},
            )
        of_it = LIBRARIES.c.session_id == library.session_id
        number = connection.execute(
            sa.select(sa.func.count()).select_from(LIBRARIES).where(of_it)
        ).scalar_one()
        if number >= MOST:
            raise ScorestreamError(
                ErrorCode.RESOURCE_EXHAUSTED,
                "TOO_MANY_LIBRARIES",
                f"There are {MOST:,} such libraries, as many as there may be. Delete some.",
            )
        if request_id:
            made = f"{library.session_id}/{library.library_id}"
            requests.record(connection, library.owner, request_id, "library", made, library.create_time)
        connection.execute(sa.insert(LIBRARIES).values(_values(library)))
        return library

    def update(self, connection: sa.Connection, old: Library, new: Library) -> Library:
        """Have a library say something else, and return it.

        Raises:
            ScorestreamError: NOT_FOUND; FAILED_PRECONDITION, where it changed meanwhile or is the configuration file's.
        """
        self.require_as_it_was(self.get(connection, old.session_id, old.library_id), old.etag)
        connection.execute(sa.update(LIBRARIES).where(_this(old)).values(_values(new)))
        return new

    def delete(self, connection: sa.Connection, session_id: str, library_id: str, etag: str) -> None:
        """Delete a library, where it still has this etag, if one is given. Tables that were loaded from it stay.

        Raises:
            ScorestreamError: NOT_FOUND; FAILED_PRECONDITION, where it changed meanwhile or is the configuration file's.
        """
        library = self.get(connection, session_id, library_id)
        self.require_own(library)
        self.require_as_it_was(library, etag or library.etag)
        connection.execute(sa.delete(LIBRARIES).where(_this(library)))

    def require_own(self, library: Library) -> None:
        """Refuse to change what comes from the configuration file."""
        if library.origin:
            raise precondition(
                "LIBRARY_BUILT_IN",
                f"Library {library.library_id!r} comes from {library.origin}, and is changed there only.",
                library=library.library_id,
            )

    def require_as_it_was(self, library: Library, etag: str) -> None:
        """Refuse a change that was made for what a library said before."""
        if library.etag != etag:
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(library.update_time))
            raise precondition(
                "STALE_ETAG",
                f"Library {library.library_id!r} was changed at {when}, after you read it: your etag is {etag[:80]!r}, its "
                f"own is now {library.etag!r}. Read it again, and repeat your change if it is still wanted.",
                library=library.library_id,
                etag=library.etag,
            )

    def _one(self, connection: sa.Connection, session_id: str, library_id: str) -> Library | None:
        if not session_id and library_id in self._built_in:
            return self._built_in[library_id]
        query = sa.select(LIBRARIES).where(
            LIBRARIES.c.session_id == session_id, LIBRARIES.c.library_id == library_id
        )
        row = connection.execute(query).one_or_none()
        return None if row is None else _library(row)

    def _unknown(self, connection: sa.Connection, session_id: str, library_id: str) -> ScorestreamError:
        there = {one.library_id for one in self.of(connection, "")}
        if session_id:
            there |= {one.library_id for one in self.of(connection, session_id)}
        names = ", ".join(sorted(there)[:20]) or "none"
        hint = (
            f" {WORK!r} holds a session's own tables, and is not loaded from." if library_id == WORK else ""
        )
        return not_found(
            "LIBRARY_NOT_FOUND",
            f"There is no library {library_id!r}; there are: {names}.{hint} Make one with: scorestream library create.",
            library=library_id,
        )


def remove_all(connection: sa.Connection, session_id: str) -> None:
    """Delete the libraries of a session that ends."""
    connection.execute(sa.delete(LIBRARIES).where(LIBRARIES.c.session_id == session_id))


def _this(library: Library) -> sa.ColumnElement[bool]:
    return sa.and_(LIBRARIES.c.session_id == library.session_id, LIBRARIES.c.library_id == library.library_id)


def _library(row: Any) -> Library:
    return msgspec.json.decode(row.data, type=Library)


def _values(library: Library) -> dict[str, Any]:
    return {
        "session_id": library.session_id,
        "library_id": library.library_id,
        "data": msgspec.json.encode(library),
    }
