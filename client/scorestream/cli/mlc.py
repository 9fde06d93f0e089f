"""`scorestream mlc ...`: signals and the processes that they start."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    WATCH_PATIENCE,
    Output,
    OutputOption,
    ServerOption,
    as_json,
    existing,
    open_client,
    print_facts,
    print_json,
    print_table,
    when,
    wrong_usage,
)

if TYPE_CHECKING:
    from scorestream.job import Job
    from scorestream.process_records import IncidentInfo, ProcessInfo, ProcessState
    from scorestream.processes import Process

app = typer.Typer(no_args_is_help=True, help="Processes: signals that become jobs of deployed models.")

ProcessArgument = Annotated[str, typer.Argument(metavar="PROCESS", help="The process's id.")]


@app.command("trigger")
def trigger_process(
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="The signal, a JSON document.")],
    request_id: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="A second signal with the same one, of letters, digits and hyphens, starts nothing within 24 hours.",
        ),
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Return when the process is over.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Send a signal and print the id of the process that it starts (processInstanceId).

    The file has {"name": "com.modelop.mlc.definitions.Signals_DEPLOYED_BATCH_JOB", "variables": {"TAG": {"value":
    "cc-fraud"}, "MODEL_STAGE": {"value": "PROD"}}}; variables INPUT and OUTPUT win over the deployment's own.

    Example: scorestream mlc trigger --file signal.json
    """
    with open_client(server, patience=WATCH_PATIENCE) as client:
        process = client.processes.trigger(existing(file), request_id=request_id)
        if output is Output.TEXT:
            show_started(process, output)
        if wait:
            process.wait()
        if output is Output.JSON:
            show_started(process, output)


@app.command("show")
def show_process(
    process: ProcessArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Show a process, its jobs and its incidents.

    Example: scorestream mlc show 3f2a6c1e-5f0b-4c57-9f0e-0a5b8f8f4c11
    """
    with open_client(server) as client:
        found = client.processes.get(process)
        jobs, incidents = found.jobs(), found.incidents()
    # ModelOp's word for what has no job yet; what is over without one has no state of a job.
    state = jobs[0].info.modelop_state if jobs else "" if found.state.final else "CREATED"
    if output is Output.JSON:
        shown = {"job_state": state, "jobs": [job.info for job in jobs], "incidents": incidents}
        return print_json(as_json(found.info) | shown)
    _show(found.info, state)
    if jobs:
        _show_jobs(jobs)
    if incidents:
        show_incidents(incidents)
    return None


@app.command("ls")
def list_processes(
    state: Annotated[
        str, typer.Option(help="Only those that are running, completed, failed or cancelled.")
    ] = "",
    schedule: Annotated[str, typer.Option(help="Only those of this schedule.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest first.")] = 100,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List processes, the newest first.

    Example: scorestream mlc ls --state running
    """
    wanted = _state(state)
    with open_client(server) as client:
        found = client.processes.list(state=wanted, schedule=schedule, limit=limit)
    if output is Output.JSON:
        return print_json([process.info for process in found])
    return print_table(
        ["process", "state", "tag", "stage", "job", "incident", "schedule", "created"],
        [
            (
                one.id,
                _state_text(one.info),
                one.info.variables.get("TAG", ""),
                one.info.variables.get("MODEL_STAGE", ""),
                one.info.job_id,
                one.info.incident_id,
                one.info.schedule,
                when(one.info.created),
            )
            for one in found
        ],
        "There is no process",
    )


def show_incidents(found: "list[IncidentInfo]") -> None:
    """Print incidents."""
    print_table(
        ["incident", "state", "message", "reason", "type", "process", "last", "attempts"],
        [
            (
                one.id,
                one.state.lower(),
                one.message,
                one.reason,
                one.type,
                one.process_id,
                when(one.last),
                one.attempts,
            )
            for one in found
        ],
        "There is no incident",
    )


def show_started(process: "Process", output: Output) -> None:
    """Print a process that was started just now."""
    if output is Output.JSON:
        return print_json({"processInstanceId": process.id} | as_json(process.info))
    return typer.echo(process.id)


def _show(info: "ProcessInfo", job_state: str) -> None:
    print_facts(
        {
            "process": info.id,
            "state": _state_text(info),
            "signal": info.signal,
            **info.variables,
            "deployment": info.deployment_id,
            "job": info.job_id,
            "job state": job_state,
            "incident": info.incident_id,
            "schedule": info.schedule,
            "due": when(info.due),
            "created": when(info.created),
            "ended": when(info.ended),
            "failure": f"{info.failure.message} ({info.failure.reason})" if info.failure else "",
        }
    )


def _show_jobs(jobs: "list[Job]") -> None:
    print_table(
        ["job", "state", "rows done", "outputs", "failure"],
        [
            (
                job.id,
                job.info.modelop_state,
                job.rows_done,
                ", ".join(job.outputs),
                job.failure.message if job.failure else "",
            )
            for job in jobs
        ],
        "It has no job",
    )


def _state_text(info: "ProcessInfo") -> str:
    return f"{info.state.lower()}{', incident open' if info.incident_id else ''}"


def _state(text: str) -> "ProcessState | None":
    from scorestream.process_records import ProcessState  # noqa: PLC0415 - keeps --help quick

    if text and text.upper() not in ProcessState.__members__:
        raise wrong_usage(f"--state is one of {', '.join(ProcessState).lower()}, not {text!r}.")
    return ProcessState(text.upper()) if text else None
