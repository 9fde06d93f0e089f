"""`scorestream token ...`."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    WRONG_USAGE,
    Output,
    OutputOption,
    ServerOption,
    open_client,
    print_facts,
    print_json,
    print_table,
    say,
    when,
)
from scorestream.records import Role, TokenInfo

app = typer.Typer(no_args_is_help=True, help="Tokens: who may call a server. For its admins.")
SECONDS_A_DAY = 86_400

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        help="Do it in this data directory, as the server's user, instead of asking the server; it may run or not."
    ),
]


@app.command("create")
def create_token(
    principal: Annotated[str, typer.Argument(metavar="NAME", help="Who will call with it.")],
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.USER,
    label: Annotated[str, typer.Option(help="A note, for example where it is used.")] = "",
    days: Annotated[
        float | None, typer.Option(help="How long it is good; none: until it is revoked.")
    ] = None,
    data_dir: DataDirOption = None,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Make a token, and print it; it is never shown again.

    Example: scorestream token create alice --role admin --data-dir /var/lib/scorestream
    """
    lifetime = None if days is None else days * SECONDS_A_DAY
    if data_dir is None:
        with open_client(server) as client:
            made = client.create_token(principal, role=role, label=label, lifetime=lifetime)
    else:
        words = ["create", f"--role={role.value}", f"--label={label}"]
        words += [] if lifetime is None else [f"--lifetime={lifetime}"]
        made = _info(_there(data_dir, *words, "--", principal))
    if output is Output.JSON:
        return print_json(made)
    until = f", good until {when(made.expires)}" if made.expires else ""
    say(f"Token {made.id} of {made.principal} ({made.role}{until}). Keep it now; it is not shown again:")
    return typer.echo(made.secret)


@app.command("list")
def list_tokens(
    data_dir: DataDirOption = None, output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER
) -> None:
    """List tokens, oldest first; their secrets are nowhere.

    Example: scorestream token list
    """
    if data_dir is None:
        with open_client(server) as client:
            found = client.tokens()
    else:
        found = [_info(facts) for facts in _there(data_dir, "list")]
    if output is Output.JSON:
        return print_json(found)
    return print_table(
        ["token", "principal", "role", "state", "last used", "expires", "label", "created"],
        [
            (
                info.id,
                info.principal,
                info.role,
                _state(info),
                when(info.last_used),
                when(info.expires),
                info.label,
                when(info.created),
            )
            for info in found
        ],
        "There is no token; make one with: scorestream token create NAME --role admin",
    )


@app.command("revoke")
def revoke_token(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id, as in the list.")],
    data_dir: DataDirOption = None,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Revoke a token: the server refuses it from now on, and ends streams that it opened.

    Example: scorestream token revoke 5f0c2a9b1d3e
    """
    if data_dir is None:
        with open_client(server) as client:
            info = client.revoke_token(token)
    else:
        info = _info(_there(data_dir, "revoke", "--", token))
    if output is Output.JSON:
        return print_json(info)
    return print_facts(
        {"token": info.id, "principal": info.principal, "role": info.role, "state": _state(info)}
    )


def _there(data_dir: Path, *words: str) -> Any:
    """Have the server's own code do it in a data directory, and return what it answers."""
    from scorestream.private_server import require_server  # noqa: PLC0415 - keeps --help quick

    require_server()
    command = [sys.executable, "-m", "scorestream_server.token_command", "--data-dir", str(data_dir), *words]
    done = subprocess.run(  # noqa: S603 - our own module, run by this very interpreter
        command, capture_output=True, text=True, check=False
    )
    if done.returncode:
        say(f"Error: {done.stderr.strip()}")
        raise typer.Exit(WRONG_USAGE)
    return json.loads(done.stdout)


def _info(facts: dict[str, Any]) -> TokenInfo:
    """Return a token as the server's own code describes it."""

    def moment(seconds: float | None) -> datetime | None:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

    created = datetime.fromtimestamp(facts["create_time"], UTC)
    return TokenInfo(
        id=facts["id"],
        principal=facts["principal"],
        role=Role(facts["role"]),
        label=facts["label"],
        created=created,
        last_used=moment(facts["last_use_time"]),
        expires=moment(facts["expire_time"]),
        revoked=facts["revoked"],
        secret=facts.get("secret", ""),
    )


def _state(info: TokenInfo) -> str:
    """Return whether a token is good."""
    if info.revoked:
        return "revoked"
    return "expired" if info.expires is not None and info.expires <= datetime.now(UTC) else "good"
