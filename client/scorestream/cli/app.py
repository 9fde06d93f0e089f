"""The commands, put together."""

import sys
from typing import Annotated

import typer

from scorestream.cli import (
    batch,
    cache,
    context,
    context_tag,
    data,
    deployed_job,
    deployment,
    device,
    engine,
    file,
    fileref,
    incident,
    job,
    library,
    mlc,
    model,
    option,
    papers,
    queue,
    row,
    schedule,
    score,
    serve,
    service,
    session,
    table,
    table_actions,
    token,
    trace,
    variable,
)
from scorestream.cli.access import with_access_options
from scorestream.cli.shell import FAILED, exit_code, say
from scorestream.errors import ScorestreamError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Score tables with models, on CPUs and GPUs: one file at once, or many jobs on a server.",
)
app.command("score")(score.score)
app.command("serve")(serve.serve)
app.command("backup")(serve.backup)
app.add_typer(session.app, name="session")
app.add_typer(job.app, name="job")
app.add_typer(model.app, name="model")
app.add_typer(table.app, name="table")
app.add_typer(device.app, name="device")
app.add_typer(token.app, name="token")
app.add_typer(context.app, name="context")
app.add_typer(queue.app, name="queue")
app.add_typer(file.app, name="file")
app.add_typer(fileref.app, name="fileref")
app.add_typer(library.app, name="library")
app.add_typer(variable.app, name="variable")
app.add_typer(option.app, name="option")
app.add_typer(engine.app, name="engine")
app.add_typer(cache.app, name="cache")
app.add_typer(service.app, name="service")
app.add_typer(batch.app, name="batch")
app.add_typer(mlc.app, name="mlc")
app.add_typer(incident.app, name="incident")
app.add_typer(schedule.app, name="schedule")
app.add_typer(deployment.app, name="deployment")
app.command("trace")(trace.trace)
context.app.add_typer(context_tag.app, name="tag")
job.app.add_typer(deployed_job.app, name="create")

papers.add_commands(job.app, session.app)
data.add_commands(table.app)
table_actions.add_commands(table.app)
row.add_commands(job.app)
with_access_options(app)


def _version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - a tenth of the start-up, for this flag alone

        typer.echo(f"scorestream {version('scorestream')}")
        raise typer.Exit


@app.callback()
def common(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that belong to no command."""


def run() -> None:
    """Run the command line; errors become one sentence on standard error and an exit code.

    Exit codes: 0 done; 1 a job failed, or a server did; 2 wrong usage, or a request that was refused for
    what it asks; 130 interrupted.
    """
    try:
        app()
    except ScorestreamError as error:
        say(f"Error: {error}")
        sys.exit(exit_code(error))
    except BrokenPipeError:
        # The reader of our output has seen enough.
        sys.stderr.close()
        sys.exit(FAILED)
    except OSError as error:
        say(f"Error: {error}")
        sys.exit(FAILED)
