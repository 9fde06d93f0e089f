"""The options by which every command that reaches a server shows who asks: added wherever `--server` is."""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer

from scorestream.access import TLS_CA, TLS_CERT, TLS_KEY, TOKEN


class Given(TypedDict):
    """What `scorestream.connect` takes; what is None comes from the environment."""

    token: str | None
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None


# There is no option for the token itself: a command line is shown to everybody on the machine.
_HELP = {
    "token_file": f"File with your token; otherwise {TOKEN} holds it.",
    "tls_ca": f"CA (PEM) of the server's certificate: connect by TLS. Otherwise {TLS_CA}.",
    "tls_cert": f"Your own certificate (PEM), where the server asks for one. Otherwise {TLS_CERT}.",
    "tls_key": f"Its key (PEM). Otherwise {TLS_KEY}.",
}
_FILES: ContextVar[dict[str, Path | None]] = ContextVar("files of this command line")


def with_access_options(app: typer.Typer) -> None:
    """Give these options to all commands that take ``--server``."""
    for command in app.registered_commands:
        if command.callback is not None and "server" in inspect.signature(command.callback).parameters:
            command.callback = _with_options(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            with_access_options(group.typer_instance)


def access_given() -> Given:
    """Return what this command line says about who asks.

    Raises:
        OSError: the file with the token cannot be read.
    """
    files = _FILES.get({})
    token = files.get("token_file")
    return Given(
        token=None if token is None else token.read_text("utf-8").strip(),
        tls_ca=files.get("tls_ca"),
        tls_cert=files.get("tls_cert"),
        tls_key=files.get("tls_key"),
    )


def _with_options(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that takes these options beside its own."""
    options = {
        name: Annotated[Path | None, typer.Option(help=text, metavar="FILE", show_default=False)]
        for name, text in _HELP.items()
    }

    @functools.wraps(callback)
    def command(**values: Any) -> Any:
        _FILES.set({name: values.pop(name) for name in options})
        return callback(**values)

    signature = inspect.signature(callback)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in options.items()
    ]
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]  # what inspect, and so typer, reads
        parameters=[*signature.parameters.values(), *added]
    )
    command.__annotations__ = {**callback.__annotations__, **options}
    return command
