"""`scorestream service ...`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    open_client,
    print_facts,
    print_json,
    print_table,
    when,
    wrong_usage,
)

if TYPE_CHECKING:
    from scorestream.services import Service

app = typer.Typer(
    no_args_is_help=True, help="Services: models that score one record at once, or batches of them."
)

ServiceArgument = Annotated[str, typer.Argument(metavar="SERVICE", help="Name of a registered model.")]
VersionOption = Annotated[str, typer.Option(help="Version of the service.", show_default="the newest")]
ContextOption = Annotated[
    str, typer.Option(help="Context whose workers score.", show_default="the server's own workers")
]


@app.command("list")
def list_services(
    prefix: Annotated[str, typer.Option(help="Only services whose name begins with this.")] = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List services and their versions.

    Example: scorestream service list --prefix Lin
    """
    with open_client(server) as client:
        found = [_told(service) for service in client.list_services(prefix)]
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["service", "version", "inputs", "outputs", "description"],
        [
            (
                service["name"],
                service["version"],
                len(service["inputs"]),
                ", ".join(service["outputs"]),
                service["description"],
            )
            for service in found
        ],
        "There is no service; register a model with: scorestream model add FILE",
    )


@app.command("show")
def show_service(
    service: ServiceArgument,
    version: VersionOption = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show what a service reads and gives.

    Example: scorestream service show LinModService --version 1
    """
    with open_client(server) as client:
        found = client.get_service(service, version or None)
    told = _told(found)
    if output is Output.JSON:
        return print_json(told)
    return print_facts(
        {
            **told,
            "version": str(found.version),
            "inputs": ", ".join(told["inputs"]) or f"{len(found.inputs)} columns, by position",
            "outputs": ", ".join(f"{name} ({kind})" for name, kind in told["outputs"].items()),
            "registered": when(found.info.created),
        }
    )


@app.command("consume")
def consume_service(
    service: ServiceArgument,
    values: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE", help="A value of the record; null is one that is not known."),
    ],
    version: VersionOption = "",
    context: ContextOption = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Score one record; exit code 1 if it cannot be scored.

    Example: scorestream service consume LinModService hp=110 wt=2.62
    """
    record = dict(_value(text) for text in values)
    with open_client(server) as client:
        found = client.get_service(service, version or None, context=context).consume(record)
    if output is Output.JSON:
        print_json(found)
    else:
        print_facts({**found.outputs, "error": found.error})
    if not found.success:
        raise typer.Exit(1)


def _value(text: str) -> tuple[str, Any]:
    """Return the name and the value of ``NAME=VALUE``: a number, true, false, null, or a text."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise wrong_usage(f"{text!r} is no value; write NAME=VALUE, for example hp=110.")
    try:
        found = json.loads(value)
    except ValueError:
        return name, value
    return name, value if isinstance(found, list | dict) else found


def _told(service: "Service") -> dict[str, Any]:
    """Return what is shown of a service."""
    return {
        "name": service.name,
        "version": service.version,
        "description": service.info.description,
        "inputs": [feature.name for feature in service.inputs if feature.name],
        "outputs": {output.name: output.type for output in service.outputs},
        "owner": service.info.owner,
    }
