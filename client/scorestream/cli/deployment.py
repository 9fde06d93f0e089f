"""`scorestream deployment ...`."""

from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    FAILED,
    Output,
    OutputOption,
    ServerOption,
    console,
    open_client,
    print_facts,
    print_json,
    print_table,
    when,
)

if TYPE_CHECKING:
    from scorestream.deployment_records import DeploymentInfo

app = typer.Typer(
    no_args_is_help=True, help="Deployments: model versions at a stage, run on tagged contexts."
)

DeploymentArgument = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="The deployment's id.")]


@app.command("create")
def create_deployment(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Registered model: name, or name@version.")],
    service: Annotated[str, typer.Option(metavar="TAG", help="Model service tag of its runtimes.")],
    stage: Annotated[str, typer.Option(metavar="TAG", help="Environment or stage, such as PROD.")],
    source: Annotated[
        str, typer.Option("--input", help="What its jobs read where they do not say: path or URI.")
    ] = "",
    out_path: Annotated[
        str, typer.Option("--out-path", help="Where its jobs publish where they do not say.")
    ] = "",
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Retire yours of the same model, tag and stage once this is deployed."
        ),
    ] = False,
    wait: Annotated[bool, typer.Option(help="Return only when it is deployed or failed.")] = True,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Deploy a model version as batch, and print the deployment; exit code 1 if that failed.

    Example: scorestream deployment create credit@3 --service cc-fraud --stage PROD
    """
    with open_client(server) as client:
        made = client.deployments.create(
            model,
            service_tag=service,
            stage=stage,
            source=source,
            out_path=out_path,
            replace=replace,
            wait=wait,
        )
    _show(made.info, output)
    if made.state == "FAILED":
        raise typer.Exit(FAILED)


@app.command("ls")
def list_deployments(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Only of this model; else of all.")] = "",
    state: Annotated[
        str | None, typer.Option(help="Only in this state: deploying, deployed, failed, retired.")
    ] = None,
    tag: Annotated[str, typer.Option(metavar="STAGE", help="Only at this stage.")] = "",
    service: Annotated[str, typer.Option(metavar="TAG", help="Only with this model service tag.")] = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List deployments, newest first.

    Example: scorestream deployment ls credit --state deployed --tag PROD
    """
    with open_client(server) as client:
        found = [
            one.info for one in client.deployments.list(model, state=state, stage=tag, service_tag=service)
        ]
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["deployment", "model", "stage", "service tag", "state", "jobs", "runtime", "created", "reason"],
        [
            (
                info.id,
                info.model,
                info.stage,
                info.service_tag,
                info.state,
                info.running_jobs,
                info.context,
                when(info.created),
                info.reason,
            )
            for info in found
        ],
        "There is no such deployment; make one with: scorestream deployment create MODEL --service TAG --stage STAGE",
    )


@app.command("show")
def show_deployment(
    deployment: DeploymentArgument,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show one deployment in full.

    Example: scorestream deployment show 1f0c5a52-8b1f-4ad5-9a3c-0d8f8a4b6f11
    """
    with open_client(server) as client:
        _show(client.deployments.get(deployment).info, output)


@app.command("retire")
def retire_deployment(
    deployment: DeploymentArgument,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel its jobs, too.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Have a deployment take no more jobs; those that run go on.

    Example: scorestream deployment retire 1f0c5a52-8b1f-4ad5-9a3c-0d8f8a4b6f11
    """
    with open_client(server) as client:
        _show(client.deployments.get(deployment).retire(cancel=cancel).info, output)


def _show(info: "DeploymentInfo", output: Output) -> None:
    """Print one deployment."""
    if output is Output.JSON:
        return print_json(info)
    print_facts(
        {
            "deployment": info.id,
            "model": info.model,
            "service tag": info.service_tag,
            "stage": info.stage,
            "state": info.state,
            "runtime": info.context,
            "running jobs": str(info.running_jobs),
            "input": info.input,
            "output": info.output,
            "owner": info.owner,
            "created": when(info.created),
            "state since": when(info.updated),
        }
    )
    if info.reason:
        # On its own line: it is a sentence or two, with a command to type.
        console().print(info.reason, markup=False)
    return None
