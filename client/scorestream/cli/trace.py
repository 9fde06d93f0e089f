"""`scorestream trace`."""

from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    console,
    open_client,
    print_json,
    say,
)

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from scorestream.deployment_records import TraceNode

_COLOURS = {
    "SUCCEEDED": "green",
    "COMPLETED": "green",
    "DEPLOYED": "green",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "CANCELLED": "yellow",
    "RUNNING": "cyan",
}


def trace(
    id: Annotated[  # noqa: A002 - it is the argument's name
        str, typer.Argument(metavar="ID", help="Of a process, a deployment, a session or a job.")
    ],
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show what led to something and what came of it: signal, process, deployment, runtime, session, job, output.

    Example: scorestream trace 1f0c5a52-8b1f-4ad5-9a3c-0d8f8a4b6f11
    """
    with open_client(server) as client:
        found = client.trace(id)
    if output is Output.JSON:
        return print_json(found)
    from rich.tree import Tree  # noqa: PLC0415 - keeps --help quick

    for root in found.roots:
        tree = Tree(_label(root, id))
        _grow(tree, root, id)
        console().print(tree)
    if found.more:
        say("These are the 100 newest jobs; there are more.")
    return None


def _grow(tree: "Tree", node: "TraceNode", wanted: str) -> None:
    for child in node.children:
        _grow(tree.add(_label(child, wanted)), child, wanted)


def _label(node: "TraceNode", wanted: str) -> "Text":
    """Return a line: what it is, its name and id, its state, and what else there is to know."""
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    # What was asked for stands out among the rest.
    line = Text.assemble((node.kind, "dim"), " ", (node.name or node.id, "bold" if node.id == wanted else ""))
    if node.name:
        line.append(f" {node.id}", "dim")
    if node.state:
        line.append(f" {node.state}", _COLOURS.get(node.state, ""))
    if node.detail:
        line.append(f" ({node.detail})")
    return line
