"""`scorestream model ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.row import ArtifactOption, artifacts_of
from scorestream.cli.shell import (
    DEFAULT_SERVER,
    Output,
    OutputOption,
    ServerOption,
    existing,
    open_client,
    print_facts,
    print_json,
    print_table,
    when,
    wrong_usage,
)

if TYPE_CHECKING:
    from scorestream.model import Model

app = typer.Typer(no_args_is_help=True, help="Models: registered scorers and their versions.")

_ENDINGS = {".sql": "sql", ".ds2": "ds2", ".sas": "ds2"}
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Name (its newest version), or name@version.")
]


@app.command("register")
@app.command("add")
def add_model(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="Model file on this machine; with --session, in that session's home."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What to call it; otherwise after the file.")] = "",
    source: Annotated[str, typer.Option(help='Score code instead of a file: "a * 0.5 + b AS score".')] = "",
    session: Annotated[
        str, typer.Option("-s", "--session", help="Name or id of the session whose home has FILE.")
    ] = "",
    source_file: Annotated[
        Path | None, typer.Option(help="File with score code, in SQL or DS2 whatever its ending.")
    ] = None,
    language: Annotated[
        str, typer.Option(help="Language of score code: sql or ds2.", show_default="what it begins as")
    ] = "",
    artifact: ArtifactOption = None,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Register a model. The same content, with the same artifacts, under the same name keeps its version.

    Example: scorestream model add credit_model.ubj --name credit

    Example: scorestream model register --source-file dummy_scorer.ds2

    With a file a row: scorestream model register --source-file letters.sql --artifact letter.txt=letter
    """
    artifacts = artifacts_of(artifact)
    if sum([path is not None, bool(source), source_file is not None]) != 1:
        raise wrong_usage("Give a model file, --source or --source-file.")
    if source and not name:
        raise wrong_usage("Score code needs a --name.")
    if session:
        if path is None:
            raise wrong_usage("--session needs a file in the session's home.")
        with open_client(server) as client:
            files = client.get_session(session).files
            return _show(files.register_model(str(path), name or None, artifacts=artifacts), output)
    for file in (path, source_file):
        if file is not None and existing(file).is_dir():
            raise wrong_usage(f"{file} is a directory; a model is one file.")
    if language and path is not None:
        raise wrong_usage("--language is for score code; give it with --source or --source-file.")
    if source_file is not None:
        from scorestream.wire import model_id_of  # noqa: PLC0415 - keeps --help quick

        source, name = _text_of(source_file), name or model_id_of(source_file.name)
        language = language or _ENDINGS.get(source_file.suffix.lower(), "")
    with open_client(server) as client:
        made = client.register_model(
            name or None, path=path, source=source or None, language=language or None, artifacts=artifacts
        )
    return _show(made, output)


@app.command("list")
def list_models(
    prefix: Annotated[str, typer.Option(help="Only models whose name begins with this.")] = "",
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List models and their versions.

    Example: scorestream model list --prefix credit
    """
    with open_client(server) as client:
        found = [model.info for model in client.models(prefix)]
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["model", "version", "description", "features", "kind", "registered", "owner"],
        [
            (
                info.name,
                info.version,
                info.description,
                len(info.features),
                info.kind,
                when(info.created),
                info.owner,
            )
            for info in found
        ],
        "There is no model; register one with: scorestream model add FILE"
        if not prefix
        else f"There is no model whose name begins with {prefix}",
    )


@app.command("show")
def show_model(
    model: ModelArgument, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Show a model with its inputs and outputs.

    Example: scorestream model show credit@2
    """
    with open_client(server) as client:
        _show(client.get_model(model), output)


@app.command("remove")
def remove_model(model: ModelArgument, server: ServerOption = DEFAULT_SERVER) -> None:
    """Remove one version (name@version), or all versions (name).

    Example: scorestream model remove credit@1
    """
    with open_client(server) as client:
        versions = [client.get_model(model)]
        if "@" not in model:
            versions = [found for found in client.models(model) if found.name == model]
        for version in versions:
            version.remove()


def _text_of(file: Path) -> str:
    """Return the text in a file."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise wrong_usage(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None


def _show(model: "Model", output: Output) -> None:
    """Print one model."""
    from scorestream.progress import bytes_text  # noqa: PLC0415 - keeps --help quick

    info = model.info
    if output is Output.JSON:
        return print_json(info)
    return print_facts(
        {
            "model": model.id,
            "kind": info.kind,
            "description": info.description,
            "features": ", ".join(f.name for f in info.features if f.name)
            or f"{len(info.features)}, by position",
            "outputs": ", ".join(f"{column.name} ({column.type})" for column in info.outputs),
            "artifacts": ", ".join(f"{file} ({output})" for file, output in info.artifacts.items()),
            "size": bytes_text(info.size_bytes),
            "digest": info.digest,
            "owner": info.owner,
            "registered": when(info.created),
        }
    )
