"""Showing one job's progress while it runs: a bar on a terminal, plain lines or JSON lines elsewhere."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

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
    """A progress bar with rows, rate and time left, on standard error."""

    def __init__(self, title: str) -> None:
        from rich import progress  # noqa: PLC0415 - slow to load, needed for this command only

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[rows]}"),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console(errors=True),
        )
        self._task = self._progress.add_task(title, total=None, rows="", rate="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, event: "Event") -> None:
        """Move the bar."""
        from scorestream.progress import rate_text  # noqa: PLC0415 - slow to load

        if event.rows_total:
            self._progress.update(self._task, total=event.rows_total, completed=event.rows_done)
        speed = self._progress.tasks[0].finished_speed or self._progress.tasks[0].speed or 0.0
        self._progress.update(
            self._task,
            rows=f"{event.rows_done:,} of {event.rows_total:,} rows",
            rate=rate_text(speed),
        )
        if event.message:
            self._progress.console.print(event.message, markup=False)


class Lines:
    """A plain line at each change of state and every ten per cent, on standard error."""

    def __init__(self, _title: str) -> None:
        self._shown = ("", -1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def tell(self, event: "Event") -> None:
        """Print a line if there is news."""
        from scorestream.progress import event_line  # noqa: PLC0415 - slow to load

        news = (str(event.state), int(event.percent // LINE_EVERY_PERCENT))
        if news != self._shown or event.message:
            self._shown = news
            say(event_line(event))


class JsonLines:
    """Every event as one line of JSON, on standard output."""

    def __init__(self, _title: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def tell(self, event: "Event") -> None:
        """Print the event."""
        print_json(event, indent=None)


def follower(output: Output, title: str) -> Follower:
    """Return what shows progress in this place."""
    if output is Output.JSON:
        return JsonLines(title)
    return Bar(title) if is_terminal() else Lines(title)


def follow(job: "Job", output: Output, after: int = 0) -> "Job":
    """Show a job's events until it is final, and return it as it ended."""
    with follower(output, job.name) as shown:
        for event in job.watch(after=after):
            shown.tell(event)
    return job.refresh()
