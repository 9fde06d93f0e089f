"""`scorestream context tag ...`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    open_client,
    print_facts,
    print_json,
    wrong_usage,
)

if TYPE_CHECKING:
    from scorestream.context_records import ContextInfo

app = typer.Typer(no_args_is_help=True, help="Tags of contexts, by which deployments find their runtimes.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The context's name.")]
ServiceOption = Annotated[
    list[str] | None, typer.Option(metavar="TAG", help="Model service tag, such as cc-fraud; repeat it.")
]
StageOption = Annotated[
    list[str] | None, typer.Option(metavar="TAG", help="Environment or stage, such as PROD; repeat it.")
]


@app.command("add")
def add_tags(
    name: NameArgument,
    service: ServiceOption = None,
    stage: StageOption = None,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Add tags to a context, a built-in one too; nothing has to be stopped. For admins.

    Example: scorestream context tag add nightly --service cc-fraud --stage DEV --stage PROD
    """
    _require_some(service, stage)
    with open_client(server) as client:
        _show(client.contexts.tag(name, service=service or (), stage=stage or ()), output)


@app.command("remove")
def remove_tags(
    name: NameArgument,
    service: ServiceOption = None,
    stage: StageOption = None,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Remove tags from a context; jobs that run go on, and new ones are matched by the tags that are left. For admins.

    Example: scorestream context tag remove nightly --stage DEV
    """
    _require_some(service, stage)
    with open_client(server) as client:
        _show(client.contexts.untag(name, service=service or (), stage=stage or ()), output)


def _require_some(service: Sequence[str] | None, stage: Sequence[str] | None) -> None:
    if not service and not stage:
        raise wrong_usage("Say which tags, for example --service cc-fraud --stage PROD.")


def _show(info: "ContextInfo", output: Output) -> None:
    """Print the tags of a context."""
    if output is Output.JSON:
        return print_json(info)
    return print_facts(
        {
            "context": info.name,
            "service tags": ", ".join(info.service_tags) or "none",
            "stages": ", ".join(info.stage_tags) or "none",
        }
    )
