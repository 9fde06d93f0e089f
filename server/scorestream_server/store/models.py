"""Models in the store: immutable versions of named scorers."""

import dataclasses
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, not_found, precondition
from scorestream_server.domain.job import FINAL_STATES
from scorestream_server.domain.model import Model, ModelSchema
from scorestream_server.store import deployments, jobs, requests
from scorestream_server.store.prepared import Prepared
from scorestream_server.store.schema import JOBS, MODELS, begins_with

_NEWEST = (
    sa.select(MODELS)
    .where(MODELS.c.model_id == sa.bindparam("model_id_"), ~MODELS.c.removed)
    .order_by(MODELS.c.version.desc())
    .limit(1)
)
_GET_NEWEST = Prepared(_NEWEST)
_GET_VERSION = Prepared(_NEWEST.where(MODELS.c.version == sa.bindparam("version_")))


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


def register(connection: sa.Connection, model: Model, request_id: str) -> Model:
    """Insert a model as its name's next version and return it; a request id seen before gives the model of then.

    The same content registered again under the same name is the version that it was.
    """
    earlier = find_request(connection, model.owner, request_id)
    if earlier is not None:
        return earlier
    made = _same(connection, model) or _insert(connection, model)
    if request_id:
        resource = f"{made.model_id}@{made.version}"
        requests.record(connection, model.owner, request_id, "model", resource, model.create_time)
    return made


def _same(connection: sa.Connection, model: Model) -> Model | None:
    same = sa.select(MODELS).where(
        MODELS.c.model_id == model.model_id, MODELS.c.digest == model.digest, ~MODELS.c.removed
    )
    row = connection.execute(same).first()
    return None if row is None else _model(row)


def check_owner(connection: sa.Connection, model: Model) -> None:
    """Refuse a new version of a model that is somebody else's.

    Jobs that name no version take the newest, which therefore not everybody may make. What is there already may be
    registered by anybody: that changes nothing.

    Raises:
        ScorestreamError: PERMISSION_DENIED.
    """
    if _same(connection, model) is not None:
        return
    live = sa.select(MODELS.c.owner).where(MODELS.c.model_id == model.model_id, ~MODELS.c.removed)
    owners = set(connection.execute(live).scalars())
    if owners and model.owner not in owners:
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "MODEL_OF_ANOTHER",
            f"Model {model.model_id!r} is somebody else's, who alone may add versions to it. Take another name.",
            metadata={"model": model.model_id},
        )


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
        )
    )
    return made


def get(connection: sa.Connection, model_id: str, version: int) -> Model:
    """Return a version of a model; version 0 is the newest.

    Raises:
        ScorestreamError: NOT_FOUND.
    """
    wanted_one = _GET_VERSION if version else _GET_NEWEST
    row = wanted_one.row(connection, {"model_id_": model_id, "version_": version})
    if row is None:
        wanted = f"{model_id!r}, version {version}" if version else repr(model_id)
        raise not_found(
            "MODEL_NOT_FOUND",
            f"There is no model {wanted}. `scorestream model list` shows those that there are.",
            model=model_id,
        )
    return _model(row)


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
            FAILED_PRECONDITION while a deployment or a job that is not final uses it.
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
    deployments.require_unused(connection, model_id, versions, owner)
    running = sa.select(JOBS).where(JOBS.c.state.not_in([state.value for state in FINAL_STATES]))
    for job in map(jobs.from_row, connection.execute(running)):
        if job.spec.model_id == model_id and job.spec.model_version in versions:
            theirs = owner is not None and job.owner != owner
            user = "a job of somebody else" if theirs else f"job {job.name!r} ({job.id})"
            raise precondition(
                "MODEL_IN_USE",
                f"Model {model_id!r}, version {job.spec.model_version}, is in use by {user}; wait for it"
                + ("." if theirs else " or cancel it first."),
                **({} if theirs else {"job": job.id}),
            )
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
    )
