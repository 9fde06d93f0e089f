"""`scorestream job create ...`."""

from typing import Annotated

import typer

from scorestream.cli.deployment import DeploymentArgument
from scorestream.cli.following import follow_from_outside
from scorestream.cli.shell import (
    DEFAULT_SERVER,
    PATIENCE,
    WATCH_PATIENCE,
    Output,
    OutputOption,
    ServerOption,
    columns_of,
    console,
    open_client,
    print_json,
)

app = typer.Typer(no_args_is_help=True, help="Jobs of deployments.")


@app.callback()
def kinds() -> None:
    """Take no options: which kind of job is the command's name."""


@app.command("deployedbatch")
def create_deployed_batch(
    deployment: DeploymentArgument,
    source: Annotated[
        str, typer.Argument(metavar="[INPUT]", help="Path on the server or URI; else the deployment's own.")
    ] = "",
    out_path: Annotated[
        str, typer.Argument(metavar="[OUTPUT]", help="Where to publish; else the deployment's own.")
    ] = "",
    where: Annotated[str, typer.Option(help="SQL predicate: only these rows are scored.")] = "",
    keep: Annotated[str, typer.Option(help="Input columns to carry into the result: COL,COL.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace the output if it is there.")] = False,
    name: Annotated[str, typer.Option(help="Name of the job.")] = "",
    request_id: Annotated[
        str, typer.Option(help="Two commands with the same one make one job; empty: a new one.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until it is final.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Score files with a deployed model, on a runtime with its tags, and print the job's id; it goes on by itself.

    Example: scorestream job create deployedbatch 1f0c5a52-8b1f-4ad5-9a3c-0d8f8a4b6f11 in.parquet scores.parquet
    """
    with open_client(server, patience=WATCH_PATIENCE if wait else PATIENCE) as client:
        job = client.deployments.get(deployment).run(
            source,
            out_path,
            name=name,
            request_id=request_id,
            where=where,
            keep=columns_of(keep),
            replace=replace,
        )
        if output is Output.TEXT:
            console().print(job.id)
        elif not wait:
            print_json(job.info)
        if wait:
            follow_from_outside(job, output)
            if output is Output.JSON:
                print_json(job.info, indent=None)
            job.raise_for_state()
