"""`scorestream batch ...`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorestream.cli.following import follow_from_outside
from scorestream.cli.service import ContextOption, ServiceArgument, VersionOption
from scorestream.cli.shell import (
    DEFAULT_SERVER,
    WATCH_PATIENCE,
    Output,
    OutputOption,
    ServerOption,
    console,
    open_client,
    print_facts,
    print_json,
    print_table,
    say,
    when,
)

if TYPE_CHECKING:
    from scorestream.batch import Batch

app = typer.Typer(
    no_args_is_help=True, help="Batches: records in a file here, scored by a service on the server."
)

BatchArgument = Annotated[
    str, typer.Argument(metavar="EXECUTION", help="Identifier of the batch, as `batch start` prints it.")
]

IndexArgument = Annotated[int, typer.Argument(metavar="INDEX", help="Which record, from 0.")]


@app.command("start")
def start_batch(
    service: ServiceArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Records: CSV, TSV, Parquet or Arrow.")],
    version: VersionOption = "",
    parallel_count: Annotated[
        int, typer.Option(min=1, help="At most so many parts of it are scored at the same time.")
    ] = 10,
    retention: Annotated[
        float | None,
        typer.Option(
            help="Seconds for which it is kept after anybody last asked for it; 0: for ever.",
            show_default="a week",
        ),
    ] = None,
    context: ContextOption = "",
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until it is over.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Send records and have a service score them; it goes on by itself.

    Example: scorestream batch start LinModService cars.csv --wait
    """
    kept: dict[str, Any] = {} if retention is None else {"retention": retention}
    with open_client(server, patience=WATCH_PATIENCE) as client:
        found = client.get_service(service, version or None, context=context)
        batch = found.batch(file, parallel_count, **kept)
        if batch.ignored:
            say(f"Not read by {found.name}, and not sent: {', '.join(batch.ignored)}.")
        batch.start()
        if wait:
            follow_from_outside(batch.job, output)  # refreshes it, too
        _show(batch, output)
        if wait:
            batch.job.raise_for_state()


@app.command("list")
def list_batches(
    service: ServiceArgument,
    version: VersionOption = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List the batches of a service that are kept, newest first.

    Example: scorestream batch list LinModService
    """
    with open_client(server) as client:
        found = client.get_service(service, version or None)
        rows = [_told(batch) for batch in found.batches()]
    if output is Output.JSON:
        return print_json(rows)
    return print_table(
        ["execution", "state", "done", "records", "created"],
        [
            (
                row["execution_id"],
                row["state"],
                row["completed_item_count"],
                row["total_item_count"],
                when(row["created"]),
            )
            for row in rows
        ],
        f"{found.name} {found.version} has no batch; start one with: scorestream batch start {found.name} FILE",
    )


@app.command("show")
def show_batch(
    execution: BatchArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Show how far a batch is.

    Example: scorestream batch show 0b2f7c1e-5d9a-4c57-9f1e-3a2b1c0d4e5f
    """
    with open_client(server) as client:
        _show(client.get_batch(execution), output)


@app.command("results")
def batch_results(
    execution: BatchArgument,
    to: Annotated[Path | None, typer.Option(help="File to write; its ending says the format.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Do not wait for records that are not scored yet.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the file if it is there.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Read what a batch gives: as CSV, as a JSON line a record, or into a file.

    Example: scorestream batch results 0b2f7c1e-5d9a-4c57-9f1e-3a2b1c0d4e5f --to scores.parquet
    """
    from scorestream.result_file import ResultFile, check_output  # noqa: PLC0415 - keeps --help quick

    if to is not None:
        check_output(to, replace=replace)
    with open_client(server, patience=WATCH_PATIENCE) as client:
        batch = client.get_batch(execution)
        found = batch.results() if partial else batch.wait()
        table = found.to_table()
        if to is not None:
            with ResultFile(to, table.schema, replace=replace) as file:
                for rows in table.to_batches():
                    file.write(rows)
            print_json({"rows": file.rows, "file": str(to)}) if output is Output.JSON else console().print(
                f"{found.completed_item_count:,} of {found.total_item_count:,} records in {to}", markup=False
            )
        elif output is Output.JSON:
            for one in found:
                print_json(one, indent=None)
        else:
            from pyarrow import csv  # noqa: PLC0415 - keeps --help quick

            sys.stdout.flush()
            csv.write_csv(table, sys.stdout.buffer)


@app.command("artifacts")
def batch_artifacts(
    execution: BatchArgument,
    index: IndexArgument,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List the files that were made for a record.

    Example: scorestream batch artifacts 0b2f7c1e-5d9a-4c57-9f1e-3a2b1c0d4e5f 0
    """
    with open_client(server) as client:
        found = client.get_batch(execution).list_artifacts(index)
    if output is Output.JSON:
        return print_json(found)
    return print_table(["file"], [(name,) for name in found], f"Record {index} has no files.")


@app.command("download")
def download_artifacts(
    execution: BatchArgument,
    index: IndexArgument,
    name: Annotated[
        str, typer.Option(help="Only the file of this name.", show_default="all of the record")
    ] = "",
    to: Annotated[Path, typer.Option(help="Directory to write to; it must be there.")] = Path(),
    replace: Annotated[bool, typer.Option("--replace", help="Replace files that are there.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Write the files that were made for a record to a directory.

    Example: scorestream batch download 0b2f7c1e-5d9a-4c57-9f1e-3a2b1c0d4e5f 0 --name letter.txt --to letters
    """
    with open_client(server) as client:
        paths = client.get_batch(execution).download(index, name or None, to, replace=replace)
    if output is Output.JSON:
        return print_json([str(path) for path in paths])
    return print_table(["file"], [(str(path),) for path in paths], f"Record {index} has no files.")


@app.command("cancel")
def cancel_batch(
    execution: BatchArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Ask a batch to stop; it stays, and what was scored before can still be read.

    Example: scorestream batch cancel 0b2f7c1e-5d9a-4c57-9f1e-3a2b1c0d4e5f
    """
    with open_client(server) as client:
        batch = client.get_batch(execution)
        if (state := batch.state).final:
            say(f"It was {state} already; there is nothing to cancel.")
        _show(batch.cancel(), output)


def _told(batch: "Batch") -> dict[str, Any]:
    """Return what is shown of a batch."""
    from scorestream.batch_records import batch_state  # noqa: PLC0415 - keeps --help quick

    info = batch.job.info
    return {
        "execution_id": info.id,
        "service": info.model,
        "state": batch_state(info.state).value,
        "completed_item_count": info.rows_done,
        "total_item_count": info.rows_total,
        "parallel_count": info.parallel_count,
        "session_id": info.session_id,
        "created": info.created,
        "ended": info.ended,
        "failure": info.failure,
        "warnings": list(info.warnings),
    }


def _show(batch: "Batch", output: Output) -> None:
    """Print one batch."""
    told = _told(batch)
    if output is Output.JSON:
        return print_json(told, indent=None)
    failure = told["failure"]
    return print_facts(
        {
            "execution": told["execution_id"],
            "service": told["service"],
            "state": told["state"],
            "records": f"{told['completed_item_count']:,} of {told['total_item_count']:,} done",
            "at once": str(told["parallel_count"]),
            "session": told["session_id"],
            "created": when(told["created"]),
            "ended": when(told["ended"]),
            "failure": f"{failure.message} ({failure.reason})" if failure is not None else "",
            "warnings": "; ".join(told["warnings"]),
        }
    )
