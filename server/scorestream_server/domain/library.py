"""Libraries: named places that tables are loaded from."""

from dataclasses import dataclass

from scorestream_server.domain.table import BackingStore, SourceChange

__all__ = ["Library", "SourceChange"]


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
        create_time: seconds since 1970, UTC.
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
