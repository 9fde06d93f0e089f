"""`scorestream fileref ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.file import ReplaceOption, SessionOption, bytes_shown
from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    open_client,
    print_facts,
    print_json,
    print_table,
    say,
    when,
)

if TYPE_CHECKING:
    from scorestream.file_records import FilerefInfo

app = typer.Typer(no_args_is_help=True, help="Filerefs: names in a session for files.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of a fileref.")]


@app.command("assign")
def assign_fileref(
    session: SessionOption,
    name: NameArgument,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="home:PATH in the session's home, or a path on the server.")
    ],
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Give a name to a path, at which nothing need be yet; then use it as fileref:NAME.

    Example: scorestream fileref assign --session ScoringJob_Seg1 custs home:in/customers.csv
    """
    with open_client(server) as client:
        _show(client.get_session(session).filerefs.assign(name, path), output)


@app.command("list")
def list_filerefs(
    session: SessionOption, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """List a session's filerefs.

    Example: scorestream fileref list --session ScoringJob_Seg1
    """
    with open_client(server) as client:
        found = client.get_session(session).filerefs.list()
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["fileref", "path", "is there", "assigned"],
        [(one.name, one.path, "yes" if one.exists else "no", when(one.created)) for one in found],
        f"Session {session} has no fileref; make one with: scorestream fileref assign",
    )


@app.command("show")
def show_fileref(
    session: SessionOption,
    name: NameArgument,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show what a fileref stands for, and whether that is there.

    Example: scorestream fileref show --session ScoringJob_Seg1 custs
    """
    with open_client(server) as client:
        _show(client.get_session(session).filerefs.get(name), output)


@app.command("get")
def get_fileref(
    session: SessionOption,
    name: NameArgument,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="File on this machine; none: called as what it stands for, here."
        ),
    ] = None,
    replace: ReplaceOption = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Fetch the file that a fileref stands for.

    Example: scorestream fileref get --session ScoringJob_Seg1 custs customers.csv
    """
    with open_client(server) as client, bytes_shown(f"Fetching {name}") as report:
        found = client.get_session(session)
        target = file or Path(found.filerefs.get(name).path.rpartition("/")[2].rpartition(":")[2])
        found.files.download(f"fileref:{name}", target, replace=replace, report=report)
    say(f"fileref:{name} is in {target}")


@app.command("deassign")
def deassign_fileref(
    session: SessionOption, name: NameArgument, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Forget a fileref; the file stays.

    Example: scorestream fileref deassign --session ScoringJob_Seg1 custs
    """
    with open_client(server) as client:
        client.get_session(session).filerefs.deassign(name)


def _show(fileref: "FilerefInfo", output: Output) -> None:
    """Print one fileref."""
    if output is Output.JSON:
        return print_json(fileref)
    return print_facts(
        {
            "fileref": fileref.name,
            "path": fileref.path,
            "is there": "yes" if fileref.exists else "no",
            "assigned": when(fileref.created),
        }
    )
