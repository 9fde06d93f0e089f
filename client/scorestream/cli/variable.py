"""`scorestream variable ...`."""

import re
from datetime import date
from typing import Annotated, Any

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
    wrong_usage,
)

app = typer.Typer(
    no_args_is_help=True, help="Variables of a session: what :name stands for in filters and score code."
)

InSession = Annotated[str, typer.Option("--session", metavar="SESSION", help="Name or id of the session.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the variable, without the colon.")]
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


@app.command("set", context_settings={"ignore_unknown_options": True})  # -1 is a value
def set_variable(
    name: NameArgument,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value.")],
    session: InSession,
    kind: Annotated[
        str,
        typer.Option(
            "--type",
            help="double, int, string, boolean, date or timestamp.",
            show_default="what the value looks like",
        ),
    ] = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Set a variable of a session. Jobs that there are keep the value that they were created with.

    Example: scorestream variable set cutoff 0.5 --session ScoringJob_Seg1
    """
    typed = typed_value(value, kind)
    with open_client(server) as client:
        kept = client.get_session(session).variables.set(name, typed, kind or None)
    _show(name, kept, output)


@app.command("get")
def get_variable(
    name: NameArgument,
    session: InSession,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show a variable of a session.

    Example: scorestream variable get cutoff --session ScoringJob_Seg1
    """
    with open_client(server) as client:
        _show(name, client.get_session(session).variables.fetch(name), output)


@app.command("list")
def list_variables(
    session: InSession, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """List the variables of a session, by name.

    Example: scorestream variable list --session ScoringJob_Seg1
    """
    with open_client(server) as client:
        found = client.get_session(session).variables.all()
    if output is Output.JSON:
        return print_json([_record(name, value) for name, value in found.items()])
    return print_table(
        ["variable", "type", "value"],
        [(name, type_of(value), _text(value)) for name, value in found.items()],
        "The session has no variable; set one with: scorestream variable set NAME VALUE --session SESSION",
    )


@app.command("delete")
def delete_variable(name: NameArgument, session: InSession, server: ServerOption = DEFAULT_SERVER) -> None:
    """Delete a variable of a session.

    Example: scorestream variable delete cutoff --session ScoringJob_Seg1
    """
    with open_client(server) as client:
        client.get_session(session).variables.delete(name)


def variables_of(texts: list[str]) -> dict[str, Any]:
    """Return the variables that options such as ``cutoff=0.5`` give."""
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise wrong_usage(f"{text!r} gives no variable; write NAME=VALUE.")
        found[name.strip()] = typed_value(value)
    return found


def typed_value(text: str, kind: str = "") -> Any:
    """Return what a word on the command line means, by its type or else by what it looks like."""
    try:
        if kind == "double":
            return float(text)
        if kind == "int":
            return int(text)
    except ValueError:
        raise wrong_usage(f"{text!r} is no {kind}.") from None
    if kind == "boolean":
        if text.lower() not in _BOOLEANS:
            raise wrong_usage(f"{text!r} is no boolean; write true or false.")
        return _BOOLEANS[text.lower()]
    return text if kind else _guessed(text)


def _guessed(text: str) -> Any:
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if _WHOLE.fullmatch(text):
        return int(text)
    for read in (float, _date):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _date(text: str) -> date:
    if len(text) != 10:
        raise ValueError(text)
    return date.fromisoformat(text)


def type_of(value: Any) -> str:
    """Return the name of a value's type."""
    from scorestream.settings import type_of_value  # noqa: PLC0415 - keeps --help quick

    return type_of_value(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _record(name: str, value: Any) -> dict[str, Any]:
    plain = value if isinstance(value, bool | int | float | str) else str(value)
    return {"name": name, "type": type_of(value), "value": plain}


def _show(name: str, value: Any, output: Output) -> None:
    """Print one variable."""
    if output is Output.JSON:
        print_json(_record(name, value))
    else:
        print_facts({"variable": name, "type": type_of(value), "value": _text(value)})
