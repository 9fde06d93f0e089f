"""The log: what a session and its jobs were told to do, and what became of it, line by line."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

LONGEST_LINE = 1000
MOST_LINES = 1 << 10
"""Lines of a block at most: a line's position is its block's number times this, and its place there."""


class LineType(enum.StrEnum):
    """The kinds of lines, by the Compute API's names."""

    NORMAL = "normal"
    SOURCE = "source"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"
    TITLE = "title"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line; `time` is seconds since 1970, UTC."""

    type: LineType
    time: float
    text: str


@dataclass(frozen=True, eq=False)
class LogBlock:
    """Lines that were written together: one row of the store. Compared by identity, for it is shared by all followers.

    Attributes:
        number: grows over the whole server; set by the store.
        job_id: which job they tell of; empty for the session itself.
        first_line: number of its first line, as people see it; set by the store.
        ends: whether nothing follows: of the job, or, without a job, of the session.
    """

    session_id: str
    job_id: str
    lines: Sequence[LogLine]
    ends: bool = False
    number: int = 0
    first_line: int = 0
    types: frozenset[LineType] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", frozenset(line.type for line in self.lines))


@dataclass(frozen=True, slots=True)
class LogSelection:
    """Which lines are wanted: of a session, or of one of its jobs, whose end the session's end is too.

    Attributes:
        types: only these; empty: all.
    """

    session_id: str
    job_id: str = ""
    types: frozenset[LineType] = frozenset()

    @property
    def session_ids(self) -> tuple[str, ...]:
        """The one session, as the feed asks for it."""
        return (self.session_id,)

    def matches(self, block: LogBlock) -> bool:
        """Whether a block has wanted lines, or is the last one."""
        if self.job_id and block.job_id != self.job_id:
            return block.ends and not block.job_id
        return block.ends or not self.types or not self.types.isdisjoint(block.types)

    def includes(self, _owner: str, session_id: str, _session_name: str) -> bool:
        """Whether lines of the session are wanted."""
        return session_id == self.session_id


def position(block: LogBlock, place: int) -> int:
    """Return the position of a block's line; positions grow from line to line over the whole server."""
    return block.number * MOST_LINES + place


def block_before(line: int) -> int:
    """Return the number behind which the blocks with lines behind this position begin."""
    return max(0, line // MOST_LINES - 1)


def lines_of(kind: LineType, time: float, text: str) -> list[LogLine]:
    """Return a text as lines that are safe to print: short, and without control characters."""
    shown = (printable(line) for line in text.splitlines() or [""])
    return [LogLine(kind, time, line) for line in shown]


def printable(text: str) -> str:
    """Return a text of one line at most so long, with what is not printed written as escapes."""
    cut = text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1] + "…"
    if cut.isprintable():
        return cut
    escaped = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in cut.expandtabs(4)
    )
    return escaped if len(escaped) <= LONGEST_LINE else escaped[: LONGEST_LINE - 1] + "…"
