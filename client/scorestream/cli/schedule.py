"""`scorestream schedule ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.mlc import show_started
from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    existing,
    open_client,
    print_facts,
    print_json,
    print_table,
    when,
)

if TYPE_CHECKING:
    from datetime import datetime

    from scorestream.process_records import ScheduleInfo

app = typer.Typer(no_args_is_help=True, help="Schedules: signals that are sent by the clock.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


@app.command("create")
def create_schedule(
    name: NameArgument,
    cron: Annotated[
        str,
        typer.Option(
            help="Minute, hour, day of month, month, day of week. A fixed time that daylight saving leaves out is due "
            "once, right after; one in the hour that comes twice is due once, the first time."
        ),
    ],
    signal: Annotated[Path, typer.Option(metavar="FILE", help="The signal, as for `mlc trigger`.")],
    time_zone: Annotated[str, typer.Option(help="That the expression is meant in.")] = "UTC",
    missed: Annotated[
        str,
        typer.Option(
            help="Runs that were due while no server was there: once (one run, for the last of them) or skip."
        ),
    ] = "once",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Have a signal sent by the clock, in your name.

    Example: scorestream schedule create nightly --cron "0 2 * * *" --time-zone Europe/Berlin --signal signal.json
    """
    with open_client(server) as client:
        _show(
            client.schedules.create(name, cron, existing(signal), time_zone=time_zone, missed=missed), output
        )


@app.command("ls")
def list_schedules(output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER) -> None:
    """List schedules by name.

    Example: scorestream schedule ls
    """
    with open_client(server) as client:
        found = client.schedules.list()
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["schedule", "next", "cron", "time zone", "last due", "last process", "missed", "missed runs"],
        [
            (
                one.name,
                "paused" if one.paused else _there(one.next[0], one) if one.next else "",
                one.cron,
                one.time_zone,
                _there(one.last_due, one),
                one.last_process_id,
                one.missed.lower(),
                one.missed_runs,
            )
            for one in found
        ],
        "There is no schedule",
    )


@app.command("show")
def show_schedule(
    name: NameArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Show a schedule, with the next five times that it is due.

    Example: scorestream schedule show nightly
    """
    with open_client(server) as client:
        _show(client.schedules.get(name), output)


@app.command("pause")
def pause_schedule(
    name: NameArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Have a schedule run no more by itself; what is due meanwhile is not run later.

    Example: scorestream schedule pause nightly
    """
    with open_client(server) as client:
        _show(client.schedules.pause(name), output)


@app.command("resume")
def resume_schedule(
    name: NameArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Have a paused schedule run again, from the next due time on.

    Example: scorestream schedule resume nightly
    """
    with open_client(server) as client:
        _show(client.schedules.resume(name), output)


@app.command("delete")
def delete_schedule(name: NameArgument, server: ServerOption = DEFAULT_SERVER) -> None:
    """Delete a schedule; its processes stay.

    Example: scorestream schedule delete nightly
    """
    with open_client(server) as client:
        client.schedules.delete(name)


@app.command("run")
def run_schedule(
    name: NameArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Send a schedule's signal now, paused or not, and print the id of the process that it starts.

    Example: scorestream schedule run nightly
    """
    with open_client(server) as client:
        show_started(client.schedules.run(name), output)


def _show(found: "ScheduleInfo", output: Output) -> None:
    if output is Output.JSON:
        return print_json(found)
    return print_facts(
        {
            "schedule": found.name,
            "cron": found.cron,
            "time zone": found.time_zone,
            "missed": f"{found.missed.lower()} ({found.missed_runs:,} had no run of their own)",
            "paused": "yes" if found.paused else "no",
            "next": ", ".join(_there(moment, found) for moment in found.next),
            "last due": _there(found.last_due, found),
            "last process": found.last_process_id,
            "created": when(found.created),
        }
    )


def _there(moment: "datetime | None", schedule: "ScheduleInfo") -> str:
    """Return a time as the clocks of a schedule's zone tell it, where this machine knows them."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - keeps --help quick

    if moment is None:
        return ""
    try:
        return f"{moment.astimezone(ZoneInfo(schedule.time_zone)):%Y-%m-%d %H:%M %Z}"
    except ZoneInfoNotFoundError:
        return f"{moment:%Y-%m-%d %H:%M} UTC"
