"""`scorestream option ...`."""

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
    print_table,
)
from scorestream.cli.variable import InSession

if TYPE_CHECKING:
    from scorestream.settings import Option

app = typer.Typer(
    no_args_is_help=True, help="Options of a session: what its jobs take where they do not say it themselves."
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the option, for example timeout.")]


@app.command("list")
def list_options(
    session: InSession, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """List all options, with the values that count in a session and who set them.

    Example: scorestream option list --session ScoringJob_Seg1
    """
    with open_client(server) as client:
        found = client.get_session(session).options.list()
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["option", "value", "origin", "range", "default", "description"],
        [
            (
                option.name,
                str(option.value),
                option.origin,
                option.range,
                str(option.default),
                option.description,
            )
            for option in found
        ],
        "There is no option.",
    )


@app.command("get")
def get_option(
    name: NameArgument,
    session: InSession,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show one option of a session.

    Example: scorestream option get timeout --session ScoringJob_Seg1
    """
    with open_client(server) as client:
        _show(client.get_session(session).options.info(name), output)


@app.command("set")
def set_option(
    name: NameArgument,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="Its value; option list shows what there may be.")
    ],
    session: InSession,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Set an option of a session. Jobs that there are do not change.

    Example: scorestream option set timeout 600 --session ScoringJob_Seg1
    """
    with open_client(server) as client:
        options = client.get_session(session).options
        options.set(name, value)
        _show(options.info(name), output)


@app.command("reset")
def reset_option(
    name: NameArgument,
    session: InSession,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Have a session set an option no more: its context's value counts again, or the server's.

    Example: scorestream option reset timeout --session ScoringJob_Seg1
    """
    with open_client(server) as client:
        _show(client.get_session(session).options.reset(name), output)


def _show(option: "Option", output: Output) -> None:
    """Print one option."""
    if output is Output.JSON:
        return print_json(option)
    return print_facts(
        {
            "option": option.name,
            "value": str(option.value),
            "origin": option.origin,
            "range": option.range,
            "default": str(option.default),
            "description": option.description,
        }
    )
