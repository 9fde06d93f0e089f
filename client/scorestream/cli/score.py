"""`scorestream score`: files in, a file out, with no server needed."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.following import follow, follower
from scorestream.cli.shell import (
    INTERRUPTED,
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
    from scorestream.session import Session


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
    report: Output


def score(
    model: Annotated[
        str,
        typer.Argument(
            help="Model file (.json, .ubj, .txt, .sql, treelite) or, with --server, a registered name."
        ),
    ],
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="CSV, Parquet or Arrow: a file, several, or a directory."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="File to write: .parquet, .arrow, .csv; without an ending, a Parquet directory.",
        ),
    ],
    where: Annotated[str, typer.Option(help="SQL predicate: only these rows are scored.")] = "",
    keep: Annotated[str, typer.Option(help="Input columns to carry into the output: COL,COL.")] = "",
    server: Annotated[str, typer.Option(help="Use this server, host:port, instead of starting one.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda, for the server that is started.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace the output if it is there.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events and the result as JSON lines.")
    ] = False,
) -> None:
    """Score files with a model and write the result to a file, all of it or nothing.

    Example: scorestream score model.ubj customers.parquet -o scores.parquet --keep customer_id

    Exit codes: 0 done, 1 the job failed, 2 wrong usage, 130 interrupted.
    """
    file = Path(model) if Path(model).is_file() else None
    if file is None and not server:
        raise wrong_usage(f"There is no model file {model}; a registered name needs --server.")
    if server and device:
        raise wrong_usage("--device is for a server that is started here; it does not go with --server.")
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
        report=Output.JSON if as_json else Output.TEXT,
    )
    job = _score_there(wanted, server) if server else _score_here(wanted, device or "auto")
    _tell_result(wanted, job)
    job.raise_for_state()


def _score_here(wanted: Wanted, device: str) -> "Job":
    """Score with a private server, which reads and writes the files itself; return the job as it ended."""
    with _private_client(device) as client:
        session = client.create_session("score")
        job = session.score(
            _model(client, wanted),
            session.load_table([str(path) for path in wanted.inputs], name="input"),
            where=wanted.where,
            keep=wanted.keep,
            out_path=wanted.output,
            replace=wanted.replace,
            name="score",
        )
        return _interruptible(
            job, lambda: follow(job, wanted.report), f"Nothing was written; {wanted.output} is as it was."
        )


def _score_there(wanted: Wanted, server: str) -> "Job":
    """Score on a server: rows go there, results come back and are written here; return the job as it ended."""
    from scorestream.input_files import open_files  # noqa: PLC0415 - keeps --help quick

    with open_client(server) as client:
        session = client.create_session("score")
        try:
            job = session.score(
                _model(client, wanted),
                session.load_table(open_files(wanted.inputs), name="input"),
                where=wanted.where,
                keep=wanted.keep,
                name="score",
            )
        except BaseException:
            session.terminate(cancel=True)
            raise
        return _collect(wanted, session, job)


def _collect(wanted: Wanted, session: "Session", job: "Job") -> "Job":
    """Write a job's result as it comes, end its session, and return the job as it ended.

    After Ctrl-C the session stays, so that what was scored can still be read.
    """
    kept = (
        f"Nothing was written; {wanted.output} is as it was. What was scored is kept on the server: "
        f"scorestream job results {job.id}"
    )
    done = _interruptible(job, lambda: _write(wanted, job), kept)
    session.terminate()
    return done


def _write(wanted: Wanted, job: "Job") -> "Job":
    """Write a job's result as it comes, and return the job as it ended; a failed one leaves no file."""
    from scorestream.errors import JobFailedError, ScorestreamError  # noqa: PLC0415 - keeps --help quick
    from scorestream.result_file import ResultFile  # noqa: PLC0415 - keeps --help quick

    with follower(wanted.report, job.name) as shown:

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
    try:
        return work()
    except KeyboardInterrupt:
        say("Interrupted; cancelling the job ...")
        job.cancel()
        for _ in job.watch():
            pass
        if job.refresh().state.succeeded:
            return job
        say(f"Cancelled after {job.rows_done:,} of {job.rows_total:,} rows. {kept}")
        raise typer.Exit(INTERRUPTED) from None


def _model(client: "Client", wanted: Wanted) -> str:
    """Return the model's name, after registering its file if it is one."""
    from scorestream.wire import model_id_of  # noqa: PLC0415 - keeps --help quick

    if wanted.model_file is None:
        return wanted.model
    return client.register_model(model_id_of(wanted.model_file.name), path=wanted.model_file).id


def _private_client(device: str) -> "Client":
    """Start a private server, saying so to a person who waits for it."""
    from scorestream.client import local  # noqa: PLC0415 - keeps --help quick

    if not is_terminal():
        return local(device=device)
    with console(errors=True).status("Starting a server ..."):
        return local(device=device)


def _tell_result(wanted: Wanted, job: "Job") -> None:
    """Print what came out."""
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
        written = f"{info.rows_scored:,} rows" + (f" of {info.rows_total:,}" if wanted.where else "")
        console().print(
            f"Scored {written} in {seconds_text(seconds)} ({rate_text(rate)}) into {wanted.output}",
            soft_wrap=True,
            markup=False,
        )
