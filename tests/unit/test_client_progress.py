"""Numbers, lines and tables that a person reads."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from scorestream import Event, EventType, State, StatusRow
from scorestream.progress import WIDE, bytes_text, event_line, rate_text, seconds_text, status_table

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


def printed(width: int) -> str:
    """Return the status table as a terminal of that width shows it."""
    console = Console(file=io.StringIO(), width=width)
    console.print(status_table(ROWS, width))
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
    ("rate", "text"), [(0, "-"), (850, "850/s"), (12_345, "12.3 k/s"), (4_560_000, "4.56 M/s")]
)
def test_rates(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(("size", "text"), [(12, "12 B"), (3_565_158, "3.4 MiB"), (1 << 50, "1024.0 TiB")])
def test_sizes(size: int, text: str) -> None:
    assert bytes_text(size) == text


def test_a_wide_status_table_has_every_column() -> None:
    """All that a status row says is on the screen, in the order of the list of features."""
    lines = printed(WIDE + 20).splitlines()
    heads = ["session", "uuid", "job", "action", "state", "rows done", "rows total", "percent"]
    heads += ["rows/s", "elapsed", "remaining", "device", "lane", "message"]
    places = [lines[1].index(f" {head} ") for head in heads]
    assert places == sorted(places)
    row = next(line for line in lines if "job_seg1" in line)
    for cell in (
        "5f2c",
        "score",
        "RUNNING",
        "50,000",
        "200,000",
        "25 %",
        "123 k/s",
        "1:15",
        "cpu",
        "0,1",
        "[nothing]",
    ):
        assert cell in row
    assert "(no job)" in next(line for line in lines if "Seg2" in line)


def test_a_narrow_status_table_fits_and_has_a_bar() -> None:
    """On 100 cells nothing is cut off."""
    text = printed(100)
    assert max(map(len, text.splitlines())) <= 100
    assert "━━━╌╌╌╌╌╌╌╌╌" in text
    assert "…" not in text


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
