"""Numbers, lines and tables that a person reads."""

import io
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console

from scorestream import Event, EventType, State, StatusRow
from scorestream.progress import bytes_text, event_line, rate_text, seconds_text, status_table

ROWS = [
    StatusRow(
        session="ScoringJob_Seg1",
        session_id="5f2c",
        job="job_seg1",
        job_id="77aa",
        action="score",
        state=State.RUNNING,
        rows_done=50_000,
        rows_total=200_000,
        rows_per_second=123_456.0,
        elapsed=75.2,
        remaining=None,
        device="cpu",
        lane="0,1",
        message="waits for [nothing]",
    ),
    StatusRow(session="ScoringJob_Seg2", session_id="5f2d"),
]


def printed(width: int | None, rows: list[StatusRow] = ROWS, most: int | None = None) -> str:
    """Return the status table as a terminal of that width shows it, or as a file has it."""
    console = Console(file=io.StringIO(), width=width or 10_000)
    console.print(status_table(rows, width, most))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.00 s"),
        (0.416, "0.42 s"),
        (12.4, "12 s"),
        (59.6, "1:00"),
        (185, "3:05"),
        (3723, "1:02:03"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "-"), (850, "850/s"), (12_345, "12.3 k/s"), (4_560_000, "4.56 M/s"), (1.29e9, "1.29 G/s")],
)
def test_rates(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(("size", "text"), [(12, "12 B"), (3_565_158, "3.4 MiB"), (1 << 50, "1024.0 TiB")])
def test_sizes(size: int, text: str) -> None:
    assert bytes_text(size) == text


def test_a_status_table_in_a_file_has_every_column() -> None:
    """All that a status row says is there, in the order of the list of features; nothing is wrapped."""
    heading, _, row, *others = printed(None).splitlines()
    heads = ["session", "uuid", "job", "action", "state", "rows done", "rows total", "percent"]
    heads += ["rows/s", "elapsed", "remaining", "device", "lane", "message"]
    assert re.split(r"  +", heading.strip()) == heads
    assert row.split("  ")[0] == "ScoringJob_Seg1"
    for cell in ("5f2c", "score", "RUNNING", "50,000", "200,000", "25 %", "123 k/s", "1:15", "cpu", "0,1"):
        assert f" {cell} " in row
    assert row.rstrip().endswith("waits for [nothing]")
    assert len(others) == 1
    assert "(no job)" in others[0]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 150, 250])
def test_a_status_table_fits_its_terminal(width: int) -> None:
    """Columns are left out rather than cut; session, job and state come first, and messages are not lost."""
    text = printed(width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text
    assert "ScoringJob_Seg1" in text
    assert ("RUNNING" in text) == (width > 36)
    assert ("25 %" in text) == (width >= 60)
    assert ("━━━╌╌╌╌╌╌╌╌╌" in text) == (width >= 100)
    assert ("5f2c" in text) == (width >= 150)
    assert "waits for [nothing]" in " ".join(text.split())


def test_more_jobs_than_lines_show_those_that_run() -> None:
    """A live table never grows beyond its terminal; what it leaves out is counted."""
    ended = [StatusRow("S", "1", f"ended{number}", "2", state=State.SUCCEEDED) for number in range(5)]
    text = printed(80, [*ended, *ROWS], most=3)
    assert "job_seg1" in text
    assert "ended1" in text
    assert "ended2" not in text
    assert "and 4 more: 3 SUCCEEDED, 1 no job" in text


def test_an_event_is_one_line() -> None:
    """A plain line says number, time, session, job, state, rows and what happened."""
    event = Event(
        number=7,
        time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        type=EventType.PARTITION_COMMITTED,
        session="S",
        session_id="1",
        job="j",
        job_id="2",
        state=State.RUNNING,
        rows_done=1000,
        rows_total=4000,
        device="cpu",
        lane=1,
    )
    line = event_line(event)
    assert line.startswith("#7  ")
    assert line.endswith("S  j  RUNNING  1,000 of 4,000 rows (25 %)  partition committed  cpu lane 1")
    ended = Event(8, event.time, EventType.SESSION_ENDED, "S", "1")
    assert event_line(ended).endswith("S  session ended")
