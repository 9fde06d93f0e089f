"""How progress is told to a person: numbers, durations, lines and status tables."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from scorestream.fitting import Column, fitted, table_of
from scorestream.records import Event, State, StatusRow

BAR_CELLS = 12
COLOUR = {
    State.PENDING: "dim",
    State.RUNNING: "cyan",
    State.CANCELLING: "yellow",
    State.SUCCEEDED: "green",
    State.SUCCEEDED_WITH_WARNINGS: "yellow",
    State.FAILED: "red",
    State.CANCELLED: "magenta",
    State.TIMED_OUT: "red",
}


def seconds_text(seconds: float | None) -> str:
    """Return a duration as a person writes it: ``0.42 s``, ``12 s``, ``3:05``, ``1:02:03``; `None` is ``-``."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate_text(rows_per_second: float) -> str:
    """Return a rate as a person writes it: ``850/s``, ``12.3 k/s``, ``4.56 M/s``; none is ``-``."""
    if rows_per_second <= 0:
        return "-"
    for unit, name in ((1e9, " G/s"), (1e6, " M/s"), (1e3, " k/s")):
        if rows_per_second >= unit:
            return f"{rows_per_second / unit:.3g}{name}"
    return f"{rows_per_second:.0f}/s"


def bytes_text(size: int) -> str:
    """Return a size as a person writes it: ``12 B``, ``3.4 MiB``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def event_line(event: Event) -> str:
    """Return an event as one plain line."""
    what = event.type.value.lower().replace("_", " ")
    parts = [f"#{event.number}", f"{event.time.astimezone():%H:%M:%S}", event.session or event.session_id]
    if event.job_id:
        parts += [event.job or event.job_id, event.state.value if event.state is not None else "-"]
        parts += [f"{event.rows_done:,} of {event.rows_total:,} rows ({event.percent:.0f} %)"]
    parts += [what, f"{event.device} lane {event.lane}" if event.device else "", event.message]
    return "  ".join(part for part in parts if part)


def status_table(
    rows: Sequence[StatusRow], width: int | None = None, most: int | None = None
) -> RenderableType:
    """Return a status report to print with rich.

    Args:
        rows: what `action_status` or `status` returned.
        width: cells across; columns that do not fit are left out, and messages then stand below the table.
            None: no limit, for files and pipes.
        most: rows to show; jobs that are not final come first, and a line says what was left out.
    """
    shown, left_out = _shortened(rows, most)
    cells = [_status_cells(row) for row in shown]
    columns = list(STATUS_COLUMNS)
    if width is None:
        # A bar moves; where nothing does, the numbers say more.
        places = [place for place, column in enumerate(columns) if column.name]
    else:
        places = fitted(columns, cells, width)
    below = [left_out] if left_out else []
    if all(columns[place].name != "message" for place in places):
        below += [f"{row.job or row.session}: {row.message}" for row in shown if row.message]
    # As Text, so that brackets in a name or a message are not taken for markup.
    return Group(table_of(columns, cells, places), *(Text(line) for line in below))


STATUS_COLUMNS = (
    Column("session", 0),
    Column("uuid", 12),
    Column("job", 1),
    Column("action", 14),
    Column("state", 2, least=9),
    Column("", 8, least=BAR_CELLS),
    Column("rows done", 7, right=True),
    Column("rows total", 10, right=True),
    Column("percent", 3, right=True),
    Column("rows/s", 4, right=True, least=8),
    Column("elapsed", 6, right=True),
    Column("remaining", 5, right=True),
    Column("device", 11),
    Column("lane", 13),
    Column("message", 9, wraps=True),
)
"""What a status table shows, in order; the bar has no heading."""


def _status_cells(row: StatusRow) -> list[Text]:
    """Return a row's cells, one for each of `STATUS_COLUMNS`."""
    state = "-" if row.state is None else row.state.value
    numbers = ["", *["-"] * 6]
    if row.state is not None:
        numbers = [
            _bar(row.percent),
            f"{row.rows_done:,}",
            f"{row.rows_total:,}",
            f"{row.percent:.0f} %",
            rate_text(row.rows_per_second),
            seconds_text(row.elapsed),
            "-" if row.state.final else seconds_text(row.remaining),
        ]
    cells = [row.session, row.session_id, row.job or "(no job)", row.action or "-", state, *numbers]
    texts = [Text(cell) for cell in (*cells, row.device, row.lane, row.message)]
    if row.state is not None:
        texts[4].stylize(COLOUR[row.state])
    return texts


def _shortened(rows: Sequence[StatusRow], most: int | None) -> tuple[list[StatusRow], str]:
    """Return at most `most` rows, those of jobs that are not final first, and a line about the others."""
    if most is None or len(rows) <= most:
        return list(rows), ""
    busy_first = sorted(rows, key=lambda row: row.state is None or row.state.final)
    others = Counter("no job" if row.state is None else row.state.value for row in busy_first[most:])
    told = ", ".join(f"{count} {state}" for state, count in others.items())
    return busy_first[:most], f"and {len(rows) - most} more: {told}"


def _bar(percent: float) -> str:
    """Return a bar of `BAR_CELLS` cells."""
    full = round(BAR_CELLS * percent / 100)
    return "━" * full + "╌" * (BAR_CELLS - full)
