"""What the server tells of files, filerefs and the data of a session, as plain frozen values."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file or a directory in a session's home.

    Attributes:
        path: from the home on; empty for the home itself, and for a fileref to a file outside of it.
        size_bytes: 0 for a directory.
        modified: when it was last changed.
        etag: changes whenever the file does.
    """

    path: str
    directory: bool
    size_bytes: int
    modified: datetime
    etag: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class FilerefInfo:
    """A name in a session for a file.

    Attributes:
        name: in lower case; upper and lower case are the same.
        path: what it stands for: ``home:PATH``, or a path on the server.
        exists: whether a file or a directory was there when the server was asked.
    """

    name: str
    path: str
    exists: bool
    created: datetime


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A column of a table.

    Attributes:
        type: as Arrow calls it, for example ``double``.
        nullable: whether it may have nulls.
        index: its place; the first column has 0.
        readable: whether its values can be read; rows leave it out where not.
    """

    name: str
    type: str
    nullable: bool
    index: int
    readable: bool
