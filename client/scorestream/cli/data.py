"""`scorestream table columns|rows|download`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    SessionArgument,
    console,
    is_terminal,
    open_client,
    print_json,
    print_table,
    say,
)
from scorestream.cli.table import TableArgument, print_rows

if TYPE_CHECKING:
    from scorestream.file_records import ColumnInfo

StartOption = Annotated[int, typer.Option(min=0, help="Rows to leave out at the beginning.")]
WhereOption = Annotated[str, typer.Option(help="SQL predicate: only these rows.")]
OrderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--order-by",
        help='Column to put rows in order by, "COLUMN desc" for the largest first; again for more.',
    ),
]


def add_commands(table_app: typer.Typer) -> None:
    """Add the commands of this module to those of tables."""
    table_app.command("columns")(table_columns)
    table_app.command("rows")(table_rows)
    table_app.command("download")(download_table)


def table_columns(
    session: SessionArgument,
    table: TableArgument,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List a table's columns with their types.

    Example: scorestream table columns ScoringJob_Seg1 customers
    """
    with open_client(server) as client:
        found = client.get_session(session).table(table).columns()
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["column", "type", "nulls", "index", "note"], [_cells(column) for column in found], "No columns."
    )


def table_rows(
    session: SessionArgument,
    table: TableArgument,
    start: StartOption = 0,
    limit: Annotated[int, typer.Option(min=0, help="How many rows at most.")] = 10,
    where: WhereOption = "",
    order_by: OrderOption = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show rows of a table: any of them, filtered, in any order.

    Example: scorestream table rows ScoringJob_Seg1 scored --where "score > 0.9" --order-by "score desc" --limit 20
    """
    with open_client(server) as client:
        found = client.get_session(session).table(table)
        if csv:
            for text in found.csv(start, limit, where=where, order_by=order_by or ()):
                sys.stdout.buffer.write(text)
            sys.stdout.flush()
            return
        rows = found.read(start, limit, where=where, order_by=order_by or ())
    print_rows(rows, output, f"Table {table} has no such rows.")


def download_table(
    session: SessionArgument,
    table: TableArgument,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="File to write: .parquet, .arrow, .csv; without an ending, a Parquet directory.",
        ),
    ],
    start: StartOption = 0,
    limit: Annotated[int | None, typer.Option(min=0, help="How many rows at most; otherwise all.")] = None,
    where: WhereOption = "",
    order_by: OrderOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace FILE if it is there.")] = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Write a table to a file on this machine, all of it or nothing.

    Example: scorestream table download ScoringJob_Seg1 scored_seg1 scored_seg1.parquet
    """
    from scorestream.errors import counted  # noqa: PLC0415 - keeps --help quick

    with open_client(server) as client:
        found = client.get_session(session).table(table)
        total = None if where else max(0, min(found.rows - start, found.rows if limit is None else limit))
        with _rows_shown(f"Fetching {table}", total) as report:
            rows = found.download(
                path,
                start=start,
                limit=limit,
                where=where,
                order_by=order_by or (),
                replace=replace,
                report=report,
            )
    say(f"{counted(rows, 'row')} of {table} in {path}")


@contextmanager
def _rows_shown(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Give a function that shows how many rows came to a person at a terminal, until the block ends."""
    if not is_terminal():
        yield lambda _rows: None
        return
    from rich.progress import (  # noqa: PLC0415 - keeps --help quick
        BarColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(errors=True), transient=True) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda rows: progress.update(bar, completed=rows)


def _cells(column: "ColumnInfo") -> tuple[object, ...]:
    note = "" if column.readable else "cannot be read"
    return column.name, column.type, "yes" if column.nullable else "no", column.index, note
