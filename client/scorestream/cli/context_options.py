"""The options by which `scorestream context` takes a context's attributes: one each, with the API's names."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from scorestream.cli.shell import wrong_usage

_Kind = type[str] | type[int] | type[float] | type[bool]
_ATTRIBUTES: dict[str, tuple[_Kind, str]] = {
    "description": (str, "For people."),
    "device": (str, "Of its workers: auto, cpu, cuda or cuda:N."),
    "session_inactive_timeout": (
        float,
        "Seconds that its sessions may be idle; negative: 15 minutes; 0: for ever.",
    ),
    "task_timeout": (float, "Seconds that a job of its sessions may run."),
    "queue_name": (str, "Queue of its sessions' jobs; wins over a session's own."),
    "job_name_prefix": (str, "What the titles of its workers begin with, such as nightly-."),
    "home_directory": (str, "Folder below a data root for its sessions' homes."),
    "run_server_as": (str, "System user of its workers, where the server may switch users."),
    "allow_xcmd": (str, "Only false: the server runs no shell commands."),
    "unsafe_job_characters": (str, "Kept, and not needed: values are never spliced into code."),
    "reuse_server_processes": (bool, "Its sessions share workers that are kept."),
    "server_inactive_timeout": (float, "Seconds without sessions until a worker ends; 0: never."),
    "server_reuse_limit": (int, "Sessions that a worker is given in its life; 0: any number."),
    "server_min_available": (int, "Workers that are kept ready."),
    "server_max_available": (int, "Workers at most; 0: any number."),
    "server_pool_scale_threshold": (int, "Per cent in use from which on more are started; 0: never."),
    "server_pool_scale_step": (int, "How many are started then."),
    "server_launch_timeout": (float, "Seconds that a worker may take until it is ready."),
}
_PAIRS = {
    "labels": ("label", "KEY=VALUE for people and programs; repeat it."),
    "options": ("option", "NAME=VALUE: an option of its sessions; repeat it."),
}
_LISTS = {
    "service_tags": ("service-tag", "Tag of a model service that it is to run, such as cc-fraud; repeat it."),
    "stage_tags": ("stage-tag", "Tag of an environment that it belongs to, such as PROD; repeat it."),
}


def with_attributes(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes an option for each attribute in the place of its ``**settings``."""
    added = (
        {
            name: Annotated[kind | None, typer.Option(help=text, show_default=False)]
            for name, (kind, text) in _ATTRIBUTES.items()
        }
        | {
            name: Annotated[list[str] | None, typer.Option(f"--{flag}", metavar="NAME=VALUE", help=text)]
            for name, (flag, text) in _PAIRS.items()
        }
        | {
            name: Annotated[list[str] | None, typer.Option(f"--{flag}", metavar="TAG", help=text)]
            for name, (flag, text) in _LISTS.items()
        }
    )

    @functools.wraps(command)
    def taking(**values: Any) -> None:
        asked = {name: values.pop(name) for name in added}
        settings = {name: value for name, value in asked.items() if value is not None and value != []}
        for name, (flag, _) in _PAIRS.items():
            if name in settings:
                settings[name] = dict(_pair(f"--{flag}", text) for text in settings[name])
        command(**values, **settings)

    signature = inspect.signature(command)
    own = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in added.items()
    ]
    taking.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]  # typer reads it
    kept = {name: hint for name, hint in command.__annotations__.items() if name != "settings"}
    taking.__annotations__ = kept | added
    return taking


def _pair(flag: str, text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise wrong_usage(f"{flag} {text}: write {flag} NAME=VALUE.")
    return name, value
