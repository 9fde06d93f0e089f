"""What commands print for people: tables and facts that fit a terminal, and a bar that counts honestly."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from scorestream import Event, EventType, State
from scorestream.cli import shell
from scorestream.cli.following import Bar


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> io.StringIO:
    """What a terminal shows that is as wide as the test's parameter says; None: a pipe."""
    shown = io.StringIO()
    width: int | None = request.param
    console = Console(
        file=shown,
        width=width or shell.PLAIN_WIDTH,
        force_terminal=width is not None,
        color_system=None,
        highlight=False,
    )
    monkeypatch.setattr(shell, "console", lambda **_: console)
    return shown


ROWS = [("one", 1_000_000, "x" * 30), ("two", None, "[not] markup")]


@pytest.mark.parametrize("screen", [80], indirect=True)
def test_a_table_that_fits_is_whole(screen: io.StringIO) -> None:
    """Numbers stand to the right with separators; brackets are shown as they are."""
    shell.print_table(["name", "rows", "text"], ROWS, "nothing")
    heading, rule, first, second = screen.getvalue().splitlines()
    assert heading.split() == ["name", "rows", "text"]
    assert set(rule.strip()) == {"─"}
    assert first.rstrip() == f"one   1,000,000  {'x' * 30}"
    assert second.rstrip() == "two              [not] markup"


@pytest.mark.parametrize("screen", [30], indirect=True)
def test_what_does_not_fit_is_named(screen: io.StringIO) -> None:
    """A column is left out whole, and the reader is told which and what shows it."""
    shell.print_table(["name", "rows", "text"], ROWS, "nothing")
    assert "xx" not in screen.getvalue()
    assert "Too narrow for text; -o json shows all." in screen.getvalue()


@pytest.mark.parametrize("screen", [None], indirect=True)
def test_nothing_is_wrapped_in_a_pipe(screen: io.StringIO) -> None:
    """However long a value is, it stays on its line."""
    shell.print_table(["name", "text"], [("a", "y" * 3000)], "nothing")
    shell.print_facts({"name": "a", "empty": "", "none": None, "zero": 0, "text": "word " * 600})
    lines = screen.getvalue().splitlines()
    assert len(lines) == 6
    assert lines[2].rstrip().endswith("y" * 3000)
    assert lines[4] == "zero  0"
    assert lines[5].count("word") == 600


@pytest.mark.parametrize("screen", [40], indirect=True)
def test_long_facts_go_on_below_themselves(screen: io.StringIO) -> None:
    """On a terminal the names stay apart from what is said of them."""
    shell.print_facts({"features": ", ".join(["COLUMN"] * 12), "size": 7})
    lines = screen.getvalue().splitlines()
    assert lines[0].startswith("features  COLUMN")
    assert lines[1].startswith(" " * 10 + "COLUMN")
    assert lines[-1].split() == ["size", "7"]


def test_the_bar_counts_from_the_first_event_it_sees() -> None:
    """Rate and time left are the job's own, however late and fast its events come."""
    began = datetime(2026, 1, 1, tzinfo=UTC)

    def event(seconds: float, rows: int, state: State = State.RUNNING, message: str = "") -> Event:
        when = began + timedelta(seconds=seconds)
        kind = EventType.JOB_STATE_CHANGED
        return Event(1, when, kind, "s", "1", "j", "2", state, rows, 1_000_000, message=message)

    bar = Bar("j")
    (task,) = bar._progress.tasks
    bar.tell(event(0, 0))
    assert (task.fields["rate"], task.fields["left"]) == ("", "")
    bar.tell(event(2, 500_000))
    assert task.percentage == 50
    assert (task.fields["rate"], task.fields["left"]) == ("250 k/s", "2.00 s left")
    bar.tell(event(5, 1_000_000, State.SUCCEEDED, "output: x"))
    assert (task.percentage, task.fields["rate"], task.fields["left"]) == (100, "200 k/s", "")
