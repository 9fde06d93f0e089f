"""Tables that were saved to files."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Save:
    """One save of a table to a path.

    Attributes:
        save_id: also the name of its note, see `tables/publication.py`.
        path: where to.
        shown: what clients call the path.
        table_uid: which table.
        session_id: whose session it was done in.
        owner: who did it.
        own_source: whether the table was loaded from that path.
        etag: what was there afterwards; empty as long as it is not done.
        time: seconds since 1970, UTC.
    """

    save_id: str
    path: str
    shown: str
    table_uid: str
    session_id: str
    owner: str
    own_source: bool
    etag: str
    time: float
