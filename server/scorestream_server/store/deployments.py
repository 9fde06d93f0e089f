"""Deployments in the store."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import msgspec
import sqlalchemy as sa

from scorestream_server.domain.deployment import LIVE_STATES, Deployment, DeploymentState
from scorestream_server.domain.errors import ErrorCode, ScorestreamError, not_found, precondition
from scorestream_server.domain.job import FINAL_STATES
from scorestream_server.store import requests
from scorestream_server.store.schema import DEPLOYMENTS, JOBS

_LIVE = DEPLOYMENTS.c.state.in_([state.value for state in LIVE_STATES])


def create(connection: sa.Connection, deployment: Deployment, request_id: str) -> Deployment:
    """Insert a deployment of a model version that is there; a request id seen before gives the deployment of then."""
    earlier = find_request(connection, deployment.owner, request_id)
    if earlier is not None:
        return earlier
    if request_id:
        requests.record(
            connection, deployment.owner, request_id, "deployment", deployment.id, deployment.create_time
        )
    values = {"id": deployment.id, "owner": deployment.owner, **_values(deployment)}
    connection.execute(sa.insert(DEPLOYMENTS).values(values))
    return deployment


def find_request(connection: sa.Connection, owner: str, request_id: str) -> Deployment | None:
    """Return the deployment that a request with this id made, if one did."""
    earlier = requests.find(connection, owner, request_id, "deployment") if request_id else None
    return get(connection, earlier, owner) if earlier else None


def get(connection: sa.Connection, deployment_id: str, owner: str | None) -> Deployment:
    """Return a deployment of this owner; None: of whichever.

    Raises:
        ScorestreamError: NOT_FOUND, where there is none or it is somebody else's.
    """
    query = _of(owner).where(DEPLOYMENTS.c.id == deployment_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise not_found(
            "DEPLOYMENT_NOT_FOUND",
            f"There is no deployment {deployment_id!r}. `scorestream deployment ls` shows those that there are.",
            deployment=deployment_id,
        )
    return _deployment(row)


def page(
    connection: sa.Connection,
    owner: str | None,
    *,
    model_id: str,
    states: Collection[DeploymentState],
    stage: str,
    service_tag: str,
    before: int,
    limit: int,
) -> tuple[list[Deployment], int]:
    """Return up to `limit` deployments, newest first, and the position to go on from (0: there are no more).

    What is empty is not asked for.
    """
    query = _of(owner)
    for column, wanted in (
        (DEPLOYMENTS.c.model_id, model_id),
        (DEPLOYMENTS.c.stage, stage),
        (DEPLOYMENTS.c.service_tag, service_tag),
    ):
        query = query.where(column == wanted) if wanted else query
    if states:
        query = query.where(DEPLOYMENTS.c.state.in_([state.value for state in states]))
    if before:
        query = query.where(DEPLOYMENTS.c.seq < before)
    rows = connection.execute(query.order_by(DEPLOYMENTS.c.seq.desc()).limit(limit + 1)).all()
    return [_deployment(row) for row in rows[:limit]], rows[limit - 1].seq if len(rows) > limit else 0


def in_state(connection: sa.Connection, state: DeploymentState, owner: str | None = None) -> list[Deployment]:
    """Return every deployment in a state, of this owner or of any, oldest first."""
    query = _of(owner).where(DEPLOYMENTS.c.state == state.value).order_by(DEPLOYMENTS.c.seq)
    return [_deployment(row) for row in connection.execute(query)]


def put(connection: sa.Connection, deployment: Deployment) -> None:
    """Write what a deployment is now."""
    this = sa.update(DEPLOYMENTS).where(DEPLOYMENTS.c.id == deployment.id)
    connection.execute(this.values(_values(deployment)))


def settle(connection: sa.Connection, deployment: Deployment) -> Deployment:
    """Write what came of one that was DEPLOYING, and return it; one that was retired meanwhile stays as it is.

    Where it is DEPLOYED now and replaces others, those of the same owner, model, service tag and stage are retired with it.
    """
    found = get(connection, deployment.id, None)
    if found.state is not DeploymentState.DEPLOYING:
        return found
    put(connection, deployment)
    if deployment.state is DeploymentState.DEPLOYED and deployment.replace:
        for other in in_state(connection, DeploymentState.DEPLOYED, deployment.owner):
            same = (other.model_id, other.service_tag, other.stage) == (
                deployment.model_id,
                deployment.service_tag,
                deployment.stage,
            )
            if same and other.id != deployment.id:
                why = f"replaced by deployment {deployment.id}"
                retired = replace(
                    other, state=DeploymentState.RETIRED, update_time=deployment.update_time, reason=why
                )
                put(connection, retired)
    return deployment


def require_deployed(connection: sa.Connection, deployment_id: str) -> Deployment:
    """Return a deployment, of any owner, that takes jobs.

    Raises:
        ScorestreamError: NOT_FOUND; FAILED_PRECONDITION, with why it takes none.
    """
    found = get(connection, deployment_id, None)
    if found.state is not DeploymentState.DEPLOYED:
        why = f" ({found.reason})" if found.reason else ""
        raise precondition(
            "NOT_DEPLOYED",
            f"Deployment {found.id} of model {found.model_id!r}, version {found.model_version}, at stage {found.stage!r} "
            f"takes no jobs: it is {found.state}{why}. `scorestream deployment ls --state deployed` shows those that do.",
            deployment=found.id,
            state=found.state.value,
        )
    return found


def deployments_using(
    connection: sa.Connection, model_id: str, versions: Collection[int]
) -> list[Deployment]:
    """Return the deployments that are or become deployed with one of these versions of a model, oldest first."""
    query = sa.select(DEPLOYMENTS).where(_LIVE, DEPLOYMENTS.c.model_id == model_id)
    found = [_deployment(row) for row in connection.execute(query.order_by(DEPLOYMENTS.c.seq))]
    return [deployment for deployment in found if deployment.model_version in versions]


def require_unused(
    connection: sa.Connection, model_id: str, versions: Collection[int], owner: str | None
) -> None:
    """Refuse to remove versions of a model that deployments use.

    Args:
        connection: to the store.
        model_id: the model.
        versions: those that are to go.
        owner: who asks; None: an admin, who gets told of everybody's.

    Raises:
        ScorestreamError: FAILED_PRECONDITION.
    """
    for deployment in deployments_using(connection, model_id, versions):
        theirs = owner is not None and deployment.owner != owner
        what = "a deployment of somebody else" if theirs else f"deployment {deployment.id}"
        do = "it has to be retired first" if theirs else f"scorestream deployment retire {deployment.id}"
        raise ScorestreamError(
            ErrorCode.FAILED_PRECONDITION,
            "MODEL_IN_USE",
            f"Model {model_id!r}, version {deployment.model_version}, is in use by {what} at stage "
            f"{deployment.stage!r}; retire that first{'.' if theirs else f': {do}'}",
            metadata={} if theirs else {"deployment": deployment.id},
        )


def running_jobs(connection: sa.Connection, deployment_ids: Iterable[str]) -> dict[str, int]:
    """Return how many jobs of each of these deployments have not ended."""
    ids = list(deployment_ids)
    query = (
        sa.select(JOBS.c.deployment, sa.func.count())
        .where(
            JOBS.c.deployment.in_(ids),
            JOBS.c.deployment != sa.literal_column("''"),  # so that its index is used
            JOBS.c.state.not_in([state.value for state in FINAL_STATES]),
        )
        .group_by(JOBS.c.deployment)
    )
    return dict.fromkeys(ids, 0) | {name: int(number) for name, number in connection.execute(query)}


def _of(owner: str | None) -> "sa.Select[Any]":
    query = sa.select(DEPLOYMENTS)
    return query if owner is None else query.where(DEPLOYMENTS.c.owner == owner)


def _deployment(row: Any) -> Deployment:
    return msgspec.json.decode(row.data, type=Deployment)


def _values(deployment: Deployment) -> dict[str, Any]:
    return {
        "model_id": deployment.model_id,
        "service_tag": deployment.service_tag,
        "stage": deployment.stage,
        "state": deployment.state.value,
        "data": msgspec.json.encode(deployment),
    }
