"""`scorestream table show|promote|copy|update`."""

from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    SessionArgument,
    as_json,
    open_client,
    print_facts,
    print_json,
    when,
    wrong_usage,
)
from scorestream.cli.table import (
    GlobalOption,
    LabelOption,
    LifetimeOption,
    TableArgument,
    TableWords,
    own_table,
    show_table,
)

if TYPE_CHECKING:
    from scorestream.library_records import TableDescription

ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace a table of that name.")]


def add_commands(table_app: typer.Typer) -> None:
    """Add the commands of this module to those of tables."""
    table_app.command("show")(describe_table)
    table_app.command("promote")(promote_table)
    table_app.command("copy")(copy_table)
    table_app.command("update")(update_table)


def describe_table(
    words: TableWords,
    is_global: GlobalOption = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show all that the server knows of a table: where its bytes are and who said so, who shares and who reads them.

    Example: scorestream table show ScoringJob_Seg1 customers
    Example: scorestream table show --global customers
    """
    if len(words) != (1 if is_global else 2):
        raise wrong_usage("Name a session and a table, or a global table with --global.")
    with open_client(server) as client:
        table = client.table(words[0]) if is_global else client.get_session(words[0]).table(words[1])
        found = table.describe()
    if output is Output.JSON:
        told = as_json(found)
        return print_json(told.pop("info") | told)
    return _show(found)


def promote_table(
    session: SessionArgument,
    table: TableArgument,
    replace: ReplaceOption = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Make a session's table a global one, which all may read and which stays when the session ends.

    Example: scorestream table promote ScoringJob_Seg1 customers
    """
    with open_client(server) as client:
        found = own_table(client, [session, table], is_global=False)
        show_table(found.promote(replace=replace), output)


def copy_table(
    session: SessionArgument,
    table: TableArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The copy's name.")] = "",
    to: Annotated[str, typer.Option(help="Session that gets the copy; otherwise the same.")] = "",
    replace: ReplaceOption = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Give a table another name, or one in another session of yours; its bytes are shared, not copied.

    Example: scorestream table copy ScoringJob_Seg1 customers --to ScoringJob_Seg2
    """
    with open_client(server) as client:
        found = client.get_session(session)
        target = client.get_session(to) if to else found
        show_table(found.table(table).copy(name, session=target.id, replace=replace), output)


def update_table(
    words: TableWords,
    label: LabelOption = None,
    lifetime: LifetimeOption = None,
    etag: Annotated[
        str, typer.Option(help="Only where it still has this etag, as `table show` told it.")
    ] = "",
    is_global: GlobalOption = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Change a table's label and lifetime.

    Example: scorestream table update ScoringJob_Seg1 customers --label "May, final" --lifetime 86400
    """
    if label is None and lifetime is None:
        raise wrong_usage("Say what is to change: --label or --lifetime.")
    with open_client(server) as client:
        found = own_table(client, words, is_global=is_global)
        show_table(found.update(label=label, lifetime=lifetime, etag=etag), output)


def _show(found: "TableDescription") -> None:
    """Print all that is known of a table."""
    info = found.info
    print_facts(
        {
            "table": info.name,
            "scope": f"session {info.session_id}" if info.session_id else "global",
            "owner": info.owner,
            "label": info.label,
            "rows": f"{info.rows:,}",
            "format": info.format,
            "bytes": f"{info.size_bytes:,}",
            "backing store": info.backing_store.lower(),
            "asked for": f"{found.asked.value}, by {found.origin}",
            "note": " ".join(info.notes),
            "library": found.library,
            "columns": ", ".join(found.columns),
            "where": found.where,
            "on source change": found.on_source_change.value,
            "copies": "" if found.copies is None else str(found.copies),
            "from": ", ".join(info.source_paths),
            "files": f"{found.source_count:,}" if found.source_count else "",
            "tables that share them": str(found.sharing) if found.sharing else "",
            "readers": str(found.readers),
            "hides a global table": "yes" if found.hides_global else "",
            "made": when(info.created),
            "last access": when(info.last_access),
            "lifetime": f"{info.lifetime:,g} s" if info.lifetime else "",
            "etag": info.etag,
        }
    )
