"""Deployments as a client sees them."""

import time
import uuid
from pathlib import Path
from typing import Self, Unpack

from scorestream.deployment_records import DeployedJobSettings, DeploymentInfo, DeploymentState
from scorestream.deployment_wire import deployment_info, deployment_name, state_number
from scorestream.job_request import job_spec
from scorestream.row_error_wire import on_row_error_number
from scorestream.v1 import deployment_service_pb2, job_service_pb2
from scorestream.wire import duration, job_info, model_name

from .connection import AsyncConnection
from .job import AsyncJob
from .model import AsyncModel

WAIT_SECONDS = 60.0


class AsyncDeployment:
    """A model version that operations find by a service tag and a stage.

    Attributes:
        info: its description as the server last gave it; `refresh` asks again.
    """

    def __init__(self, connection: AsyncConnection, info: DeploymentInfo) -> None:
        self._connection = connection
        self.info = info

    def __repr__(self) -> str:
        return f"<Deployment {self.info.model} at {self.info.stage} ({self.id}): {self.state}>"

    @property
    def id(self) -> str:
        """Its id, unique on the server and never used again."""
        return self.info.id

    @property
    def state(self) -> DeploymentState:
        """Where it was in its life when the server was last asked."""
        return self.info.state

    async def refresh(self) -> Self:
        """Ask the server again, and return this deployment."""
        request = deployment_service_pb2.GetDeploymentRequest(name=deployment_name(self.id))
        answer = await self._connection.call(self._connection.deployments.GetDeployment, request)
        self.info = deployment_info(answer)
        return self

    async def wait(self, timeout: float | None = None) -> Self:
        """Return when it is no longer DEPLOYING: DEPLOYED, or FAILED with `info.reason`.

        Args:
            timeout: seconds after which it is returned as it is; None: wait for ever.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while self.state is DeploymentState.DEPLOYING:
            left = WAIT_SECONDS if until is None else min(WAIT_SECONDS, until - time.monotonic())
            if left < 0:
                break
            request = deployment_service_pb2.WaitDeploymentRequest(
                name=deployment_name(self.id), timeout=duration(left, "timeout")
            )
            answer = await self._connection.call(self._connection.deployments.WaitDeployment, request)
            self.info = deployment_info(answer)
        return self

    async def retire(self, *, cancel: bool = False) -> Self:
        """Have it take no more jobs, and return it; those that run go on.

        Args:
            cancel: cancel them.
        """
        request = deployment_service_pb2.RetireDeploymentRequest(name=deployment_name(self.id), cancel=cancel)
        answer = await self._connection.call(self._connection.deployments.RetireDeployment, request)
        self.info = deployment_info(answer)
        return self

    async def run(
        self,
        source: str | Path = "",
        out_path: str | Path = "",
        *,
        name: str = "",
        request_id: str = "",
        **settings: Unpack[DeployedJobSettings],
    ) -> AsyncJob:
        """Start a job that scores files on the server, on a runtime with this deployment's tags, and return it.

        It returns when the input is loaded and the job is recorded; the job goes on even if this client leaves. Its session
        is the job's alone, and ends by the inactivity timeout of its context; what was published stays.

        Args:
            source: a path **on the server** below its data roots, or a URI; empty: the deployment's own. With a private
                server, your own file.
            out_path: where the result is published; empty: the deployment's own.
            name: the job's name; empty: the server makes one up.
            request_id: two calls with the same one make one job; empty: a new one.
            settings: what else is asked; `DeployedJobSettings` names it.

        Raises:
            FailedPreconditionError: no runtime has its tags now (``NO_RUNTIME``), or it takes no jobs (``NOT_DEPLOYED``).
            NotFoundError: the input is not there.
            AlreadyExistsError: the output is there and `replace` is false.
            InvalidArgumentError: columns are missing or of the wrong type; all faults are named.
        """
        spec = job_spec(
            model="",
            table="",
            where=settings.get("where", ""),
            out="",
            out_path="",
            keep=settings.get("keep", ()),
            replace=settings.get("replace", False),
            priority=settings.get("priority"),
            partition_rows=settings.get("partition_rows"),
            timeout=settings.get("timeout"),
            queue_timeout=settings.get("queue_timeout"),
            variables=settings.get("variables"),
            output=settings.get("output_options"),
            append=settings.get("append", False),
            row_number=settings.get("row_number", ""),
            explain=settings.get("explain", 0),
        )
        spec.on_row_error = on_row_error_number(settings.get("on_row_error"))
        spec.parallel_count = settings.get("parallel_count", 0)
        request = deployment_service_pb2.CreateDeployedJobRequest(
            deployment=deployment_name(self.id),
            input=self._connection.server_path(source) if str(source) else "",
            output=self._connection.server_path(out_path) if str(out_path) else "",
            display_name=name,
            spec=spec,
            request_id=request_id or uuid.uuid4().hex,
        )
        answer = await self._connection.call(self._connection.deployments.CreateDeployedJob, request)
        return AsyncJob(self._connection, job_info(answer))

    async def jobs(self, *, limit: int | None = None) -> list[AsyncJob]:
        """Return its jobs, newest first, at most `limit` of them."""
        jobs: list[AsyncJob] = []
        request = job_service_pb2.ListJobsRequest(
            deployment=deployment_name(self.id), page_size=min(limit or 1000, 1000)
        )
        while limit is None or len(jobs) < limit:
            answer = await self._connection.call(self._connection.jobs.ListJobs, request)
            jobs += [AsyncJob(self._connection, job_info(job)) for job in answer.jobs]
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        return jobs[:limit]


class AsyncDeployments:
    """A server's deployments: each user's own; an admin sees everybody's. `Client.deployments` gives one."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(
        self,
        model: AsyncModel | str,
        *,
        service_tag: str,
        stage: str,
        source: str | Path = "",
        out_path: str | Path = "",
        replace: bool = False,
        wait: bool = True,
        request_id: str = "",
    ) -> AsyncDeployment:
        """Deploy a model version to the runtimes with two tags, and return the deployment.

        A worker of the runtime opens the model; then the deployment is DEPLOYED. Where no runtime has the tags, or the model
        cannot be opened there, it is FAILED, and `info.reason` says why.

        Args:
            model: a registered model, its name (the newest version), or ``name@version``.
            service_tag: what the runtimes are meant for, for example ``cc-fraud``.
            stage: the environment, for example ``PROD``.
            source: what its jobs read where they do not say.
            out_path: where they publish where they do not say.
            replace: retire your other deployments of the same model, service tag and stage as soon as this one is DEPLOYED.
            wait: return only when it is no longer DEPLOYING.
            request_id: two calls with the same one make one deployment; empty: a new one.

        Raises:
            NotFoundError: the model version is not there.
        """
        request = deployment_service_pb2.CreateDeploymentRequest(
            model=model_name(model.id if isinstance(model, AsyncModel) else model),
            service_tag=service_tag,
            stage=stage,
            input=self._connection.server_path(source) if str(source) else "",
            output=self._connection.server_path(out_path) if str(out_path) else "",
            replace=replace,
            request_id=request_id or uuid.uuid4().hex,
        )
        answer = await self._connection.call(self._connection.deployments.CreateDeployment, request)
        made = AsyncDeployment(self._connection, deployment_info(answer))
        return await made.wait() if wait else made

    async def get(self, deployment: str) -> AsyncDeployment:
        """Return a deployment by its id."""
        request = deployment_service_pb2.GetDeploymentRequest(name=deployment_name(deployment))
        answer = await self._connection.call(self._connection.deployments.GetDeployment, request)
        return AsyncDeployment(self._connection, deployment_info(answer))

    async def list(
        self,
        model: str = "",
        *,
        state: DeploymentState | str | None = None,
        stage: str = "",
        service_tag: str = "",
    ) -> list[AsyncDeployment]:
        """Return deployments, newest first.

        Args:
            model: only those of this model, whatever its version; empty: of all.
            state: only those in this state, for example ``deployed``; None: in any.
            stage: only those at this stage.
            service_tag: only those with this service tag.
        """
        found: list[AsyncDeployment] = []
        request = deployment_service_pb2.ListDeploymentsRequest(
            model=model_name(model) if model else "",
            states=[] if state is None else [state_number(state)],
            stage=stage,
            service_tag=service_tag,
            page_size=1000,
        )
        while True:
            answer = await self._connection.call(self._connection.deployments.ListDeployments, request)
            found += [AsyncDeployment(self._connection, deployment_info(one)) for one in answer.deployments]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token
