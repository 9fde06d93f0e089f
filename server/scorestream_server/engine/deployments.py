"""Deployments brought to their runtimes: matched, the model checked there, and retired."""

import asyncio
import logging
import time
from dataclasses import replace

import sqlalchemy as sa

from scorestream_server.domain.context import DEFAULT_CONTEXT
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.deployment import Deployment, DeploymentState
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.messages import InspectModel, ModelInspected
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.runtimes import Runtimes
from scorestream_server.store import deployments as deployment_store
from scorestream_server.store import models as model_store
from scorestream_server.store.database import Database
from scorestream_server.workers.pool import MAX_ATTEMPTS, WorkerLost, WorkerPool, run_anywhere

logger = logging.getLogger(__name__)


class Deployer:
    """Makes and retires deployments; what was begun goes on without its client, and after a restart."""

    def __init__(
        self,
        database: Database,
        pool: WorkerPool,
        directory: DataDirectory,
        engine: Engine,
        runtimes: Runtimes,
    ) -> None:
        self._database = database
        self._pool = pool
        self._directory = directory
        self._engine = engine
        self._runtimes = runtimes
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def create(self, wanted: Deployment, request_id: str, alias: str = "") -> Deployment:
        """Record a deployment and begin to deploy it; the answer of a repeated request is the deployment of then.

        Args:
            wanted: with version 0 of the newest version.
            request_id: of the request.
            alias: of the version that is wanted; empty: what `wanted` says. The deployment keeps the number.

        Raises:
            ScorestreamError: NOT_FOUND, where the model version is not there.
        """
        # Shielded: a client that hangs up now must not leave a deployment that nobody brings anywhere.
        return await asyncio.shield(self._create(wanted, request_id, alias))

    async def wait(self, deployment_id: str, seconds: float) -> None:
        """Return when a deployment is no longer DEPLOYING, or when the time is up."""
        if (task := self._tasks.get(deployment_id)) is not None:
            await asyncio.wait([task], timeout=seconds)

    async def retire(self, deployment_id: str, owner: str | None, *, cancel: bool) -> Deployment:
        """Have a deployment take no more jobs, and return it; those that run go on.

        Args:
            deployment_id: which.
            owner: whose it has to be; None: whoever's.
            cancel: whether its jobs are cancelled.

        Raises:
            ScorestreamError: NOT_FOUND.
        """

        def retire(connection: sa.Connection) -> Deployment:
            found = deployment_store.get(connection, deployment_id, owner)
            if found.state is DeploymentState.RETIRED:
                return found
            made = replace(found, state=DeploymentState.RETIRED, update_time=time.time(), reason="")
            deployment_store.put(connection, made)
            return made

        made = await self._database.write(retire)
        if (task := self._tasks.get(deployment_id)) is not None:
            task.cancel()
        if cancel:
            for active in list(self._engine.jobs.values()):
                if active.job.deployment == deployment_id:
                    await self._engine.cancel(active.job.id)
        return made

    async def recover(self) -> None:
        """Go on with what the last run was deploying."""
        deploying = DeploymentState.DEPLOYING
        for found in await self._database.read(
            lambda connection: deployment_store.in_state(connection, deploying)
        ):
            self._begin(found)

    async def close(self) -> None:
        """Stop; what is being deployed is gone on with by the next server."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _create(self, wanted: Deployment, request_id: str, alias: str) -> Deployment:
        def create(connection: sa.Connection) -> Deployment:
            earlier = deployment_store.find_request(connection, wanted.owner, request_id)
            if earlier is not None:
                return earlier
            # In one transaction: a version is not removed while it is being deployed.
            model = model_store.get(connection, wanted.model_id, wanted.model_version, alias)
            made = replace(wanted, model_version=model.version)
            return deployment_store.create(connection, made, request_id)

        made = await self._database.write(create)
        if made.id == wanted.id:
            self._begin(made)
        return made

    def _begin(self, deployment: Deployment) -> None:
        task = asyncio.create_task(self._deploy(deployment))
        self._tasks[deployment.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(deployment.id, None))

    async def _deploy(self, deployment: Deployment) -> None:
        try:
            context = await self._runtimes.match(deployment.service_tag, deployment.stage)
            deployment = replace(deployment, context=context)
            await self._database.write(lambda connection: deployment_store.settle(connection, deployment))
            await self._check(deployment)
            state, reason = DeploymentState.DEPLOYED, ""
        except ScorestreamError as error:
            state, reason = DeploymentState.FAILED, error.message
        except Exception:  # what nobody thought of must not leave it DEPLOYING for ever
            logger.exception("deployment %s failed", deployment.id)
            state, reason = DeploymentState.FAILED, "The server failed; its log says more."
        made = replace(deployment, state=state, reason=reason, update_time=time.time())
        await self._database.write(lambda connection: deployment_store.settle(connection, made))

    async def _check(self, deployment: Deployment) -> None:
        """Have a worker of a deployment's runtime open its model.

        Raises:
            ScorestreamError: no worker comes up there, or it cannot open the model.
        """
        model = await self._database.read(
            lambda connection: model_store.get(connection, deployment.model_id, deployment.model_version)
        )
        path = self._directory.models / model.file_name
        if deployment.context == DEFAULT_CONTEXT:
            task = InspectModel(self._pool.next_task_id(), str(path))
            await run_anywhere(self._pool, task, ModelInspected)
            return
        await self._engine.admission.admit_model(deployment.context, path)
        last = ""
        for _ in range(MAX_ATTEMPTS):
            async with self._engine.worker_waits.seat(deployment.id, deployment.context) as worker_id:
                try:
                    await self._pool.run(worker_id, InspectModel(self._pool.next_task_id(), str(path)))
                except WorkerLost as lost:
                    last = str(lost)
                    continue
                return
        raise ScorestreamError(
            ErrorCode.INTERNAL,
            "WORKER_LOST",
            f"Opening the model cost {MAX_ATTEMPTS} workers of context {deployment.context!r} their lives, the last "
            f"time because the {last}.",
        )
