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
    columns_of,
    open_client,
    print_facts,
    print_json,
    print_table,
    say,
    when,
    wrong_usage,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from scorestream.client import Client
    from scorestream.library_records import LoadSettings
    from scorestream.table import Table

app = typer.Typer(no_args_is_help=True, help="Tables of a session, and global ones.")

TableArgument = Annotated[
    str, typer.Argument(metavar="TABLE", help="Name of a table of the session, or of a global one.")
]
TableWords = Annotated[
    list[str], typer.Argument(metavar="[SESSION] TABLE", help="A session and its table; a global one's name.")
]
GlobalOption = Annotated[bool, typer.Option("--global", help="A global table; name no session.")]
LabelOption = Annotated[str | None, typer.Option(help="For people.")]
LifetimeOption = Annotated[
    float | None,
    typer.Option(min=0, help="Seconds after its last access after which it is dropped; 0: it stays."),
]


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
    library: Annotated[str, typer.Option(help="Library that the paths are relative to.")] = "",
    backing_store: Annotated[
        str | None, typer.Option(help="Where it is mapped from: inherit, in_place_preferred or disk_cache.")
    ] = None,
    columns: Annotated[str, typer.Option(help="Columns that it gets: COL,COL.")] = "",
    where: Annotated[str, typer.Option(help="SQL predicate: only these rows.")] = "",
    label: LabelOption = None,
    lifetime: LifetimeOption = None,
    copies: Annotated[
        int | None, typer.Option(help="Copies of its blocks in other cache directories.")
    ] = None,
    on_source_change: Annotated[
        str | None, typer.Option(help="What becomes of jobs when a source changes: fail, or private_copy.")
    ] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make it a global table.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Make a table of files that the server can read, or send it your own.

    Example: scorestream table load ScoringJob_Seg1 customers.parquet --upload
    Example: scorestream table load ScoringJob_Seg1 may/*.parquet --library sales --promote
    """
    from scorestream.errors import NotFoundError, PermissionDeniedError  # noqa: PLC0415 - keeps --help quick

    settings: LoadSettings = {
        "library": library,
        "backing_store": backing_store,
        "columns": columns_of(columns),
        "where": where,
        "label": label or "",
        "lifetime": lifetime or 0.0,
        "copies": copies,
        "on_source_change": on_source_change,
        "promote": promote,
    }
    with open_client(server) as client:
        found = client.get_session(session)
        if upload:
            from scorestream.input_files import open_files  # noqa: PLC0415 - keeps --help quick
            from scorestream.wire import table_id_of  # noqa: PLC0415 - keeps --help quick

            files = [Path(path) for path in paths]
            table = found.load_table(
                open_files(files), name or table_id_of(files[0].name), replace=replace, **settings
            )
        else:
            try:
                table = found.load_table(paths, name or None, replace=replace, **settings)
            except (NotFoundError, PermissionDeniedError):
                if all(Path(path).exists() for path in paths):
                    say("There is a file of that name on this machine; --upload would send it.")
                raise
        show_table(table, output)


@app.command("list")
def list_tables(
    session: Annotated[
        str, typer.Argument(metavar="[SESSION]", help="Name or id of a session; with --global none.")
    ] = "",
    is_global: GlobalOption = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List a session's tables, or the global ones.

    Example: scorestream table list ScoringJob_Seg1
    Example: scorestream table list --global
    """
    from scorestream.progress import bytes_text  # noqa: PLC0415 - keeps --help quick

    if is_global is bool(session):
        raise wrong_usage("Name a session, or say --global.")
    with open_client(server) as client:
        tables = client.tables() if is_global else client.get_session(session).tables()
    if output is Output.JSON:
        return print_json([_described(table) for table in tables])
    return print_table(
        ["table", "rows", "columns", "size", "format", "stored", "made", "owner", "label"],
        [
            (
                table.name,
                table.rows,
                len(table.schema),
                bytes_text(table.info.size_bytes),
                table.info.format,
                table.info.backing_store.lower().replace("_", " "),
                when(table.info.created),
                table.info.owner,
                table.info.label,
            )
            for table in tables
        ],
        "There is no global table; make one with: scorestream table promote SESSION TABLE"
        if is_global
        else f"Session {session} has no table; make one with: scorestream table load {session} PATH",
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
def drop_table(
    words: TableWords, is_global: GlobalOption = False, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Drop a table; jobs that already run on it go on. A global one is for its owner and admins to drop.

    Example: scorestream table drop ScoringJob_Seg1 customers
    Example: scorestream table drop --global customers
    """
    with open_client(server) as client:
        own_table(client, words, is_global=is_global).drop()


def own_table(client: "Client", words: list[str], *, is_global: bool) -> "Table":
    """Return the session's own table that is named, or the global one: what a change is meant for."""
    if len(words) != (1 if is_global else 2):
        raise wrong_usage("Name a session and its table, or a global table with --global.")
    if is_global:
        return client.table(words[0])
    session = client.get_session(words[0])
    found = session.table(words[1])
    if not found.session_id:
        raise wrong_usage(
            f"Session {words[0]} has no table {words[1]} of its own; --global means the global one."
        )
    return found


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


def show_table(table: "Table", output: Output) -> None:
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
            "scope": "" if table.session_id else "global",
            "label": table.info.label,
            "note": " ".join(table.info.notes),
        }
    )
