"""What all commands share: reaching the server, saying things, failing in one sentence.

Nothing heavy is imported at the top of the modules of this package: `--help` and shell completion
load them all, and are to answer at once.
"""

import dataclasses
import enum
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorestream.cli.access import access_given

if TYPE_CHECKING:
    from rich.console import Console

    from scorestream.client import Client
    from scorestream.errors import ScorestreamError
    from scorestream.fitting import Column
    from scorestream.job import Job

FAILED, WRONG_USAGE = 1, 2
# Refusals that a different command line would have avoided.
USAGE_CODES = {
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
}
PATIENCE = 3.0
WATCH_PATIENCE = 60.0
# So wide that nothing is ever wrapped in a file or a pipe.
PLAIN_WIDTH = 10_000
JOBS_SEARCHED = 1000


class Output(enum.StrEnum):
    """How a command's answer is printed."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[
    Output, typer.Option("-o", "--output", help="Print a table for people, or JSON for programs.")
]
ServerOption = Annotated[
    str, typer.Option("--server", envvar="SCORESTREAM_SERVER", help="Address of the server, host:port.")
]
SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="Name or id of a session.")]
DEFAULT_SERVER = "127.0.0.1:8500"


def open_client(server: str, *, patience: float = PATIENCE) -> "Client":
    """Return a client of the server; to be closed by the caller."""
    from scorestream.client import connect  # noqa: PLC0415 - see the top of this module

    return connect(server, patience=patience, **access_given())


def console(*, errors: bool = False) -> "Console":
    """Return where to print: coloured and fitted on a terminal, plain and wide elsewhere."""
    from rich.console import Console  # noqa: PLC0415 - see the top of this module

    found = Console(stderr=errors, highlight=False)
    return found if found.is_terminal else Console(stderr=errors, highlight=False, width=PLAIN_WIDTH)


def as_json(value: Any) -> Any:
    """Return records of the client as what `json` can write; raw bytes are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if hasattr(value, "percent"):
            fields["percent"] = round(value.percent, 2)
        return {name: as_json(found) for name, found in fields.items() if not isinstance(found, bytes)}
    if isinstance(value, dict):
        return {name: as_json(found) for name, found in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(found) for found in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print a value as JSON; with `indent=None` on one line, at once, for a program that reads along."""
    print(json.dumps(as_json(value), indent=indent, default=str), flush=True)  # noqa: T201 - the command's answer


def print_table(
    columns: Sequence["str | Column"], rows: Sequence[Sequence[Any]], nothing: str, *, more: str = "-o json"
) -> None:
    """Print rows under headings; numbers stand to the right, and columns that do not fit are left out.

    Args:
        columns: headings; a mere name is needed as much as its place says, the first one most.
        rows: cells of each row, in the order of `columns`.
        nothing: the sentence to say instead when there is no row.
        more: what shows the columns that did not fit.
    """
    from rich.text import Text  # noqa: PLC0415 - see the top of this module

    from scorestream.fitting import Column, fitted, table_of  # noqa: PLC0415 - see the top of this module

    if not rows:
        return say(nothing)
    numbers = {place for row in rows for place, cell in enumerate(row) if isinstance(cell, int | float)}
    headed = [
        Column(column, place, right=place in numbers) if isinstance(column, str) else column
        for place, column in enumerate(columns)
    ]
    cells = [[Text(_cell(cell)) for cell in row] for row in rows]
    where = console()
    places = fitted(headed, cells, where.width if where.is_terminal else None)
    where.print(table_of(headed, cells, places))
    if len(places) < len(headed):
        left_out = [column.name for place, column in enumerate(headed) if place not in places]
        say(f"Too narrow for {', '.join(left_out)}; {more} shows all.")
    return None


def _cell(value: Any) -> str:
    """Return a value as a table for people shows it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def print_facts(facts: dict[str, Any]) -> None:
    """Print one thing, a line a fact; empty ones are left out."""
    from rich.table import Table  # noqa: PLC0415 - see the top of this module
    from rich.text import Text  # noqa: PLC0415 - see the top of this module

    told = {name: _cell(value) for name, value in facts.items() if value not in (None, "", ())}
    where = console()
    if where.is_terminal:
        # Long values go on below themselves, not below the names.
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in told.items():
            grid.add_row(name, Text(value))
        return where.print(grid)
    width = max(map(len, told), default=0)
    for name, value in told.items():
        where.print(Text(f"{name:<{width}}  {value}"))
    return None


def say(sentence: str) -> None:
    """Tell a person something beside the command's answer, on standard error."""
    from rich.markup import escape  # noqa: PLC0415 - see the top of this module

    console(errors=True).print(escape(sentence), soft_wrap=True)


def wrong_usage(sentence: str) -> typer.Exit:
    """Say what is wrong with the command line, and return the exit to raise."""
    say(f"Error: {sentence}")
    return typer.Exit(WRONG_USAGE)


def exit_code(error: "ScorestreamError") -> int:
    """Return the exit code that an error ends a command with."""
    from scorestream.errors import JobFailedError  # noqa: PLC0415 - see the top of this module

    usage = error.code in USAGE_CODES and not isinstance(error, JobFailedError)
    return WRONG_USAGE if usage else FAILED


def find_job(client: "Client", job: str) -> "Job":
    """Return a job by its id, or by its name if only one of the newest jobs has it."""
    from scorestream.errors import InvalidArgumentError, NotFoundError  # noqa: PLC0415 - see the top

    try:
        return client.get_job(job)
    except (NotFoundError, InvalidArgumentError) as error:
        named = [found for found in client.jobs(limit=JOBS_SEARCHED) if found.name == job]
        if not named:
            raise NotFoundError(
                f"There is no job {job!r}, neither by id nor by name.", reason="JOB_NOT_FOUND"
            ) from error
        if len(named) > 1:
            ids = ", ".join(found.id for found in named)
            raise InvalidArgumentError(
                f"{len(named)} jobs are called {job!r}; use an id: {ids}.", reason="AMBIGUOUS_NAME"
            ) from error
        return named[0]


def columns_of(keep: str) -> list[str]:
    """Return the column names of a list with commas."""
    return [name.strip() for name in keep.split(",") if name.strip()]


def is_terminal() -> bool:
    """Whether progress is shown to a person who sees it move."""
    return sys.stderr.isatty()


def existing(path: Path) -> Path:
    """Return the path, or end with wrong usage if nothing is there."""
    if not path.exists():
        raise wrong_usage(f"There is no file {path}.")
    return path


def session_names(client: "Client") -> dict[str, str]:
    """Return the names of all sessions by their ids, of those that ended too."""
    return {session.id: session.name for session in client.sessions(include_ended=True)}


def when(moment: datetime | None) -> str:
    """Return a time as it is read on this machine's clock."""
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
