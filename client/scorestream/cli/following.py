"""Showing one job's progress while it runs: a bar on a terminal, plain lines or JSON lines elsewhere."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from scorestream.cli.interrupts import leaving
from scorestream.cli.shell import Output, console, is_terminal, print_json, say

if TYPE_CHECKING:
    from scorestream.job import Job
    from scorestream.records import Event

LINE_EVERY_PERCENT = 10


class Follower(AbstractContextManager["Follower"], Protocol):
    """Takes a job's events and shows them."""

    def tell(self, event: "Event") -> None:
        """Show an event."""


class Bar:
    """A progress bar with rows, rate and time left, on standard error.

    Rate and time left count from the job's first event that is seen here, by the server's clock.
    """

    def __init__(self, title: str) -> None:
        from rich import progress  # noqa: PLC0415 - slow to load, needed for this command only

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[rows]}"),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[left]}"),
            console=console(errors=True),
        )
        self._task = self._progress.add_task(title, total=None, rows="", rate="", left="")
        self._first: Event | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, event: "Event") -> None:
        """Move the bar."""
        from scorestream.progress import rate_text, seconds_text  # noqa: PLC0415 - slow to load

        if self._first is None:
            self._first = event
        rows = event.rows_done - self._first.rows_done
        seconds = (event.time - self._first.time).total_seconds()
        rate = rows / seconds if seconds > 0 else 0.0
        ended = event.state is not None and event.state.final
        left = (event.rows_total - event.rows_done) / rate if rate > 0 and not ended else None
        self._progress.update(
            self._task,
            total=event.rows_total or None,
            completed=event.rows_done,
            rows=f"{event.rows_done:,} of {event.rows_total:,} rows",
            rate=rate_text(rate) if rate > 0 else "",
            left="" if left is None else f"{seconds_text(left)} left",
        )
        # What a job that went well says at its end, where its output is, its reader says too.
        if event.message and not (ended and event.state is not None and event.state.succeeded):
            self._progress.console.print(event.message, markup=False)


class _Written:
    """What is printed stays; there is nothing to begin or to end."""

    def __init__(self, _title: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Lines(_Written):
    """A plain line at each change of state and every ten per cent, on standard error."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self._shown = ("", -1)

    def tell(self, event: "Event") -> None:
        """Print a line if there is news."""
        from scorestream.progress import event_line  # noqa: PLC0415 - slow to load

        news = (str(event.state), int(event.percent // LINE_EVERY_PERCENT))
        if news != self._shown or event.message:
            self._shown = news
            say(event_line(event))


class JsonLines(_Written):
    """Every event as one line of JSON, on standard output."""

    def tell(self, event: "Event") -> None:
        """Print the event."""
        print_json(event, indent=None)


def follower(output: Output, title: str) -> Follower:
    """Return what shows progress in this place."""
    if output is Output.JSON:
        return JsonLines(title)
    return Bar(title) if is_terminal() else Lines(title)


def follow(job: "Job", output: Output, title: str, after: int = 0) -> "Job":
    """Show a job's events until it is final, and return it as it ended."""
    with follower(output, title) as shown:
        for event in job.watch(after=after):
            shown.tell(event)
    return job.refresh()


def follow_from_outside(job: "Job", output: Output, after: int = 0) -> "Job":
    """Do the same for a job that goes on without us; Ctrl-C says so and ends the program."""
    words = f"Job {job.name} goes on. Look again: scorestream job watch {job.id}; stop it: scorestream job cancel {job.id}"
    with leaving(words):
        return follow(job, output, job.name, after)
