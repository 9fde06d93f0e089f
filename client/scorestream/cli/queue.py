"""`scorestream queue ...`."""

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

app = typer.Typer(no_args_is_help=True, help="Queues: where jobs wait for their share of the server.")


@app.command("list")
def list_queues(output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER) -> None:
    """List queues by name, with the jobs of everybody that run and wait in them.

    Example: scorestream queue list
    """
    with open_client(server) as client:
        found = client.contexts.queues()
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["queue", "weight", "running", "most running", "waiting", "most waiting"],
        [
            (
                info.name,
                info.weight,
                info.running_jobs,
                info.running_jobs_limit or "any",
                info.waiting_jobs,
                info.waiting_jobs_limit or "any",
            )
            for info in found
        ],
        "There is no queue",
    )
