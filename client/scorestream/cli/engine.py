"""`scorestream engine ...`."""

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    open_client,
    print_json,
    print_table,
)

app = typer.Typer(no_args_is_help=True, help="Engines: what the server can compute with, read and write.")


@app.command("list")
def list_engines(output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER) -> None:
    """List devices, file formats and kinds of models, with the server's libraries and limits.

    Example: scorestream engine list
    """
    from scorestream.fitting import Column  # noqa: PLC0415 - keeps --help quick

    with open_client(server) as client:
        found = client.engines()
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        [
            "engine",
            Column("kind", 1),
            Column("description", 2),
            Column("reads", 3),
            Column("writes", 4),
            Column("library", 5),
            Column("limits", 6),
        ],
        [
            (
                engine.name,
                engine.kind,
                engine.description,
                " ".join(engine.reads),
                " ".join(ending or "(directory)" for ending in engine.writes),
                f"{engine.library} {engine.library_version}".strip(),
                ", ".join(f"{name} {most:,}" for name, most in engine.limits.items()),
            )
            for engine in found
        ],
        "The server tells of no engine.",
    )
