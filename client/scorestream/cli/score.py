"""`scorestream score`: files in, a file out, with no server needed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli import INTERRUPTED
from scorestream.cli.following import follow, follower
from scorestream.cli.interrupts import cancelling
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
    Output,
    columns_of,
    console,
    existing,
    is_terminal,
    open_client,
    print_json,
    say,
    wrong_usage,
)

if TYPE_CHECKING:
    from scorestream.client import Client
    from scorestream.job import Job
    from scorestream.outputs import OutputOptions
    from scorestream.session import Session

SCORING = "Scoring"
"""What stands before the progress bar."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for; `model` is a registered name where there is no `model_file`."""

    model: str
    model_file: Path | None
    inputs: list[Path]
    output: Path
    where: str
    keep: list[str]
    replace: bool
    append: bool
    options: "OutputOptions | None"
    row_number: str
    on_row_error: str | None
    explain: int
    report: Output


def score(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Model file (.json, .ubj, .txt, .sql, .ds2, treelite), directory of an MLflow model, or, with --server, "
            "a registered model: name, name/version or name@alias.",
        ),
    ],
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT", help="CSV, Parquet or Arrow: a file, several, or a directory."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="File to write: .parquet, .arrow, .csv, .csv.gz, .csv.zst; without an ending, a Parquet directory.",
        ),
    ],
    where: Annotated[str, typer.Option(help="SQL predicate: only these rows are scored.")] = "",
    keep: Annotated[str, typer.Option(help="Input columns to carry into the output: COL,COL.")] = "",
    server: Annotated[str, typer.Option(help="Use this server, host:port, instead of starting one.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda, for the server that is started.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace the output if it is there.")] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Add the rows to the Parquet directory that is there.")
    ] = False,
    compression: CompressionOption = "",
    row_group_rows: RowGroupOption = 0,
    partition_by: PartitionOption = "",
    row_number: RowNumberOption = "",
    on_row_error: OnRowErrorOption = None,
    explain: ExplainOption = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events and the result as JSON lines.")
    ] = False,
) -> None:
    """Score files with a model and write the result to a file, all of it or nothing.

    Example: scorestream score model.ubj customers.parquet -o scores.parquet --keep customer_id

    Partitioned: scorestream score model.ubj customers.parquet -o scores/ --keep segment --partition-by segment

    With reasons: scorestream score model.ubj customers.parquet -o scores.parquet --explain 3

    Exit codes: 0 done, 1 the job failed, 2 wrong usage, 130 interrupted.
    """
    path = Path(model)
    file = path if path.is_file() or (path / "MLmodel").is_file() else None
    if file is None and path.is_dir():
        raise wrong_usage(f"{model} is a directory and no MLflow model; give a model file.")
    if file is None and not server:
        raise wrong_usage(f"There is no model file {model}; a registered name needs --server.")
    if server and device:
        raise wrong_usage("--device is for a server that is started here; it does not go with --server.")
    options = output_options(compression, row_group_rows, partition_by)
    if server and (options or append):
        raise wrong_usage(
            "With --server the rows come here and are written as usual; --append, --compression, --row-group-rows and "
            "--partition-by are for what a server writes: job submit --out-path."
        )
    if not append:  # what can be added to is for the server to say
        from scorestream.result_file import check_output  # noqa: PLC0415 - keeps --help quick

        check_output(output, replace=replace)
    wanted = Wanted(
        model=model,
        model_file=file,
        inputs=[existing(path) for path in inputs],
        output=output,
        where=where,
        keep=columns_of(keep),
        replace=replace,
        append=append,
        options=options,
        row_number=row_number,
        on_row_error=on_row_error,
        explain=explain,
        report=Output.JSON if as_json else Output.TEXT,
    )
    if server:
        _score_there(wanted, server)
    else:
        _score_here(wanted, device or "auto")


def _score_here(wanted: Wanted, device: str) -> None:
    """Score with a private server, which reads and writes the files itself."""
    from scorestream.client import local  # noqa: PLC0415 - keeps --help quick

    with ExitStack() as ending:
        with _stages() as begin:
            begin("Starting a server")
            client = ending.enter_context(local(device=device))
            session = client.create_session("score")
            begin("Reading the model")
            model = _model(client, wanted)
            begin("Reading the input")
            table = session.load_table([str(path) for path in wanted.inputs], name="input")
            job = session.score(
                model,
                table,
                where=wanted.where,
                keep=wanted.keep,
                out_path=wanted.output,
                replace=wanted.replace,
                append=wanted.append,
                output=wanted.options,
                row_number=wanted.row_number,
                on_row_error=wanted.on_row_error,
                explain=wanted.explain,
                name="score",
            )
        done = _interruptible(job, lambda: follow(job, wanted.report, SCORING), _untouched(wanted))
        # Before the server is stopped, which takes a moment.
        _tell_result(wanted, done)
    done.raise_for_state()


def _score_there(wanted: Wanted, server: str) -> None:
    """Score on a server: rows go there, results come back and are written here."""
    from scorestream.input_files import open_files  # noqa: PLC0415 - keeps --help quick

    with open_client(server) as client:
        with _stages() as begin:
            begin("Reaching the server")
            session = client.create_session("score")
            try:
                begin("Sending the model" if wanted.model_file else "Looking for the model")
                model = _model(client, wanted)
                begin("Sending the input")
                table = session.load_table(open_files(wanted.inputs), name="input")
                job = session.score(
                    model,
                    table,
                    where=wanted.where,
                    keep=wanted.keep,
                    row_number=wanted.row_number,
                    on_row_error=wanted.on_row_error,
                    explain=wanted.explain,
                    name="score",
                )
            except BaseException:
                session.terminate(cancel=True)
                raise
        done = _collect(wanted, session, job)
        _tell_result(wanted, done)
    done.raise_for_state()


@contextmanager
def _stages() -> Iterator[Callable[[str], None]]:
    """Give a function that tells a person at a terminal what is begun, until the block ends."""
    if not is_terminal():
        yield lambda _stage: None
        return
    with console(errors=True).status("") as shown:
        yield lambda stage: shown.update(f"{stage} ...")


def _untouched(wanted: Wanted) -> str:
    """Return the sentence about an output that was not written."""
    return "Nothing was written" + (f"; {wanted.output} is as it was." if wanted.output.exists() else ".")


def _collect(wanted: Wanted, session: "Session", job: "Job") -> "Job":
    """Write a job's result as it comes, end its session, and return the job as it ended.

    After Ctrl-C the session stays, so that what was scored can still be read.
    """
    kept = (
        f"{_untouched(wanted)} What was scored is kept on the server; read it with: scorestream job results "
        f"{job.id} --committed; drop it with: scorestream session terminate {session.id}"
    )
    done = _interruptible(job, lambda: _write(wanted, job), kept)
    session.terminate()
    return done


def _write(wanted: Wanted, job: "Job") -> "Job":
    """Write a job's result as it comes, and return the job as it ended; a failed one leaves no file."""
    from scorestream.errors import JobFailedError, ScorestreamError  # noqa: PLC0415 - keeps --help quick
    from scorestream.result_file import ResultFile  # noqa: PLC0415 - keeps --help quick

    with follower(wanted.report, SCORING) as shown:

        def show() -> None:
            # The loop below meets the same trouble, and reports it.
            with suppress(ScorestreamError):
                for event in job.watch():
                    shown.tell(event)

        showing = threading.Thread(target=show, daemon=True)
        showing.start()
        with suppress(JobFailedError), ResultFile(wanted.output, job.schema, replace=wanted.replace) as file:
            for batch in job.results():
                file.write(batch)
            job.wait()
        showing.join()
    return job


def _interruptible(job: "Job", work: "Callable[[], Job]", kept: str) -> "Job":
    """Do the work; Ctrl-C cancels the job, says what was kept and ends the program.

    A job that was done before it could be cancelled is returned as done.
    """
    with cancelling(job) as interrupted:
        done = work()
    if not interrupted() or done.refresh().state.succeeded:
        return done
    say(f"Cancelled after {done.rows_done:,} of {done.rows_total:,} rows. {kept}")
    raise typer.Exit(INTERRUPTED)


def _model(client: "Client", wanted: Wanted) -> str:
    """Return the model's name, after registering its file if it is one."""
    from scorestream.wire import model_id_of  # noqa: PLC0415 - keeps --help quick

    if wanted.model_file is None:
        return wanted.model
    return client.register_model(model_id_of(wanted.model_file.name), path=wanted.model_file).id


def _tell_result(wanted: Wanted, job: "Job") -> None:
    """Print what came out."""
    from scorestream.errors import counted  # noqa: PLC0415 - keeps --help quick
    from scorestream.progress import rate_text, seconds_text  # noqa: PLC0415 - keeps --help quick

    info = job.info
    seconds = (info.ended - info.created).total_seconds() if info.ended else 0.0
    rate = info.rows_done / seconds if seconds > 0 else 0.0
    if wanted.report is Output.JSON:
        print_json(
            {
                "type": "RESULT",
                "state": info.state,
                "rows_done": info.rows_done,
                "rows_total": info.rows_total,
                "rows_scored": info.rows_scored,
                "seconds": round(seconds, 3),
                "rows_per_second": round(rate, 1),
                "output": str(wanted.output) if info.state.succeeded else None,
                "failure": info.failure,
                "warnings": info.warnings,
            },
            indent=None,
        )
        return
    for warning in info.warnings:
        say(f"Warning: {warning}")
    if info.state.succeeded:
        written = counted(info.rows_scored, "row") + (f" of {info.rows_total:,}" if wanted.where else "")
        speed = f" ({rate_text(rate)})" if rate > 0 else ""
        console().print(
            f"Scored {written} in {seconds_text(seconds)}{speed} into {wanted.output}",
            soft_wrap=True,
            markup=False,
        )
