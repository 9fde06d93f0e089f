"""`scorestream model ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorestream.cli.facts import labels_of, labels_text
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
    say,
    when,
    wrong_usage,
)

if TYPE_CHECKING:
    from scorestream.model import Model

app = typer.Typer(no_args_is_help=True, help="Models: registered scorers and their versions.")
aliases = typer.Typer(no_args_is_help=True, help="Aliases: names that point to one version of a model.")
app.add_typer(aliases, name="alias")

_ENDINGS = {".sql": "sql", ".ds2": "ds2", ".sas": "ds2"}
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Name (its newest version), name/version, or name@alias.")
]
CommentOption = Annotated[str | None, typer.Option(help="A line about it.")]
LabelOption = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="A label; may be repeated.")
]


@app.command("register")
@app.command("add")
def add_model(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Model file on this machine, or the directory of an MLflow model; with --session, in that session's "
            "home, or with a slash first on the server.",
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
    comment: CommentOption = None,
    label: LabelOption = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="How it came to be, for example auc=0.81; stays. May be repeated."
        ),
    ] = None,
    artifact: ArtifactOption = None,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Register a model. The same content, with the same artifacts, under the same name keeps its version.

    Example: scorestream model add credit_model.ubj --name credit

    Example: scorestream model register --source-file dummy_scorer.ds2

    Example: scorestream model register mlruns/1/models/m-5f/artifacts --name credit --metadata auc=0.81

    With a file a row: scorestream model register --source-file letters.sql --artifact letter.txt=letter
    """
    said: dict[str, Any] = {
        "comment": comment or "",
        "labels": labels_of(label or []),
        "metadata": labels_of(metadata or []),
        "artifacts": artifacts_of(artifact),
    }
    if sum([path is not None, bool(source), source_file is not None]) != 1:
        raise wrong_usage("Give a model file, --source or --source-file.")
    if source and not name:
        raise wrong_usage("Score code needs a --name.")
    if session:
        if path is None:
            raise wrong_usage("--session needs a file in the session's home.")
        with open_client(server) as client:
            files = client.get_session(session).files
            return _show(files.register_model(str(path), name or None, **said), output)
    if path is not None:
        existing(path)
    if source_file is not None and existing(source_file).is_dir():
        raise wrong_usage(f"{source_file} is a directory; score code is one file.")
    if language and path is not None:
        raise wrong_usage("--language is for score code; give it with --source or --source-file.")
    if source_file is not None:
        from scorestream.wire import model_id_of  # noqa: PLC0415 - keeps --help quick

        source, name = _text_of(source_file), name or model_id_of(source_file.name)
        language = language or _ENDINGS.get(source_file.suffix.lower(), "")
    with open_client(server) as client:
        made = client.register_model(
            name or None, path, source=source or None, language=language or None, **said
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
        ["model", "version", "aliases", "description", "features", "kind", "registered", "owner"],
        [
            (
                info.name,
                info.version,
                ", ".join(info.aliases),
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

    Example: scorestream model show credit@champion
    """
    with open_client(server) as client:
        _show(client.get_model(model), output)


@app.command("remove")
def remove_model(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name/version, or a name for all of its versions.")
    ],
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Remove one version (name/version), or all versions (name). One that is in use, or has an alias, stays.

    Example: scorestream model remove credit/1
    """
    with open_client(server) as client:
        client.remove_model(model)


@app.command("update")
def update_model(
    model: ModelArgument,
    comment: CommentOption = None,
    label: LabelOption = None,
    no_labels: Annotated[bool, typer.Option("--no-labels", help="Take all labels away.")] = False,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Change what is said of a version: its comment, and its labels, which the given ones take the place of.

    Example: scorestream model update credit/2 --comment "retrained in May" --label stage=review
    """
    if comment is None and not label and not no_labels:
        raise wrong_usage("Say what is to change: --comment, --label or --no-labels.")
    if label and no_labels:
        raise wrong_usage("Give --label or --no-labels, not both.")
    labels = labels_of(label or []) if label or no_labels else None
    with open_client(server) as client:
        _show(client.get_model(model).update(comment=comment, labels=labels), output)


@app.command("compare")
def compare_models(
    first: ModelArgument,
    second: ModelArgument,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show in what two versions differ: content, inputs, outputs, training, and what is said of them.

    Example: scorestream model compare credit/1 credit/2
    """
    with open_client(server) as client:
        found = client.compare_models(first, second)
    if output is Output.JSON:
        return print_json(found)
    if found.same_content:
        say(f"{found.first} and {found.second} have the same content.")
    return print_table(
        ["what", "name", found.first, found.second],
        [(one.what, one.name, _shown(one.first), _shown(one.second)) for one in found.differences],
        "They differ in nothing.",
    )


@aliases.command("set")
def set_alias(
    model: ModelArgument,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Its name, for example champion.")],
    expected: Annotated[
        int | None,
        typer.Option(
            metavar="VERSION", min=0, help="Only if it points to this version now; 0: if it is new."
        ),
    ] = None,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Have an alias of a model point to a version, in one step.

    Example: scorestream model alias set credit/2 champion --expected 1
    """
    with open_client(server) as client:
        _show(client.get_model(model).set_alias(alias, expected=expected), output)


@aliases.command("drop")
def drop_alias(
    alias: Annotated[str, typer.Argument(metavar="MODEL@ALIAS", help="The alias with its model.")],
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Remove an alias; the version that it points to stays.

    Example: scorestream model alias drop credit@champion
    """
    name = alias.rpartition("@")[2]
    if "@" not in alias or name.isdecimal():
        raise wrong_usage(f"{alias!r} names no alias; write MODEL@ALIAS, for example credit@champion.")
    with open_client(server) as client:
        client.get_model(alias).drop_alias(name)


def _shown(value: object) -> str:
    """Return one side of a difference; what is not there is a dash."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)


def _text_of(file: Path) -> str:
    """Return the text in a file."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise wrong_usage(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None


def _show(model: "Model", output: Output) -> None:
    """Print one model."""
    from scorestream.progress import bytes_text  # noqa: PLC0415 - keeps --help quick

    info, training = model.info, model.info.training
    if output is Output.JSON:
        return print_json(info)
    return print_facts(
        {
            "model": model.id,
            "aliases": ", ".join(info.aliases),
            "comment": info.comment,
            "labels": labels_text(info.labels),
            "kind": info.kind,
            "description": info.description,
            "features": ", ".join(f.name for f in info.features if f.name)
            or f"{len(info.features)}, by position",
            "categories": ", ".join(f.name for f in info.features if f.name and f.type == "CATEGORY"),
            "text": ", ".join(f.name for f in info.features if f.type == "TEXT"),
            "outputs": ", ".join(f"{column.name} ({column.type})" for column in info.outputs),
            "library": f"{training.library} {training.library_version}".strip(),
            "objective": training.objective,
            "trees": training.trees or None,
            "classes": training.classes or None,
            "base score": ", ".join(f"{score:.9g}" for score in training.base_scores),
            "training": labels_text(training.attributes),
            "metadata": labels_text(info.metadata),
            "artifacts": ", ".join(f"{file} ({output})" for file, output in info.artifacts.items()),
            "size": bytes_text(info.size_bytes),
            "digest": info.digest,
            "owner": info.owner,
            "registered": when(info.created),
        }
    )
