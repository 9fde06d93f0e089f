"""Tokens in the store. They are revoked, never removed: a server that had one asks for identity ever after."""

import dataclasses
from typing import Any

import sqlalchemy as sa

from scorestream_server.domain.errors import not_found
from scorestream_server.domain.principal import Role
from scorestream_server.domain.token import Token
from scorestream_server.store.schema import TOKENS

_FIND = sa.select(TOKENS).where(TOKENS.c.id == sa.bindparam("token_id"))
_USED = (
    sa.update(TOKENS)
    .where(TOKENS.c.id == sa.bindparam("token_id"))
    .values(last_use_time=sa.bindparam("time"))
)
_FIELDS = tuple(field.name for field in dataclasses.fields(Token))


def create(connection: sa.Connection, token: Token) -> None:
    """Insert a token."""
    values = {name: getattr(token, name) for name in _FIELDS}
    connection.execute(sa.insert(TOKENS).values(values | {"role": token.role.value}))


def find(connection: sa.Connection, token_id: str) -> Token | None:
    """Return a token, good or not, or None where there is none."""
    row = connection.execute(_FIND, {"token_id": token_id}).one_or_none()
    return None if row is None else _token(row)


def exist(connection: sa.Connection) -> bool:
    """Whether a token was ever made."""
    return connection.execute(sa.select(TOKENS.c.id).limit(1)).first() is not None


def of_principal(connection: sa.Connection, principal: str) -> list[Token]:
    """Return every token that was ever made for a principal, good or not."""
    found = connection.execute(sa.select(TOKENS).where(TOKENS.c.principal == principal))
    return [_token(row) for row in found]


def page(connection: sa.Connection, *, after: int, limit: int) -> tuple[list[Token], int]:
    """Return up to `limit` tokens made after position `after`, and the position to go on from (0: none)."""
    query = sa.select(TOKENS).where(TOKENS.c.seq > after).order_by(TOKENS.c.seq)
    rows = connection.execute(query.limit(limit + 1)).all()
    more = rows[limit - 1].seq if len(rows) > limit else 0
    return [_token(row) for row in rows[:limit]], more


def revoke(connection: sa.Connection, token_id: str) -> Token:
    """Revoke a token and return it; one that is revoked stays so.

    Raises:
        ScorestreamError: NOT_FOUND.
    """
    connection.execute(sa.update(TOKENS).where(TOKENS.c.id == token_id).values(revoked=True))
    token = find(connection, token_id)
    if token is None:
        raise not_found(
            "TOKEN_NOT_FOUND",
            f"There is no token {token_id!r}. `scorestream token list` shows those that there are.",
            token=token_id,
        )
    return token


def used(connection: sa.Connection, token_id: str, time: float) -> None:
    """Note that a token was used."""
    connection.execute(_USED, {"token_id": token_id, "time": time})


def _token(row: Any) -> Token:
    values = {name: getattr(row, name) for name in _FIELDS}
    return Token(**(values | {"role": Role(row.role)}))
