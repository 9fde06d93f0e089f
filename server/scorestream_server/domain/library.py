"""Libraries: named places that tables are loaded from."""

import hashlib
from dataclasses import dataclass

import msgspec

from scorestream_server.domain.table import BackingStore, SourceChange

__all__ = ["WORK", "Library", "SourceChange"]

WORK = "work"
"""The name of the library of a session's own tables, which is not loaded from."""


@dataclass(frozen=True, slots=True)
class Library:
    """A named directory or URI, of one session or of everybody.

    Attributes:
        library_id: the name that clients give.
        session_id: the session that it ends with; empty: it is global.
        path: a directory below the data roots, or a URI below one of them.
        backing_store: where tables loaded from it are mapped from, unless the load says otherwise.
        on_source_change: for its tables that are read in place.
        copies: how many copies blocks of its tables have in other cache directories; None: as the server says.
        description: for people.
        owner: who made it; empty for those of the configuration file.
        create_time: seconds since 1970, UTC; 0 for those of the configuration file.
        update_time: likewise.
        origin: the configuration file that it comes from, and is changed in; empty for one that clients made.
    """

    library_id: str
    session_id: str
    path: str
    backing_store: BackingStore
    on_source_change: SourceChange
    copies: int | None
    description: str
    owner: str
    create_time: float
    update_time: float = 0.0
    origin: str = ""

    @property
    def name(self) -> str:
        """Its resource name."""
        return library_name(self.session_id, self.library_id)

    @property
    def etag(self) -> str:
        """What changes with every change of it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


def library_name(session_id: str, library_id: str) -> str:
    """Return the resource name of a library of a session, or, where that is empty, of a global one."""
    return f"sessions/{session_id}/libraries/{library_id}" if session_id else f"libraries/{library_id}"
