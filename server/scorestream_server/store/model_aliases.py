"""Aliases of models: names that point to one version each, and are moved in one step."""

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa

from scorestream_server.domain.errors import ScorestreamError, not_found, precondition
from scorestream_server.domain.model import Model
from scorestream_server.scoring.nearest import nearest
from scorestream_server.store import requests
from scorestream_server.store.prepared import Prepared
from scorestream_server.store.schema import MODEL_ALIASES

_VERSION = Prepared(
    sa.select(MODEL_ALIASES.c.version).where(
        MODEL_ALIASES.c.model_id == sa.bindparam("model_id_"), MODEL_ALIASES.c.alias == sa.bindparam("alias_")
    )
)
_KIND = "alias"


def version_of(connection: sa.Connection, model_id: str, alias: str) -> int:
    """Return the version that an alias points to; 0 for none."""
    row = _VERSION.row(connection, {"model_id_": model_id, "alias_": alias})
    return 0 if row is None else int(row.version)


def with_aliases(connection: sa.Connection, models: Sequence[Model]) -> list[Model]:
    """Return models with the aliases that point to them."""
    wanted = sa.select(MODEL_ALIASES).where(
        MODEL_ALIASES.c.model_id.in_({model.model_id for model in models})
    )
    found: dict[tuple[str, int], list[str]] = {}
    for row in connection.execute(wanted.order_by(MODEL_ALIASES.c.alias)):
        found.setdefault((row.model_id, row.version), []).append(row.alias)
    return [
        dataclasses.replace(model, aliases=tuple(found.get((model.model_id, model.version), ())))
        for model in models
    ]


def find_request(connection: sa.Connection, owner: str, request_id: str) -> tuple[str, int] | None:
    """Return the model and the version that a request with this id had an alias point to, if one did."""
    earlier = requests.find(connection, owner, request_id, _KIND) if request_id else None
    if earlier is None:
        return None
    model_id, _, version = earlier.rpartition("@")
    return model_id, int(version)


def put(
    connection: sa.Connection,
    model: Model,
    alias: str,
    *,
    expected: int | None,
    owner: str,
    request_id: str,
    now: float,
) -> None:
    """Have an alias point to a version that is there.

    Args:
        connection: of a transaction that writes.
        model: the version.
        alias: the alias's name.
        expected: version that it has to point to now, 0 for none; None: whichever.
        owner: who asks.
        request_id: of the request; empty for none.
        now: seconds since 1970.

    Raises:
        ScorestreamError: FAILED_PRECONDITION, where it points elsewhere than expected.
    """
    old = version_of(connection, model.model_id, alias)
    if old != model.version:
        _require_expected(model.model_id, alias, old, expected)
        chosen = sa.and_(MODEL_ALIASES.c.model_id == model.model_id, MODEL_ALIASES.c.alias == alias)
        connection.execute(sa.delete(MODEL_ALIASES).where(chosen))
        connection.execute(
            sa.insert(MODEL_ALIASES).values(
                model_id=model.model_id, alias=alias, version=model.version, owner=owner, update_time=now
            )
        )
    if request_id:
        resource = f"{model.model_id}@{model.version}"
        requests.record(connection, owner, request_id, _KIND, resource, now)


def delete(connection: sa.Connection, model_id: str, alias: str, expected: int | None) -> None:
    """Remove an alias.

    Raises:
        ScorestreamError: NOT_FOUND; FAILED_PRECONDITION, where it points elsewhere than expected.
    """
    old = version_of(connection, model_id, alias)
    if not old:
        raise missing(connection, model_id, alias)
    _require_expected(model_id, alias, old, expected)
    chosen = sa.and_(MODEL_ALIASES.c.model_id == model_id, MODEL_ALIASES.c.alias == alias)
    connection.execute(sa.delete(MODEL_ALIASES).where(chosen))


def missing(connection: sa.Connection, model_id: str, alias: str) -> ScorestreamError:
    """Return the error for an alias that a model does not have."""
    every = sa.select(MODEL_ALIASES.c.alias).where(MODEL_ALIASES.c.model_id == model_id)
    names = list(connection.execute(every.order_by(MODEL_ALIASES.c.alias)).scalars())
    near = nearest(alias, names)
    if near:
        told = f"did you mean {near}?"
    elif names:
        told = f"it has {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}."
    else:
        told = f"it has none; make it with: scorestream model alias set {model_id}/VERSION {alias}"
    return not_found(
        "ALIAS_NOT_FOUND", f"Model {model_id!r} has no alias {alias!r}; {told}", model=model_id, alias=alias
    )


def _require_expected(model_id: str, alias: str, old: int, expected: int | None) -> None:
    if expected is not None and expected != old:
        now = f"points to version {old}" if old else "is not there"
        meant = f"to point to version {expected}" if expected else "not to be there"
        raise precondition(
            "ALIAS_MOVED",
            f"The alias {alias!r} of model {model_id!r} was expected {meant}, and {now}: somebody moved it meanwhile. "
            "Look at it again, and repeat the change if it is still wanted.",
            model=model_id,
            alias=alias,
            version=str(old),
        )
