"""Who uses versions of a model, and so keeps them from being removed."""

from collections.abc import Collection

import sqlalchemy as sa

from scorestream_server.domain.errors import precondition
from scorestream_server.domain.job import FINAL_STATES
from scorestream_server.store import deployments, jobs
from scorestream_server.store.schema import JOBS, MODEL_ALIASES


def require_unused(
    connection: sa.Connection, model_id: str, versions: Collection[int], owner: str | None
) -> None:
    """Refuse to remove versions of a model that something needs. All that may need one is asked here.

    Args:
        connection: of the transaction that removes them.
        model_id: the model's own name.
        versions: those that are to go.
        owner: who asks, to whom nothing of others is told; None: an admin.

    Raises:
        ScorestreamError: FAILED_PRECONDITION.
    """
    _no_jobs(connection, model_id, versions, owner)
    deployments.require_unused(connection, model_id, versions, owner)
    _no_aliases(connection, model_id, versions)


def _no_jobs(connection: sa.Connection, model_id: str, versions: Collection[int], owner: str | None) -> None:
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


def _no_aliases(connection: sa.Connection, model_id: str, versions: Collection[int]) -> None:
    wanted = sa.select(MODEL_ALIASES.c.alias, MODEL_ALIASES.c.version).where(
        MODEL_ALIASES.c.model_id == model_id, MODEL_ALIASES.c.version.in_(versions)
    )
    row = connection.execute(wanted.order_by(MODEL_ALIASES.c.alias).limit(1)).first()
    if row is not None:
        raise precondition(
            "MODEL_HAS_ALIAS",
            f"The alias {row.alias!r} points to model {model_id!r}, version {row.version}. Have it point to another version "
            f"(scorestream model alias set {model_id}/VERSION {row.alias}), or drop it first (scorestream model alias drop "
            f"{model_id}@{row.alias}).",
            model=model_id,
            alias=row.alias,
        )
