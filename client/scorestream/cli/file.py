"""`scorestream file ...`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    as_json,
    console,
    existing,
    is_terminal,
    open_client,
    print_facts,
    print_json,
    print_table,
    say,
    when,
    wrong_usage,
)

if TYPE_CHECKING:
    from scorestream.file_records import FileInfo

app = typer.Typer(no_args_is_help=True, help="Files in a session's home.")

SessionOption = Annotated[
    str, typer.Option("-s", "--session", envvar="SCORESTREAM_SESSION", help="Name or id of a session.")
]
PathArgument = Annotated[
    str, typer.Argument(metavar="PATH", help="Path in the session's home, or fileref:NAME.")
]
TargetArgument = Annotated[str, typer.Argument(metavar="TARGET", help="New path in the session's home.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace a file that is there.")]


@app.command("ls")
def list_files(
    session: SessionOption,
    path: Annotated[
        str, typer.Argument(metavar="[PATH]", help="Directory in the session's home; none: all of it.")
    ] = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List a directory of a session's home.

    Example: scorestream file ls --session ScoringJob_Seg1 in
    """
    from scorestream.progress import bytes_text  # noqa: PLC0415 - keeps --help quick

    with open_client(server) as client:
        found = client.get_session(session).files.list(path)
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["name", "size", "changed"],
        [
            (
                file.name + ("/" if file.directory else ""),
                "" if file.directory else bytes_text(file.size_bytes),
                when(file.modified),
            )
            for file in found
        ],
        f"There is no file in {path or 'the home of the session'}; send one with: scorestream file put",
    )


@app.command("info")
def file_info(
    session: SessionOption,
    path: PathArgument,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show the properties of a file or a directory.

    Example: scorestream file info --session ScoringJob_Seg1 in/customers.csv
    """
    with open_client(server) as client:
        _show(client.get_session(session).files.info(path), output)


@app.command("put")
def put_file(
    session: SessionOption,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File on this machine.")],
    path: Annotated[
        str,
        typer.Argument(
            metavar="[PATH]", help="What it is to be called in the home; with / at the end, a directory."
        ),
    ] = "",
    replace: ReplaceOption = False,
    etag: Annotated[str, typer.Option(help="Replace only the file with this etag.")] = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Send a file to a session's home; nothing appears there before all of it has come.

    Example: scorestream file put --session ScoringJob_Seg1 customers.csv in/
    """
    if existing(file).is_dir():
        raise wrong_usage(f"{file} is a directory; send its files one by one.")
    target = f"{path}{file.name}" if path.endswith("/") else path
    with open_client(server) as client, bytes_shown(f"Sending {file.name}") as report:
        found = client.get_session(session).files
        sent = found.upload(file, target, replace=replace, etag=etag, report=report)
    _show(sent, output)


@app.command("get")
def get_file(
    session: SessionOption,
    path: PathArgument,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="File or directory on this machine; none: of the same name, here."
        ),
    ] = None,
    replace: ReplaceOption = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Fetch a file; it appears here when all of it has come.

    Example: scorestream file get --session ScoringJob_Seg1 out/scores.parquet
    """
    name = path.rpartition("/")[2].rpartition(":")[2]
    target = Path(name) if file is None else file / name if file.is_dir() else file
    with open_client(server) as client, bytes_shown(f"Fetching {name}") as report:
        client.get_session(session).files.download(path, target, replace=replace, report=report)
    say(f"{path} is in {target}")


@app.command("cp")
def copy_file(
    session: SessionOption,
    path: PathArgument,
    target: TargetArgument,
    replace: ReplaceOption = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Copy a file within a session's home.

    Example: scorestream file cp --session ScoringJob_Seg1 in/customers.csv customers_before.csv
    """
    with open_client(server) as client:
        _show(client.get_session(session).files.copy(path, target, replace=replace), output)


@app.command("mv")
def move_file(
    session: SessionOption,
    path: PathArgument,
    target: TargetArgument,
    replace: ReplaceOption = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Move or rename a file or a directory within a session's home.

    Example: scorestream file mv --session ScoringJob_Seg1 scores.parquet out/scores_may.parquet
    """
    with open_client(server) as client:
        _show(client.get_session(session).files.move(path, target, replace=replace), output)


@app.command("rm")
def remove_file(
    session: SessionOption,
    path: PathArgument,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="A directory goes with all that is in it.")
    ] = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Remove a file or a directory from a session's home.

    Example: scorestream file rm --session ScoringJob_Seg1 in --recursive
    """
    with open_client(server) as client:
        client.get_session(session).files.delete(path, recursive=recursive)


@app.command("mkdir")
def make_directory(
    session: SessionOption,
    path: PathArgument,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Make a directory in a session's home, with those above it.

    Example: scorestream file mkdir --session ScoringJob_Seg1 out/may
    """
    with open_client(server) as client:
        _show(client.get_session(session).files.make_directory(path), output)


@contextmanager
def bytes_shown(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows how many bytes were moved to a person at a terminal, until the block ends."""
    if not is_terminal():
        yield lambda _done, _size: None
        return
    from rich.progress import (  # noqa: PLC0415 - keeps --help quick
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(errors=True), transient=True) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, size: progress.update(bar, completed=done, total=size)


def _show(file: "FileInfo", output: Output) -> None:
    """Print one file."""
    if output is Output.JSON:
        return print_json(as_json(file))
    return print_facts(
        {
            "path": file.path or "(home)",
            "type": "directory" if file.directory else "file",
            "size": None if file.directory else f"{file.size_bytes:,} bytes",
            "changed": when(file.modified),
            "etag": file.etag,
        }
    )
