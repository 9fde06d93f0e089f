"""How progress is told to a person: numbers, durations, lines and status tables."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from scorestream.records import Event, State, StatusRow

WIDE = 150
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
    for unit, name in ((1e6, " M/s"), (1e3, " k/s")):
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


def status_table(rows: Iterable[StatusRow], width: int = WIDE, title: str | None = None) -> Table:
    """Return a status report to print with rich.

    Args:
        rows: what `action_status` or `status` returned.
        width: cells across; a narrow table leaves out ids, actions, lanes and result rows.
        title: a line above it.
    """
    wide = width >= WIDE
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for name, shown, right in _columns(wide=wide):
        if shown:
            table.add_column(name, justify="right" if right else "left", no_wrap=name != "message")
    for row in rows:
        cells: Sequence[str] = (
            row.session,
            row.session_id,
            row.job or "(no job)",
            row.action,
            "-" if row.state is None else row.state.value,
            _bar(row.percent),
            f"{row.rows_done:,}",
            f"{row.rows_total:,}",
            f"{row.percent:.0f} %",
            rate_text(row.rows_per_second),
            seconds_text(row.elapsed),
            seconds_text(row.remaining),
            row.device,
            row.lane,
            row.message,
        )
        colour = "" if row.state is None else COLOUR[row.state]
        # As Text, so that brackets in a name or a message are not taken for markup.
        table.add_row(
            *(
                Text(cell, style=colour if name == "state" else "")
                for cell, (name, shown, _) in zip(cells, _columns(wide=wide), strict=True)
                if shown
            )
        )
    return table


def _columns(*, wide: bool) -> list[tuple[str, bool, bool]]:
    """Return each column's name, whether it is shown, and whether it is set to the right."""
    return [
        ("session", True, False),
        ("uuid", wide, False),
        ("job", True, False),
        ("action", wide, False),
        ("state", True, False),
        ("", not wide, False),
        ("rows done", wide, True),
        ("rows total", True, True),
        ("percent", True, True),
        ("rows/s", True, True),
        ("elapsed", True, True),
        ("remaining", wide, True),
        ("device", wide, False),
        ("lane", wide, False),
        ("message", wide, False),
    ]


def _bar(percent: float) -> str:
    """Return a bar of `BAR_CELLS` cells."""
    full = round(BAR_CELLS * percent / 100)
    return "━" * full + "╌" * (BAR_CELLS - full)
