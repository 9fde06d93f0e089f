"""`scorestream incident ...`."""

from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.mlc import show_incidents
from scorestream.cli.shell import (
    DEFAULT_SERVER,
    FAILED,
    Output,
    OutputOption,
    ServerOption,
    open_client,
    print_facts,
    print_json,
    when,
)

if TYPE_CHECKING:
    from scorestream.process_records import IncidentInfo

app = typer.Typer(no_args_is_help=True, help="Incidents: why processes have no job.")

IncidentArgument = Annotated[str, typer.Argument(metavar="INCIDENT", help="The incident's id.")]


@app.command("ls")
def list_incidents(
    process: Annotated[str, typer.Option(metavar="ID", help="Only those of this process.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Those that are resolved, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest first.")] = 100,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List incidents, the newest first: open ones, or all of a process.

    Example: scorestream incident ls --process 3f2a6c1e-5f0b-4c57-9f0e-0a5b8f8f4c11
    """
    from scorestream.process_records import IncidentState  # noqa: PLC0415 - keeps --help quick

    state = None if every or process else IncidentState.OPEN
    with open_client(server) as client:
        found = client.processes.incidents(process=process, state=state, limit=limit)
    print_json(found) if output is Output.JSON else show_incidents(found)


@app.command("show")
def show_incident(
    incident: IncidentArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Show an incident.

    Example: scorestream incident show 9d1f2f0a-77a2-4a0c-8a52-6a2d6d3b7f10
    """
    with open_client(server) as client:
        _show(client.processes.incident(incident), output)


@app.command("retry")
def retry_incident(
    incident: IncidentArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Try again what stopped a process. When it works, the process goes on; otherwise the exit code is 1.

    Example: scorestream incident retry 9d1f2f0a-77a2-4a0c-8a52-6a2d6d3b7f10
    """
    with open_client(server) as client:
        found = client.processes.retry(incident)
    _show(found, output)
    if found.state == "OPEN":
        raise typer.Exit(FAILED)


@app.command("resolve")
def resolve_incident(
    incident: IncidentArgument,
    note: Annotated[str, typer.Option(help="Why, for whoever looks at it later.")],
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Close an incident without another try, which ends its process.

    Example: scorestream incident resolve 9d1f2f0a-77a2-4a0c-8a52-6a2d6d3b7f10 --note "scored by hand"
    """
    with open_client(server) as client:
        _show(client.processes.resolve(incident, note), output)


def _show(found: "IncidentInfo", output: Output) -> None:
    if output is Output.JSON:
        return print_json(found)
    return print_facts(
        {
            "incident": found.id,
            "state": found.state.lower(),
            "message": found.message,
            "reason": f"{found.reason} ({found.code})",
            "type": found.type,
            "process": found.process_id,
            "created": when(found.created),
            "last": when(found.last),
            "attempts": found.attempts,
            "resolved": when(found.ended),
            "resolved by": found.resolved_by,
            "note": found.note,
        }
    )
