"""Tables for a terminal: what does not fit is left out column by column, and no cell is cut in the middle."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

GAP = 2
LEAST_FOR_TEXT = 24


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table that is to fit.

    Attributes:
        name: its heading.
        need: who gets room first where there is little: the column with the lowest number.
        right: whether it is set to the right.
        least: cells that it has at least, so that a table that is drawn again and again stands still.
        wraps: whether its cells are sentences, which may be broken into lines of `LEAST_FOR_TEXT` or more.
    """

    name: str
    need: int = 0
    right: bool = False
    least: int = 0
    wraps: bool = False


def fitted(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int | None) -> list[int]:
    """Return the places of the columns that fit side by side into `width` cells (None: all of them do).

    The column with the lowest need always stays.
    """
    if width is None:
        return list(range(len(columns)))
    kept: list[int] = []
    left = width + GAP
    for place in sorted(range(len(columns)), key=lambda place: columns[place].need):
        wanted = _width(columns[place], [row[place] for row in rows]) + GAP
        if wanted <= left or not kept:
            kept.append(place)
            left -= wanted
    return sorted(kept)


def table_of(columns: Sequence[Column], rows: Sequence[Sequence[Text]], places: Sequence[int]) -> Table:
    """Return a table of the columns at these places, to be printed with rich."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column in (columns[place] for place in places):
        table.add_column(
            column.name,
            justify="right" if column.right else "left",
            min_width=column.least or None,
            no_wrap=not column.wraps,
        )
    for row in rows:
        table.add_row(*(row[place] for place in places))
    return table


def _width(column: Column, cells: Sequence[Text]) -> int:
    """Return the cells that a column wants."""
    widest = max([cell.cell_len for cell in cells], default=0)
    if column.wraps:
        widest = min(widest, LEAST_FOR_TEXT)
    return max(widest, len(column.name), column.least)
