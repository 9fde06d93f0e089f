"""Rows of a table on their way to a client: which, in what order, and how far one has come."""

from dataclasses import dataclass, replace

from scorestream_server.domain.table import TableData
from scorestream_server.domain.variable import Variable

WINDOW_FRAGMENTS = 512
"""So many parts of a table go to a worker at a time."""


@dataclass(frozen=True, slots=True)
class OrderBy:
    """A column to put rows in order by; nulls come last either way."""

    column: str
    descending: bool


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Which rows, and as what.

    Attributes:
        where: SQL predicate; empty: all rows.
        order_by: the order; empty: the table's.
        csv: as CSV text; otherwise as Arrow IPC record batch messages.
        header: whether CSV begins with a line of names.
        variables: what `:name` in `where` stands for.
    """

    where: str
    order_by: tuple[OrderBy, ...]
    csv: bool
    header: bool
    variables: tuple[Variable, ...] = ()

    def without_header(self) -> "RowQuery":
        """Return this for what does not come first."""
        return replace(self, header=False)


@dataclass(frozen=True, slots=True)
class RowCursor:
    """How far one has come.

    Attributes:
        fragment: the table's part that is read next.
        offset: the row of it that is read next.
        skip: rows that are still to be left out, of those that pass.
        left: rows that are still to be given; None: all that there are.
    """

    fragment: int
    offset: int
    skip: int
    left: int | None

    @classmethod
    def beginning(cls, table: TableData, query: RowQuery, start: int, limit: int | None) -> "RowCursor":
        """Return where to begin: at the row itself, where rows need only be counted."""
        if query.where or query.order_by:
            return cls(0, 0, start, limit)
        for number, fragment in enumerate(table.fragments):
            if start < fragment.rows:
                return cls(number, start, 0, limit)
            start -= fragment.rows
        return cls(len(table.fragments), 0, 0, limit)

    def window(self, table: TableData, query: RowQuery) -> "tuple[TableData, RowCursor]":
        """Return the parts of a table that come next, and this place in them; all parts where they are put in order."""
        if query.order_by:
            return table, self
        fragments = table.fragments[self.fragment : self.fragment + WINDOW_FRAGMENTS]
        paths = {fragment.path for fragment in fragments}
        files = tuple(file for file in table.files if file.path in paths)
        return replace(table, fragments=fragments, files=files, sources=()), replace(self, fragment=0)

    def after(self, reached: "RowCursor", query: RowQuery) -> "RowCursor":
        """Return the place in the table for one that was reached in the window from this one on."""
        return reached if query.order_by else replace(reached, fragment=self.fragment + reached.fragment)

    def ended(self, table: TableData) -> bool:
        """Whether there is nothing more to give."""
        return self.left == 0 or self.fragment >= len(table.fragments)


@dataclass(frozen=True, slots=True)
class RowPart:
    """A piece of what a worker wrote down, as large as a message."""

    bytes: int
    rows: int
