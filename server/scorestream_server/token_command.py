"""`python -m scorestream_server.token_command`: tokens in a data directory, whether its server runs or not.

For the first token of a server that nobody may call yet, and for whoever has lost the last one. It may do what it
does because the data directory is its own: it asks for no identity.
"""

import argparse
import contextlib
import dataclasses
import getpass
import json
import os
import pwd
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from scorestream_server.api import audit
from scorestream_server.domain.data_directory import DataDirectory, UnusableDirectoryError
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.principal import Role, check_principal_name
from scorestream_server.domain.token import Token, check_label, check_lifetime, new_token
from scorestream_server.store import tokens as token_store
from scorestream_server.store.database import migrate, open_engine
from scorestream_server.store.opening import check_store

LISTED = 10_000
PEER = "data-directory"


def main(arguments: list[str] | None = None) -> None:
    """Do it, and print what came of it as JSON."""
    flags = _parser().parse_args(arguments)
    os.umask(0o077)
    directory = DataDirectory(flags.data_dir.resolve())
    try:
        with _opened(directory) as connection, audit.audit_file(directory.audit):
            answer = _do(flags, connection)
    except ScorestreamError as error:
        sys.exit(error.message)
    except UnusableDirectoryError as error:
        sys.exit(str(error))
    except (OSError, sa.exc.SQLAlchemyError) as error:
        sys.exit(f"{directory.root}: {error}")
    print(json.dumps(answer))  # noqa: T201  # the command's answer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Tokens in a data directory.")
    parser.add_argument("--data-dir", type=Path, required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create")
    create.add_argument("principal")
    create.add_argument("--role", type=Role, choices=list(Role), default=Role.USER)
    create.add_argument("--label", default="")
    create.add_argument("--lifetime", type=float, metavar="SECONDS")
    commands.add_parser("list")
    commands.add_parser("revoke").add_argument("token")
    return parser


def _do(flags: argparse.Namespace, connection: sa.Connection) -> Any:
    match flags.command:
        case "create":
            lifetime = None if flags.lifetime is None else check_lifetime(flags.lifetime)
            name = check_principal_name("principal", flags.principal)
            token, secret = new_token(name, flags.role, check_label(flags.label), time.time(), lifetime)
            token_store.create(connection, token)
            _tell("CreateToken", token)
            return _described(token) | {"secret": secret}
        case "revoke":
            token = token_store.revoke(connection, flags.token)
            _tell("RevokeToken", token)
            return _described(token)
        case _:
            return [_described(token) for token in token_store.page(connection, after=0, limit=LISTED)[0]]


def _described(token: Token) -> dict[str, Any]:
    facts = dataclasses.asdict(token)
    del facts["digest"]
    return facts


def _tell(method: str, token: Token) -> None:
    resource = f"tokens/{token.id} of {token.principal}"
    audit.tell(f"/scorestream.v1.TokenService/{method}", getpass.getuser(), PEER, resource, "OK")


@contextlib.contextmanager
def _opened(directory: DataDirectory) -> Iterator[sa.Connection]:
    """Open the store of a data directory, new or not, for one change."""
    directory.root.mkdir(parents=True, exist_ok=True)
    owner = directory.root.stat().st_uid
    if owner != os.geteuid():
        # What root writes there, the server could not open any more.
        name = pwd.getpwuid(owner).pw_name
        raise PermissionError(f"the directory is user {name}'s; run this as that user: sudo -u {name} ...")
    if directory.database.exists():
        check_store(directory.database)
    engine = open_engine(directory.database_url)
    try:
        migrate(engine)
        with engine.execution_options(writes=True).begin() as connection:
            connection.info["events"] = []
            yield connection
    finally:
        engine.dispose()


if __name__ == "__main__":
    main()
