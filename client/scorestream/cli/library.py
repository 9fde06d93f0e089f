"""`scorestream library ...`."""

from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    as_json,
    open_client,
    print_facts,
    print_json,
    print_table,
    when,
    wrong_usage,
)

if TYPE_CHECKING:
    from scorestream.client import Client
    from scorestream.libraries import Libraries
    from scorestream.library_records import LibraryInfo, LibrarySettings

app = typer.Typer(
    no_args_is_help=True, help="Libraries: named places that hold tables, or that tables are loaded from."
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The library's name.")]
SessionOption = Annotated[
    str, typer.Option("--session", help="Session that it is for; otherwise it is global, for admins.")
]
StoreOption = Annotated[
    str | None,
    typer.Option(help="Where its tables are mapped from: inherit, in_place_preferred or disk_cache."),
]
ChangeOption = Annotated[
    str | None,
    typer.Option(help="What becomes of jobs when a source changes: fail, or private_copy."),
]
CopiesOption = Annotated[int | None, typer.Option(help="Copies of cached blocks in other cache directories.")]
DescriptionOption = Annotated[str | None, typer.Option(help="For people.")]
EtagOption = Annotated[
    str, typer.Option(help="Only where the library still has this etag, as `library show` told it.")
]


@app.command("create")
def create_library(
    name: NameArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Directory on the server, below a data root.")],
    session: SessionOption = "",
    backing_store: StoreOption = None,
    on_source_change: ChangeOption = None,
    copies: CopiesOption = None,
    description: DescriptionOption = None,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Create a library: a directory that tables are loaded from, with what holds for them.

    Example: scorestream library create sales /srv/tables/sales --backing-store disk_cache
    """
    settings = _settings(backing_store, on_source_change, copies, description)
    with open_client(server) as client:
        _show(_libraries(client, session).create(name, path, **settings), output)


@app.command("list")
def list_libraries(
    session: Annotated[
        str, typer.Argument(metavar="[SESSION]", help="Name or id of a session; without one, global ones.")
    ] = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List a session's libraries (work holds its own tables) and the global ones, or the global ones alone.

    Example: scorestream library list ScoringJob_Seg1
    """
    with open_client(server) as client:
        found = _libraries(client, session).list()
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["library", "scope", "tables", "path", "backing store", "copies", "description"],
        [
            (
                one.name,
                "session" if one.transient else "global",
                one.tables,
                one.path,
                one.backing_store.value if one.path else "",
                "" if one.copies is None else one.copies,
                one.description,
            )
            for one in found
        ],
        "There is no library; make one with: scorestream library create NAME PATH",
    )


@app.command("show")
def show_library(
    name: NameArgument,
    session: SessionOption = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show what a library says.

    Example: scorestream library show sales
    """
    with open_client(server) as client:
        _show(_libraries(client, session).get(name), output)


@app.command("update")
def update_library(
    name: NameArgument,
    session: SessionOption = "",
    path: Annotated[str | None, typer.Option(help="Another directory.")] = None,
    backing_store: StoreOption = None,
    on_source_change: ChangeOption = None,
    copies: CopiesOption = None,
    description: DescriptionOption = None,
    etag: EtagOption = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Change a library; tables that were loaded from it keep what it said then.

    Example: scorestream library update sales --backing-store in_place_preferred
    """
    settings = _settings(backing_store, on_source_change, copies, description)
    if not settings and path is None:
        raise wrong_usage("Say what is to change, for example --backing-store disk_cache.")
    with open_client(server) as client:
        _show(_libraries(client, session).update(name, etag=etag, path=path, **settings), output)


@app.command("delete")
def delete_library(
    name: NameArgument,
    session: SessionOption = "",
    etag: EtagOption = "",
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Delete a library; tables that were loaded from it stay.

    Example: scorestream library delete sales
    """
    with open_client(server) as client:
        _libraries(client, session).delete(name, etag=etag)


def _libraries(client: "Client", session: str) -> "Libraries":
    return client.get_session(session).libraries if session else client.libraries


def _settings(
    backing_store: str | None, on_source_change: str | None, copies: int | None, description: str | None
) -> "LibrarySettings":
    """Return what was said."""
    said: LibrarySettings = {}
    if backing_store is not None:
        said["backing_store"] = backing_store
    if on_source_change is not None:
        said["on_source_change"] = on_source_change
    if copies is not None:
        said["copies"] = copies
    if description is not None:
        said["description"] = description
    return said


def _show(info: "LibraryInfo", output: Output) -> None:
    """Print one library."""
    if output is Output.JSON:
        return print_json(info)
    facts = as_json(info)
    return print_facts(
        {
            "library": info.name,
            "scope": f"session {info.session_id}" if info.session_id else "global",
            **{key: facts[key] for key in ("path", "backing_store", "on_source_change", "copies")},
            **{key: facts[key] for key in ("tables", "description", "owner", "etag")},
            "built in": "yes" if info.built_in else "no",
            "changed": when(info.updated),
        }
    )
