"""`scorestream job log|listing|report|delete` and `scorestream session log|listing|results`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.job import JobArgument
from scorestream.cli.shell import (
    DEFAULT_SERVER,
    PATIENCE,
    WATCH_PATIENCE,
    Output,
    OutputOption,
    ServerOption,
    SessionArgument,
    console,
    find_job,
    open_client,
    print_json,
    print_table,
    say,
    when,
)

if TYPE_CHECKING:
    from scorestream.outcomes import LogLine, ResultLink

STYLES = {"warning": "yellow", "error": "red", "title": "bold", "source": "cyan"}

TypesOption = Annotated[
    list[str] | None,
    typer.Option("--type", help="Only these: normal, source, note, warning, error, title; more than once."),
]
AfterOption = Annotated[int, typer.Option(help="Only lines behind the one with this position (-o json).")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Wait for what is still to be written.")]


def add_commands(job_app: typer.Typer, session_app: typer.Typer) -> None:
    """Add the commands of this module to those of jobs and of sessions."""
    job_app.command("log")(job_log)
    job_app.command("listing")(job_listing)
    job_app.command("links")(job_links)
    job_app.command("report")(job_report)
    job_app.command("delete")(delete_job)
    session_app.command("log")(session_log)
    session_app.command("listing")(session_listing)
    session_app.command("results")(session_results)


def job_log(
    job: JobArgument,
    follow: FollowOption = False,
    types: TypesOption = None,
    after: AfterOption = 0,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Print a job's log; with --follow until the job is final.

    Example: scorestream job log job_seg1 --follow --type warning --type error
    """
    with open_client(server, patience=WATCH_PATIENCE if follow else PATIENCE) as client:
        _print_lines(find_job(client, job).log(follow=follow, after=after, types=types or ()), output)


def session_log(
    session: SessionArgument,
    follow: FollowOption = False,
    types: TypesOption = None,
    after: AfterOption = 0,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Print a session's log, that of deleted jobs too; with --follow until the session has ended.

    Example: scorestream session log ScoringJob_Seg1 --follow
    """
    with open_client(server, patience=WATCH_PATIENCE if follow else PATIENCE) as client:
        lines = client.get_session(session).log(follow=follow, after=after, types=types or ())
        _print_lines(lines, output)


def job_listing(
    job: JobArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Print a job's listing: its figures, and how its scores are distributed.

    Example: scorestream job listing job_seg1
    """
    with open_client(server) as client:
        _print_listing(find_job(client, job).listing(), output)


def session_listing(
    session: SessionArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Print the listings of all jobs of a session, oldest first, those of deleted jobs too.

    Example: scorestream session listing ScoringJob_Seg1
    """
    with open_client(server) as client:
        _print_listing(client.get_session(session).listing(), output)


def session_results(
    session: SessionArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """List what a session's jobs have made, tables and files, and their reports.

    Example: scorestream session results ScoringJob_Seg1
    """
    with open_client(server) as client:
        print_links(client.get_session(session).result_links(), output)


def job_links(
    job: JobArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """List what a job has made, tables and files, and its report; `job results` has its rows.

    Example: scorestream job links job_seg1
    """
    with open_client(server) as client:
        print_links(find_job(client, job).result_links(), output)


def job_report(
    job: JobArgument,
    to: Annotated[Path, typer.Option(help="File to write, for example report.html.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace the file if it is there.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Write a job's report: one HTML page with plots that a browser shows without a network.

    Example: scorestream job report job_seg1 --to report.html
    """
    with open_client(server) as client:
        found = find_job(client, job)
        found.report(to, replace=replace)
    if output is Output.JSON:
        print_json({"job": found.id, "file": str(to)})
    else:
        console().print(f"Report of {found.name} in {to}", markup=False)


def delete_job(
    job: JobArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Delete a job that is final, and its rows; tables and files that it made stay, its log stays its session's.

    Example: scorestream job delete job_seg1
    """
    with open_client(server) as client:
        found = find_job(client, job)
        found.delete()
    if output is Output.JSON:
        print_json({"deleted": found.id})
    else:
        say(f"Deleted {found.name} ({found.id}).")


def _print_lines(lines: "Iterable[LogLine]", output: Output) -> None:
    """Print lines of a log as they come: number, time and text, coloured on a terminal."""
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    where = console()
    for line in lines:
        if output is Output.JSON:
            print_json(line, indent=None)
        else:
            shown = (
                f"{line.number:>6}  {line.time.astimezone():%H:%M:%S.%f}"[:-3] + f"  {line.type.value:<7}  "
            )
            where.print(Text(shown, "dim").append(line.text, STYLES.get(line.type.value, "not dim")))


def _print_listing(text: str, output: Output) -> None:
    if output is Output.JSON:
        print_json({"listing": text})
    else:
        console().print(text, markup=False, soft_wrap=True, end="")


def print_links(links: "list[ResultLink]", output: Output) -> None:
    """Print results as a table."""
    if output is Output.JSON:
        return print_json(links)
    from scorestream.fitting import Column  # noqa: PLC0415 - keeps --help quick
    from scorestream.progress import bytes_text  # noqa: PLC0415 - keeps --help quick

    return print_table(
        [
            "type",
            Column("name", 1),
            Column("job", 2),
            Column("size", 4, right=True),
            Column("made", 5),
            Column("link", 3),
        ],
        [
            (
                found.type.value,
                found.name,
                found.job,
                bytes_text(found.size_bytes) if found.size_bytes else "",
                when(found.time),
                found.link,
            )
            for found in links
        ],
        "No job has made anything yet.",
    )
