"""Rows of jobs: what becomes of those that cannot be scored, and `scorestream job artifacts`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    console,
    find_job,
    open_client,
    print_json,
    print_table,
    wrong_usage,
)

OnRowErrorOption = Annotated[
    str | None,
    typer.Option(
        help="Rows that cannot be scored: keep (the column row_error says why) or fail.",
        show_default="keep, where the model can have such rows",
    ),
]
ArtifactOption = Annotated[
    list[str] | None,
    typer.Option(
        "--artifact",
        metavar="FILE=OUTPUT",
        help="Make a file of each row of this output of score code, and no column; several times.",
    ),
]


def add_commands(job_app: typer.Typer) -> None:
    """Add the commands of this module to those of jobs."""
    job_app.command("artifacts")(job_artifacts)


def artifacts_of(texts: list[str] | None) -> dict[str, str]:
    """Return the artifacts that options such as ``letter.txt=letter`` declare."""
    found = {}
    for text in texts or []:
        name, sign, output = text.partition("=")
        if not sign or not name or not output:
            raise wrong_usage(
                f"{text!r} declares no artifact; write FILE=OUTPUT, for example letter.txt=letter."
            )
        if name in found:
            raise wrong_usage(f"The artifact {name} is declared twice.")
        found[name] = output
    return found


def job_artifacts(
    job: Annotated[
        str, typer.Argument(metavar="JOB", help="Id of a job, or its name if it is the only one.")
    ],
    index: Annotated[int, typer.Argument(metavar="INDEX", min=0, help="Row of the result, counted from 0.")],
    name: Annotated[str, typer.Option(help="Only this artifact; without --to, print what is in it.")] = "",
    to: Annotated[
        Path | None, typer.Option(help="Directory, which must be there, to write files to.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace files that are there.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List the artifacts of a result row, print one, or write them to files; while the job runs, too.

    Example: scorestream job artifacts job_seg1 17 --name letter.txt

    All of a row: scorestream job artifacts job_seg1 17 --to letters/
    """
    with open_client(server) as client:
        found = find_job(client, job)
        if to is not None:
            paths = [str(path) for path in found.download_artifacts(index, name or None, to, replace=replace)]
            if output is Output.JSON:
                return print_json(paths)
            for path in paths:
                console().print(path, soft_wrap=True, markup=False)
            return None
        if name:
            content = found.artifact(index, name)
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
            return None
        sizes = found.artifacts(index)
    if output is Output.JSON:
        return print_json([{"name": name, "size_bytes": size} for name, size in sizes.items()])
    return print_table(
        ["artifact", "bytes"],
        list(sizes.items()),
        f"Row {index:,} has no artifacts; see model show, and row_error",
    )
