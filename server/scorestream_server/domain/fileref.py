"""Filerefs: names in a session for files."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fileref:
    """A name for a path.

    Attributes:
        fileref_id: the name, in lower case.
        path: what it stands for: ``home:PATH``, or a path on the server.
        create_time: when it was assigned; seconds since 1970, UTC.
    """

    session_id: str
    fileref_id: str
    path: str
    create_time: float
