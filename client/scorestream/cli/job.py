"""`scorestream job ...`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.facts import spent
from scorestream.cli.following import follow_from_outside
from scorestream.cli.outputs import (
    CompressionOption,
    ExplainOption,
    PartitionOption,
    RowGroupOption,
    RowNumberOption,
    output_options,
)
from scorestream.cli.row import OnRowErrorOption
from scorestream.cli.shell import (
    DEFAULT_SERVER,
    WATCH_PATIENCE,
    Output,
    OutputOption,
    ServerOption,
    SessionArgument,
    columns_of,
    console,
    find_job,
    open_client,
    print_facts,
    print_json,
    print_table,
    say,
    session_names,
    when,
    wrong_usage,
)
from scorestream.cli.variable import variables_of

if TYPE_CHECKING:
    from scorestream.job import Job

app = typer.Typer(no_args_is_help=True, help="Jobs: scoring actions that run on the server.")

_OPTION = "the session's option"
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of a job, or its name if it is the only one.")
]


@app.command("submit")
def submit_job(
    session: SessionArgument,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Registered model: name, name/version or name@alias.")
    ],
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Table of the session.")],
    where: Annotated[str, typer.Option(help="SQL predicate: only these rows are scored.")] = "",
    keep: Annotated[str, typer.Option(help="Input columns to carry into the result: COL,COL.")] = "",
    out: Annotated[str, typer.Option(help="Table to make of the result.")] = "",
    label: Annotated[str, typer.Option(help="Label of that table.")] = "",
    lifetime: Annotated[
        float, typer.Option(min=0, help="Seconds after its last access after which that table is dropped.")
    ] = 0.0,
    promote: Annotated[bool, typer.Option("--promote", help="Make that table a global one.")] = False,
    out_path: Annotated[str, typer.Option(help="Path on the server to write the result to.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace the output if it is there.")] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Add the rows, once, to the table or data set that is there.")
    ] = False,
    compression: CompressionOption = "",
    row_group_rows: RowGroupOption = 0,
    partition_by: PartitionOption = "",
    row_number: RowNumberOption = "",
    on_row_error: OnRowErrorOption = None,
    explain: ExplainOption = 0,
    name: Annotated[str, typer.Option(help="Name of the job.")] = "",
    priority: Annotated[str | None, typer.Option(help="low, normal or high.", show_default=_OPTION)] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds that it may run; 0: for ever.", show_default=_OPTION)
    ] = None,
    queue_timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds that it may wait for a lane before it begins; 0: for ever.", show_default=_OPTION
        ),
    ] = None,
    variable: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Value for :NAME, which wins over the session's; several times."
        ),
    ] = None,
    parallel_count: Annotated[
        int, typer.Option(min=0, help="At most so many partitions run at the same time; 0: any number.")
    ] = 0,
    status_notification: Annotated[
        bool, typer.Option("--status-notification", help="Have the log say how far it is.")
    ] = False,
    reset_log_line_numbers: Annotated[
        bool, typer.Option("--reset-log-line-numbers", help="Number the session's log from 0 again.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until it is final.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Start a job and print its id; it goes on by itself.

    Example: scorestream job submit ScoringJob_Seg1 dummy_scorer customers --where "segment_id = 1" --out scored

    A data set that grows: scorestream job submit ScoringJob_Seg1 dummy_scorer customers --out-path scores/ \
        --keep segment_id --partition-by segment_id --compression zstd --append
    """
    with open_client(server) as client:
        job = client.get_session(session).score(
            model,
            table,
            where=where,
            keep=columns_of(keep),
            out=out,
            out_path=out_path,
            replace=replace,
            append=append,
            output=output_options(compression, row_group_rows, partition_by),
            row_number=row_number,
            on_row_error=on_row_error,
            explain=explain,
            name=name,
            priority=priority,
            timeout=timeout,
            queue_timeout=queue_timeout,
            parallel_count=parallel_count,
            status_notification=status_notification,
            reset_log_line_numbers=reset_log_line_numbers,
            variables=variables_of(variable or []),
            label=label,
            lifetime=lifetime,
            promote=promote,
        )
        if wait:
            follow_from_outside(job, output)
            print_json(job.info, indent=None) if output is Output.JSON else _show(job, output)
            job.raise_for_state()
        else:
            _show(job, output)


@app.command("list")
def list_jobs(
    session: Annotated[str, typer.Option(help="Only jobs of this session, by name or id.")] = "",
    deployment: Annotated[str, typer.Option(help="Only jobs of this deployment, by id.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 50,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List jobs, newest first.

    Example: scorestream job list --session ScoringJob_Seg1
    """
    with open_client(server) as client:
        if session and deployment:
            raise wrong_usage("Give --session or --deployment, not both.")
        if deployment:
            jobs = client.deployments.get(deployment).jobs(limit=limit)
        else:
            jobs = client.get_session(session).jobs(limit=limit) if session else client.jobs(limit=limit)
        found = [job.info for job in jobs]
        if output is Output.JSON:
            return print_json(found)
        names = session_names(client) if found else {}
    from scorestream.fitting import Column  # noqa: PLC0415 - keeps --help quick

    return print_table(
        [
            "job",
            Column("id", 8),
            Column("session", 2),
            Column("model", 5),
            Column("table", 6),
            Column("state", 1),
            Column("percent", 3, right=True),
            Column("rows", 4, right=True),
            Column("created", 7),
        ],
        [
            (
                info.name,
                info.id,
                names.get(info.session_id, info.session_id),
                info.model,
                info.table,
                info.state,
                f"{info.percent:.0f} %",
                info.rows_total,
                when(info.created),
            )
            for info in found
        ],
        "There is no job; start one with: scorestream job submit SESSION MODEL TABLE",
    )


@app.command("status")
def job_status(
    job: JobArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Show one job in full.

    Example: scorestream job status job_seg1
    """
    with open_client(server) as client:
        _show(find_job(client, job), output)


@app.command("watch")
def watch_job(
    job: JobArgument,
    after: Annotated[int, typer.Option(help="Only events with a higher number.")] = 0,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show a job's progress until it is final; exit code 1 if it ended badly.

    Example: scorestream job watch job_seg1
    """
    with open_client(server, patience=WATCH_PATIENCE) as client:
        done = follow_from_outside(find_job(client, job), output, after)
        if output is Output.TEXT:
            _show(done, output)
        done.raise_for_state()


@app.command("results")
def job_results(
    job: JobArgument,
    to: Annotated[Path | None, typer.Option(help="File to write; its ending says the format.")] = None,
    offset: Annotated[int, typer.Option(min=0, help="First result row wanted.")] = 0,
    committed: Annotated[
        bool, typer.Option("--committed", help="Do not wait for rows that are not there yet.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the file if it is there.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Read a job's result rows, while it runs too: as CSV, as JSON lines, or into a file.

    Example: scorestream job results job_seg1 --to scores.parquet
    """
    with open_client(server, patience=WATCH_PATIENCE) as client:
        found = find_job(client, job)
        if to is None:
            _print_rows(found, output, offset, committed=committed)
        else:
            from scorestream.errors import counted  # noqa: PLC0415 - keeps --help quick
            from scorestream.result_file import ResultFile  # noqa: PLC0415 - keeps --help quick

            with ResultFile(to, found.schema, replace=replace) as file:
                for batch in found.results(offset, committed_only=committed):
                    file.write(batch)
            report = {"rows": file.rows, "file": str(to)}
            print_json(report) if output is Output.JSON else console().print(
                f"{counted(file.rows, 'row')} in {to}", markup=False
            )
        if not committed:
            found.wait()


@app.command("cancel")
def cancel_job(
    job: JobArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Ask a job to stop; what it committed stays readable.

    Example: scorestream job cancel job_seg1
    """
    with open_client(server) as client:
        found = find_job(client, job)
        if found.state.final:
            say(f"It was {found.state} already; there is nothing to cancel.")
        _show(found.cancel(), output)


@app.command("resume")
def resume_job(
    job: JobArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Go on with a job that failed, timed out or was cancelled, as a new job; what it committed is kept.

    Example: scorestream job resume job_seg1
    """
    with open_client(server) as client:
        _show(find_job(client, job).resume(), output)


def _print_rows(job: "Job", output: Output, offset: int, *, committed: bool) -> None:
    """Print result rows as CSV with a heading, or as a JSON object a line."""
    from pyarrow import csv  # noqa: PLC0415 - keeps --help quick

    if output is Output.JSON:
        for batch in job.results(offset, committed_only=committed):
            for row in batch.to_pylist():
                print_json(row, indent=None)
        return
    sys.stdout.flush()
    with csv.CSVWriter(sys.stdout.buffer, job.schema) as rows:
        for batch in job.results(offset, committed_only=committed):
            rows.write_batch(batch)


def _show(job: "Job", output: Output) -> None:
    """Print one job."""
    info = job.info
    if output is Output.JSON:
        return print_json(info)
    failure, took = info.failure, info.statistics
    return print_facts(
        {
            "job": info.name,
            "id": info.id,
            "session": info.session_id,
            "deployment": info.deployment,
            "state": info.state,
            "condition code": "" if info.condition_code is None else str(info.condition_code),
            "rows": f"{info.rows_done:,} of {info.rows_total:,} done ({info.percent:.0f} %), {info.rows_scored:,} scored",
            "row errors": f"{info.row_errors:,}" if info.row_errors else "",
            "model": info.model,
            "table": info.table,
            "where": info.where,
            "variables": ", ".join(f":{name} = {value}" for name, value in info.variables.items()),
            "keep": ", ".join(info.keep),
            "out": info.out_table or info.out_path,
            "created": when(info.created),
            "started": when(info.started),
            "ended": when(info.ended),
            "elapsed": f"{took.elapsed:,.3f} s, of which it waited {took.queue_time:,.3f} s",
            **spent(took),
            "outputs": ", ".join(info.outputs),
            "failure": f"{failure.message} ({failure.reason})" if failure is not None else "",
            "warnings": "; ".join(info.warnings),
        }
    )
