"""What all commands share: reaching the server, saying things, failing in one sentence.

Nothing heavy is imported at the top of the modules of this package: `--help` and shell completion
load them all, and are to answer at once.
"""

import dataclasses
import enum
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from scorestream.client import Client
    from scorestream.errors import ScorestreamError
    from scorestream.job import Job

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
# Refusals that a different command line would have avoided.
USAGE_CODES = {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "OUT_OF_RANGE"}
PATIENCE = 3.0
WATCH_PATIENCE = 60.0
PLAIN_WIDTH = 200
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
DEFAULT_SERVER = "127.0.0.1:8500"


def open_client(server: str, *, patience: float = PATIENCE) -> "Client":
    """Return a client of the server; to be closed by the caller."""
    from scorestream.client import connect  # noqa: PLC0415 - see the top of this module

    return connect(server, patience=patience)


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


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under headings; numbers stand to the right."""
    from rich import box  # noqa: PLC0415 - see the top of this module
    from rich.table import Table  # noqa: PLC0415 - see the top of this module
    from rich.text import Text  # noqa: PLC0415 - see the top of this module

    listed = [list(row) for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(columns):
        number = any(isinstance(row[place], int | float) for row in listed)
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in listed:
        table.add_row(
            *(
                f"{cell:,}" if isinstance(cell, int) else Text("" if cell is None else str(cell))
                for cell in row
            )
        )
    console().print(table)


def print_facts(facts: dict[str, Any]) -> None:
    """Print one thing, a line a fact; empty ones are left out."""
    from rich.text import Text  # noqa: PLC0415 - see the top of this module

    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        if value not in (None, "", ()):
            shown = f"{value:,}" if isinstance(value, int) else str(value)
            console().print(Text(f"{name:<{width}}  ", style="dim") + Text(shown))


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


def when(moment: datetime | None) -> str:
    """Return a time as it is read on this machine's clock."""
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
