"""`scorestream cache ...`."""

from typing import Annotated

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    open_client,
    print_json,
    print_table,
    say,
    when,
)

app = typer.Typer(no_args_is_help=True, help="The disk cache: tables that the server converted, or was sent.")


@app.command("info")
def cache_info(output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER) -> None:
    """Show what is in the cache: directories, tables, and what each session takes.

    An admin sees everybody's tables, others their own.

    Example: scorestream cache info
    """
    from scorestream.fitting import Column  # noqa: PLC0415 - keeps --help quick
    from scorestream.progress import bytes_text  # noqa: PLC0415 - keeps --help quick

    with open_client(server) as client:
        found = client.cache.info()
    if output is Output.JSON:
        return print_json(found)
    print_table(
        [
            "directory",
            Column("used", 1, right=True),
            Column("free", 2, right=True),
            Column("of", 3, right=True),
        ],
        [
            (one.path or "-", bytes_text(one.used), bytes_text(one.free), bytes_text(one.total))
            if one.available
            else (one.path or "-", "gone", "-", "-")
            for one in found.directories
        ],
        "The server has no cache directory.",
    )
    print_table(
        [
            "table",
            "session",
            "owner",
            Column("size", 1, right=True),
            "state",
            "copies",
            "reloadable",
            "in use",
            "last used",
        ],
        [
            (
                one.name or "(dropped)",
                one.session or "(global)",
                one.owner,
                bytes_text(one.bytes),
                one.state.lower(),
                one.copies,
                "yes" if one.reloadable else "no",
                "yes" if one.in_use else "no",
                when(one.last_used),
            )
            for one in found.tables
        ],
        "No table is in the cache.",
    )
    if found.sessions:
        print_table(
            ["session", "owner", Column("size", 1, right=True)],
            [(one.session or "(global)", one.owner, bytes_text(one.bytes)) for one in found.sessions],
            "",
        )
    return say(
        f"Tables take {bytes_text(found.used)} of {bytes_text(found.most)}; yours {bytes_text(found.own)} of "
        f"{bytes_text(found.most_own)}."
    )


@app.command("evict")
def evict(
    session: Annotated[str, typer.Argument(metavar="[SESSION]", help="Name or id of a session.")] = "",
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE]...", help="Tables of that session.")
    ] = None,
    all_idle: Annotated[
        bool, typer.Option("--all-idle", help="All tables that nobody uses and that can be loaded again.")
    ] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Remove the rows of tables from the cache; they are loaded again when the tables are used.

    Example: scorestream cache evict ScoringJob_Seg1 customers
    """
    from scorestream.errors import InvalidArgumentError  # noqa: PLC0415 - keeps --help quick
    from scorestream.progress import bytes_text  # noqa: PLC0415 - keeps --help quick

    if bool(session and tables) == all_idle or bool(session) != bool(tables):
        raise InvalidArgumentError(
            "Give a session and tables of it, or --all-idle.", reason="INVALID_EVICTION"
        )
    with open_client(server) as client:
        if all_idle:
            done = client.cache.evict(all_idle=True)
        else:
            found = client.get_session(session)
            done = client.cache.evict([found.table(name) for name in tables or ()])
    if output is Output.JSON:
        return print_json(done)
    for name in done.tables:
        print(name)  # noqa: T201 - the command's answer
    return say(f"{len(done.tables):,} evicted, {bytes_text(done.bytes)} freed.")
