"""Models in the store: immutable versions of named scorers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, not_found
from scorestream_server.domain.model import Model, ModelSchema
from scorestream_server.scoring.nearest import nearest
from scorestream_server.store import model_aliases, requests
from scorestream_server.store.model_use import require_unused
from scorestream_server.store.prepared import Prepared
from scorestream_server.store.schema import MODELS, begins_with

_NEWEST = (
    sa.select(MODELS)
    .where(MODELS.c.model_id == sa.bindparam("model_id_"), ~MODELS.c.removed)
    .order_by(MODELS.c.version.desc())
    .limit(1)
)
_GET_NEWEST = Prepared(_NEWEST)
_GET_VERSION = Prepared(_NEWEST.where(MODELS.c.version == sa.bindparam("version_")))
MOST_TOLD = 10
"""Versions that are named where another was asked for."""


def find_request(connection: sa.Connection, owner: str, request_id: str) -> Model | None:
    """Return the model that a request with this id registered, if one did.

    Raises:
        ScorestreamError: NOT_FOUND, where it was removed since.
    """
    earlier = requests.find(connection, owner, request_id, "model") if request_id else None
    if earlier is None:
        return None
    model_id, _, version = earlier.rpartition("@")
    return get(connection, model_id, int(version))


def register(connection: sa.Connection, model: Model, request_id: str, *, admin: bool = False) -> Model:
    """Insert a model as its name's next version and return it; a request id seen before gives the model of then.

    The same content with the same artifacts registered again under the same name is the version that it was. What is said of it with that
    (comment, labels) is said of that version from now on.

    Raises:
        ScorestreamError: PERMISSION_DENIED, where that version is somebody else's and something is said of it.
    """
    earlier = find_request(connection, model.owner, request_id)
    if earlier is not None:
        return earlier
    same = _same(connection, model)
    if same is None:
        made = _insert(connection, model)
    else:
        comment, labels = model.comment or same.comment, model.labels or same.labels
        made = update(connection, same, comment, labels, None if admin else model.owner)
    if request_id:
        resource = f"{made.model_id}@{made.version}"
        requests.record(connection, model.owner, request_id, "model", resource, model.create_time)
    return made


def _same(connection: sa.Connection, model: Model) -> Model | None:
    """Return the newest version with the same file, the same names of inputs and, where it is given, the same metadata."""
    query = sa.select(MODELS).where(
        MODELS.c.model_id == model.model_id, MODELS.c.digest == model.digest, ~MODELS.c.removed
    )
    names = [feature.name for feature in model.schema.features]
    for found in map(_model, connection.execute(query.order_by(MODELS.c.version.desc()))):
        if (
            [feature.name for feature in found.schema.features] == names
            and found.schema.artifacts == model.schema.artifacts
            and (not model.metadata or model.metadata == found.metadata)
        ):
            return found
    return None


def update(
    connection: sa.Connection, model: Model, comment: str, labels: Mapping[str, str], owner: str | None
) -> Model:
    """Have other things said of a version, and return it.

    Args:
        connection: of a transaction that writes.
        model: the version as it is.
        comment: what is to be said of it.
        labels: its labels.
        owner: who asks; None: an admin.

    Raises:
        ScorestreamError: PERMISSION_DENIED.
    """
    if (comment, labels) == (model.comment, model.labels):
        return model
    if owner is not None and model.owner != owner:
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "MODEL_OF_ANOTHER",
            f"Model {model.model_id!r}, version {model.version}, is not yours; only its owner or an admin changes what is "
            "said of it.",
            metadata={"model": model.model_id},
        )
    chosen = sa.and_(MODELS.c.model_id == model.model_id, MODELS.c.version == model.version)
    values = {"comment": comment, "labels": msgspec.json.encode(labels).decode()}
    connection.execute(sa.update(MODELS).where(chosen).values(values))
    return dataclasses.replace(model, comment=comment, labels=labels)


def check_may_name(connection: sa.Connection, model_id: str, owner: str | None) -> None:
    """Refuse to everybody but a model's owners and admins (None) to say which version an alias points to.

    Raises:
        ScorestreamError: NOT_FOUND; PERMISSION_DENIED.
    """
    get(connection, model_id, 0)
    if owner is not None and owner not in _owners(connection, model_id):
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "MODEL_OF_ANOTHER",
            f"Model {model_id!r} is somebody else's; only its owner or an admin moves its aliases, by which jobs choose a "
            "version.",
            metadata={"model": model_id},
        )


def check_owner(connection: sa.Connection, model: Model) -> None:
    """Refuse a new version of a model that is somebody else's.

    Jobs that name no version take the newest, which therefore not everybody may make. What is there already may be
    registered by anybody: that changes nothing.

    Raises:
        ScorestreamError: PERMISSION_DENIED.
    """
    if _same(connection, model) is not None:
        return
    owners = _owners(connection, model.model_id)
    if owners and model.owner not in owners:
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "MODEL_OF_ANOTHER",
            f"Model {model.model_id!r} is somebody else's, who alone may add versions to it. Take another name.",
            metadata={"model": model.model_id},
        )


def _owners(connection: sa.Connection, model_id: str) -> set[str]:
    live = sa.select(MODELS.c.owner).where(MODELS.c.model_id == model_id, ~MODELS.c.removed)
    return set(connection.execute(live).scalars())


def _insert(connection: sa.Connection, model: Model) -> Model:
    newest = sa.select(sa.func.max(MODELS.c.version)).where(MODELS.c.model_id == model.model_id)
    version = int(connection.execute(newest).scalar() or 0) + 1
    made = dataclasses.replace(model, version=version)
    connection.execute(
        sa.insert(MODELS).values(
            model_id=made.model_id,
            version=made.version,
            digest=made.digest,
            size_bytes=made.size_bytes,
            file_name=made.file_name,
            schema=msgspec.json.encode(made.schema),
            owner=made.owner,
            create_time=made.create_time,
            removed=False,
            comment=made.comment,
            labels=msgspec.json.encode(made.labels).decode(),
            metadata=msgspec.json.encode(made.metadata).decode(),
        )
    )
    return made


def get(connection: sa.Connection, model_id: str, version: int, alias: str = "") -> Model:
    """Return a version of a model: of a number, or that an alias points to; with neither (0, empty) the newest.

    Raises:
        ScorestreamError: NOT_FOUND, which names what there is.
    """
    number = model_aliases.version_of(connection, model_id, alias) if alias else version
    if alias and not number:
        get(connection, model_id, 0)
        raise model_aliases.missing(connection, model_id, alias)
    wanted_one = _GET_VERSION if number else _GET_NEWEST
    row = wanted_one.row(connection, {"model_id_": model_id, "version_": number})
    if row is None:
        raise _missing(connection, model_id, number)
    return _model(row)


def _missing(connection: sa.Connection, model_id: str, version: int) -> ScorestreamError:
    live = sa.select(MODELS.c.version).where(MODELS.c.model_id == model_id, ~MODELS.c.removed)
    versions = list(connection.execute(live.order_by(MODELS.c.version.desc()).limit(MOST_TOLD + 1)).scalars())
    if versions:
        told = "..., " if len(versions) > MOST_TOLD else ""
        told += ", ".join(map(str, reversed(versions[:MOST_TOLD])))
        message = f"There is no model {model_id!r}, version {version}; there is {told}."
    else:
        every = sa.select(MODELS.c.model_id).where(~MODELS.c.removed).distinct().order_by(MODELS.c.model_id)
        near = nearest(model_id, list(connection.execute(every).scalars()))
        told = f"did you mean {near}?" if near else "`scorestream model list` shows those that there are."
        message = f"There is no model {model_id!r}{'; ' if near else '. '}{told}"
    return not_found("MODEL_NOT_FOUND", message, model=model_id)


def page(
    connection: sa.Connection, prefix: str, after: tuple[str, int], limit: int
) -> tuple[list[Model], bool]:
    """Return up to `limit` models that follow `after` (name and version), and whether there are more."""
    query = sa.select(MODELS).where(
        ~MODELS.c.removed, sa.tuple_(MODELS.c.model_id, MODELS.c.version) > sa.tuple_(*map(sa.literal, after))
    )
    if prefix:
        query = query.where(begins_with(MODELS.c.model_id, prefix))
    rows = connection.execute(query.order_by(MODELS.c.model_id, MODELS.c.version).limit(limit + 1)).all()
    return [_model(row) for row in rows[:limit]], len(rows) > limit


def remove(connection: sa.Connection, model_id: str, version: int, owner: str | None) -> set[str]:
    """Remove a version, or with version 0 all of them, and return the files that no model uses any more.

    Raises:
        ScorestreamError: NOT_FOUND; PERMISSION_DENIED where one is not this owner's (None: an admin asks);
            FAILED_PRECONDITION while something uses it, see `model_use`.
    """
    get(connection, model_id, version)
    query = sa.select(MODELS).where(MODELS.c.model_id == model_id, ~MODELS.c.removed)
    if version:
        query = query.where(MODELS.c.version == version)
    gone = [_model(row) for row in connection.execute(query)]
    versions = {model.version for model in gone}
    if owner is not None and any(model.owner != owner for model in gone):
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "MODEL_OF_ANOTHER",
            f"Model {model_id!r} is not yours, or not all of its versions are; only their owner or an admin removes "
            "them.",
            metadata={"model": model_id},
        )
    require_unused(connection, model_id, versions, owner)
    chosen = sa.and_(MODELS.c.model_id == model_id, MODELS.c.version.in_(versions))
    connection.execute(sa.update(MODELS).where(chosen).values(removed=True))
    return {model.file_name for model in gone if not is_used(connection, model.file_name)}


def is_used(connection: sa.Connection, file_name: str) -> bool:
    """Return whether a model has this file."""
    used = sa.select(MODELS.c.version).where(MODELS.c.file_name == file_name, ~MODELS.c.removed)
    return connection.execute(used.limit(1)).first() is not None


def _model(row: Any) -> Model:
    return Model(
        row.model_id,
        row.version,
        row.digest,
        row.size_bytes,
        row.file_name,
        msgspec.json.decode(row.schema, type=ModelSchema),
        row.owner,
        row.create_time,
        row.comment,
        msgspec.json.decode(row.labels),
        msgspec.json.decode(row.metadata),
    )
