"""`scorestream context ...`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorestream.cli.context_options import with_attributes
from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    as_json,
    console,
    open_client,
    print_facts,
    print_json,
    print_table,
    when,
    wrong_usage,
)

if TYPE_CHECKING:
    from scorestream.context_records import ContextInfo
    from scorestream.context_workers import ContextWorkers

app = typer.Typer(no_args_is_help=True, help="Contexts: named settings from which sessions are made.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The context's name.")]
EtagOption = Annotated[
    str, typer.Option(help="Only where the context still has this etag, as `context show` told it.")
]


@app.command("create")
@with_attributes
def create_context(
    name: NameArgument,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
    **settings: Any,
) -> None:
    """Create a context. For admins.

    Example: scorestream context create nightly --session-inactive-timeout 3600 --queue-name batch
    """
    with open_client(server) as client:
        _show(client.contexts.create(name, **settings), output)


@app.command("show")
def show_context(
    name: NameArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Show what a context says, and its workers as they are now.

    Example: scorestream context show nightly
    """
    with open_client(server) as client:
        info, found = client.contexts.get(name), client.contexts.workers(name)
    if output is Output.JSON:
        return print_json(as_json(info) | as_json(found))
    _show(info, output)
    return _show_workers(found)


@app.command("list")
def list_contexts(output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER) -> None:
    """List contexts by name, built-in ones too.

    Example: scorestream context list
    """
    with open_client(server) as client:
        found = client.contexts.list()
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["context", "device", "queue", "tags", "shared workers", "built in", "changed", "description"],
        [
            (
                info.name,
                info.device,
                info.queue_name,
                ", ".join((*info.service_tags, *info.stage_tags)),
                "yes" if info.reuse_server_processes else "no",
                "yes" if info.built_in else "no",
                when(info.updated),
                info.description,
            )
            for info in found
        ],
        "There is no context",
    )


@app.command("update")
@with_attributes
def update_context(
    name: NameArgument,
    reset: Annotated[
        list[str] | None, typer.Option(metavar="ATTRIBUTE", help="Give it its default again; repeat it.")
    ] = None,
    etag: EtagOption = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
    **settings: Any,
) -> None:
    """Change attributes of a context; the others stay. For admins.

    Example: scorestream context update nightly --task-timeout 7200 --reset queue_name
    """
    anew = {attribute.replace("-", "_"): None for attribute in reset or []}
    if both := anew.keys() & settings.keys():
        raise wrong_usage(f"{' and '.join(sorted(both))}: give a value or --reset, not both.")
    if not anew and not settings:
        raise wrong_usage("Say what is to change, for example --task-timeout 7200.")
    with open_client(server) as client:
        _show(client.contexts.update(name, etag=etag, **settings, **anew), output)


@app.command("delete")
def delete_context(name: NameArgument, etag: EtagOption = "", server: ServerOption = DEFAULT_SERVER) -> None:
    """Delete a context that no open session was made from. For admins.

    Example: scorestream context delete nightly
    """
    with open_client(server) as client:
        client.contexts.delete(name, etag=etag)


def _show_workers(found: "ContextWorkers") -> None:
    """Print the workers of a context."""
    print_table(
        ["worker", "device", "lanes", "state", "for", "sessions", "so far"],
        [
            (
                str(worker.pid or ""),
                worker.device,
                worker.lanes,
                worker.state.lower().replace("_", " "),
                "" if worker.state_seconds is None else f"{worker.state_seconds:,.1f} s",
                worker.sessions,
                worker.sessions_given or "",
            )
            for worker in found.workers
        ],
        "It has no workers now",
    )
    if found.waiting_sessions:
        console().print(f"Sessions that wait for a worker: {found.waiting_sessions:,}")
    if found.message:
        console().print(found.message, markup=False)


def _show(info: "ContextInfo", output: Output) -> None:
    """Print one context."""
    if output is Output.JSON:
        return print_json(info)
    facts = as_json(info) | {"created": when(info.created), "updated": when(info.updated)}
    facts["context"] = facts.pop("name")
    for tags in ("service_tags", "stage_tags"):
        facts[tags] = ", ".join(facts[tags])
    for pairs in ("labels", "options"):
        facts[pairs] = ", ".join(f"{key}={value}" for key, value in facts[pairs].items())
    return print_facts({"context": facts.pop("context")} | {key: _plain(said) for key, said in facts.items()})


def _plain(said: Any) -> Any:
    """Return what a person reads; all fractions here are seconds."""
    if isinstance(said, bool):
        return "yes" if said else "no"
    return f"{said:,g} s" if isinstance(said, float) else said
