"""`scorestream session ...`."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    PATIENCE,
    WATCH_PATIENCE,
    Output,
    OutputOption,
    ServerOption,
    SessionArgument,
    console,
    open_client,
    print_facts,
    print_json,
    print_table,
    say,
    when,
)

if TYPE_CHECKING:
    from scorestream.client import Client
    from scorestream.records import StatusRow
    from scorestream.session import Session

app = typer.Typer(no_args_is_help=True, help="Sessions: workspaces with jobs and tables.")
SHOWN_EVERY_SECONDS = 0.1
# Heading, rule, the line about rows left out, and the cursor's.
LINES_AROUND_ROWS = 4

PrefixOption = Annotated[str, typer.Option(help="Only sessions whose name begins with this.")]


@app.command("list")
def list_sessions(
    prefix: PrefixOption = "",
    everything: Annotated[bool, typer.Option("--all", help="Ended sessions too.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List your sessions, oldest first.

    Example: scorestream session list --prefix ScoringJob_
    """
    from scorestream.fitting import Column  # noqa: PLC0415 - keeps --help quick

    with open_client(server) as client:
        found = [session.info for session in client.sessions(prefix, include_ended=everything)]
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        [
            "session",
            Column("uuid", 3),
            Column("state", 1),
            Column("owner", 5),
            Column("created", 6),
            Column("last active", 4),
            Column("running jobs", 2, right=True),
            Column("context", 7),
        ],
        [
            (
                info.name,
                info.id,
                info.state,
                info.owner,
                when(info.created),
                when(info.last_active),
                info.running_jobs,
                info.context,
            )
            for info in found
        ],
        "There is no session; make one with: scorestream session create NAME"
        if not prefix
        else f"There is no session whose name begins with {prefix}",
    )


@app.command("create")
def create_session(
    name: Annotated[
        str, typer.Argument(help="Name for people; the server makes one up if there is none.")
    ] = "",
    weight: Annotated[int, typer.Option(help="Share of the server, 1 to 1000; 0 means 100.")] = 0,
    inactive_timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds after which it ends when nothing happens in it; 0: never.",
            show_default="as its context says, usually 900",
        ),
    ] = None,
    context: Annotated[str, typer.Option(help="Name of the context to make it from.")] = "default",
    queue: Annotated[
        str, typer.Option(help="Where its jobs wait, unless its context says that.", show_default="default")
    ] = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Open a session, and print its id.

    Example: scorestream session create ScoringJob_Seg1 --context nightly
    """
    with open_client(server) as client:
        made = client.create_session(
            name, weight=weight, inactive_timeout=inactive_timeout, context=context, queue=queue
        )
        _show(made, output)


@app.command("status")
def session_status(
    session: Annotated[
        str, typer.Argument(help="Name or id of a session; none: all that --prefix matches.")
    ] = "",
    prefix: PrefixOption = "",
    watch: Annotated[bool, typer.Option("--watch", help="Show it live until all jobs are final.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show one status row for each job of a session, or of many.

    Example: scorestream session status --prefix ScoringJob_ --watch
    """
    with open_client(server, patience=WATCH_PATIENCE if watch else PATIENCE) as client:
        only = client.get_session(session) if session else None
        if watch:
            return _watch(client, only, prefix, output)
        rows = _rows(client, only, prefix)
    if output is Output.JSON:
        return print_json(rows)
    if not rows:
        return say("There is no session" + (f" whose name begins with {prefix}" if prefix else ""))
    from scorestream.progress import status_table  # noqa: PLC0415 - keeps --help quick

    where = console()
    return where.print(status_table(rows, where.width if where.is_terminal else None))


@app.command("terminate")
def terminate_session(
    session: SessionArgument,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel its jobs instead of waiting for them.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Cancel, and stop the worker at once if nobody shares it.")
    ] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """End a session and drop its tables and results; its jobs are waited for.

    Example: scorestream session terminate ScoringJob_Seg1
    """
    with open_client(server) as client:
        _show(client.get_session(session).terminate(cancel=cancel, force=force), output)


def _rows(client: "Client", only: "Session | None", prefix: str) -> "list[StatusRow]":
    """Return the status of one session, or of all that the prefix matches."""
    return client.status(prefix) if only is None else only.action_status()


def _watch(client: "Client", only: "Session | None", prefix: str, output: Output) -> None:
    """Show the status live: a table that moves on a terminal, an event a line elsewhere."""
    from rich.live import Live  # noqa: PLC0415 - keeps --help quick

    from scorestream.progress import event_line, status_table  # noqa: PLC0415 - keeps --help quick

    events = client.watch(prefix, sessions=[only] if only else (), until_final=True)
    where = console()
    if output is Output.JSON or not where.is_terminal:
        for event in events:
            if output is Output.JSON:
                print_json(event, indent=None)
            else:
                where.print(event_line(event), markup=False)
        return
    with Live(console=where, auto_refresh=False) as live:

        def show() -> None:
            rows = _rows(client, only, prefix)
            live.update(status_table(rows, where.width, where.height - LINES_AROUND_ROWS), refresh=True)

        shown = 0.0
        for _ in events:
            if time.monotonic() - shown >= SHOWN_EVERY_SECONDS:
                show()
                shown = time.monotonic()
        show()


def _show(session: "Session", output: Output) -> None:
    """Print one session."""
    info = session.info
    if output is Output.JSON:
        print_json(info)
    else:
        print_facts(
            {
                "session": info.name,
                "uuid": info.id,
                "state": info.state,
                "owner": info.owner,
                "context": info.context,
                "queue": info.queue,
            }
        )
