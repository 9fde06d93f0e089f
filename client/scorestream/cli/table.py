"""`scorestream table ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    SessionArgument,
    as_json,
    open_client,
    print_facts,
    print_json,
    print_table,
    say,
    when,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from scorestream.table import Table

app = typer.Typer(no_args_is_help=True, help="Tables of a session.")

TableArgument = Annotated[str, typer.Argument(metavar="TABLE", help="Name of a table of the session.")]


@app.command("load")
def load_table(
    session: SessionArgument,
    paths: Annotated[
        list[str],  # a Path would take a slash out of a URI
        typer.Argument(
            metavar="PATH",
            help="CSV, JSON lines, Parquet or Arrow files, directories, patterns ('s/year=*/*.csv') or URIs on the server.",
        ),
    ],
    name: Annotated[str, typer.Option(help="What to call the table; otherwise after the first file.")] = "",
    upload: Annotated[bool, typer.Option("--upload", help="Send files of this machine instead.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a table of that name.")] = False,
    copies: Annotated[
        int | None, typer.Option(help="Copies in other cache directories; otherwise as the server has it.")
    ] = None,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Make a table of files that the server can read, or send it your own.

    Example: scorestream table load ScoringJob_Seg1 customers.parquet --upload
    """
    from scorestream.errors import NotFoundError, PermissionDeniedError  # noqa: PLC0415 - keeps --help quick

    with open_client(server) as client:
        found = client.get_session(session)
        if upload:
            from scorestream.input_files import open_files  # noqa: PLC0415 - keeps --help quick
            from scorestream.wire import table_id_of  # noqa: PLC0415 - keeps --help quick

            files = [Path(path) for path in paths]
            table = found.load_table(
                open_files(files), name or table_id_of(files[0].name), replace=replace, copies=copies
            )
        else:
            try:
                table = found.load_table(paths, name or None, replace=replace, copies=copies)
            except (NotFoundError, PermissionDeniedError):
                if all(Path(path).exists() for path in paths):
                    say("There is a file of that name on this machine; --upload would send it.")
                raise
        _show(table, output)


@app.command("list")
def list_tables(
    session: SessionArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """List a session's tables.

    Example: scorestream table list ScoringJob_Seg1
    """
    from scorestream.progress import bytes_text  # noqa: PLC0415 - keeps --help quick

    with open_client(server) as client:
        tables = client.get_session(session).tables()
    if output is Output.JSON:
        return print_json([_described(table) for table in tables])
    return print_table(
        ["table", "rows", "columns", "size", "format", "stored", "made"],
        [
            (
                table.name,
                table.rows,
                len(table.schema),
                bytes_text(table.info.size_bytes),
                table.info.format,
                table.info.backing_store.lower().replace("_", " "),
                when(table.info.created),
            )
            for table in tables
        ],
        f"Session {session} has no table; make one with: scorestream table load {session} PATH",
    )


@app.command("head")
def head_table(
    session: SessionArgument,
    table: TableArgument,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many rows.")] = 10,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show a table's first rows.

    Example: scorestream table head ScoringJob_Seg1 scored_seg1 --rows 5
    """
    with open_client(server) as client:
        found = client.get_session(session).table(table).head(rows)
    print_rows(found, output, f"Table {table} has no rows.")


@app.command("save")
def save_table(
    session: SessionArgument,
    table: TableArgument,
    path: Annotated[
        str,
        typer.Argument(metavar="[PATH]", help="Where to; otherwise back to what it was loaded from."),
    ] = "",
    etag: Annotated[str, typer.Option(help="What must be there still, as an earlier save printed it.")] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a file that it was not loaded from.")
    ] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Write a table to a file or data set on the server, unless somebody else did so since it was loaded.

    Example: scorestream table save ScoringJob_Seg1 scored_seg1 scored.parquet
    """
    with open_client(server) as client:
        found = client.get_session(session).table(table)
        saved = found.save(path or None, etag=etag or None, replace=replace)
    if output is Output.JSON:
        return print_json({"table": table, "rows": found.rows, "etag": saved})
    return print_facts({"table": table, "rows": found.rows, "etag": saved})


@app.command("drop")
def drop_table(session: SessionArgument, table: TableArgument, server: ServerOption = DEFAULT_SERVER) -> None:
    """Drop a table; jobs that already run on it go on.

    Example: scorestream table drop ScoringJob_Seg1 customers
    """
    with open_client(server) as client:
        client.get_session(session).table(table).drop()


def print_rows(rows: "pa.Table", output: Output, nothing: str) -> None:
    """Print rows of a table; `nothing` is the sentence where there are none."""
    from pyarrow import types as pa_types  # noqa: PLC0415 - keeps --help quick

    from scorestream.fitting import Column  # noqa: PLC0415 - keeps --help quick

    if output is Output.JSON:
        return print_json(rows.to_pylist())
    return print_table(
        [
            Column(
                field.name, place, right=pa_types.is_integer(field.type) or pa_types.is_floating(field.type)
            )
            for place, field in enumerate(rows.schema)
        ],
        [[_value(value) for value in row.values()] for row in rows.to_pylist()],
        nothing,
    )


def _value(value: object) -> str:
    """Return a cell of a table's row; what JSON would show, but numbers no longer than a person reads."""
    if value is None:
        return "null"
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _described(table: "Table") -> dict[str, object]:
    """Return a table's description with its columns."""
    columns = [{"name": field.name, "type": str(field.type)} for field in table.schema]
    return {**as_json(table.info), "columns": columns}


def _show(table: "Table", output: Output) -> None:
    """Print one table."""
    if output is Output.JSON:
        return print_json(_described(table))
    return print_facts(
        {
            "table": table.name,
            "rows": table.rows,
            "columns": ", ".join(f"{field.name} ({field.type})" for field in table.schema),
            "format": table.info.format,
            "copies": table.info.copies or "",
            "from": ", ".join(table.info.source_paths),
        }
    )
