"""The DeploymentService."""

import time
import uuid

import sqlalchemy as sa

from scorestream.v1 import (
    deployment_pb2,
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    table_service_pb2,
)
from scorestream_server.api import context_wire, convert, names, paging
from scorestream_server.api.auth import Context, owner_of, reach_of
from scorestream_server.api.jobs import submission_of
from scorestream_server.api.tables import TableService
from scorestream_server.contexts.rules import check_tag
from scorestream_server.domain.deployment import Deployment, DeploymentState
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.model_name import ModelName
from scorestream_server.domain.principal import Principal
from scorestream_server.domain.signal import check_pattern
from scorestream_server.engine.deployed import INPUT_TABLE, DeployedJobs, Load
from scorestream_server.engine.deployments import Deployer
from scorestream_server.store import deployments as deployment_store
from scorestream_server.store.database import Database

DEFAULT_WAIT = 30.0
LONGEST_WAIT = 600.0
LONGEST_PATH = 4096
_STATES = {
    deployment_pb2.DeploymentState.Value(f"DEPLOYMENT_STATE_{state.value}"): state
    for state in DeploymentState
}


def loader(tables: TableService) -> Load:
    """Return what loads the inputs of deployed jobs: as LoadTable does, for whoever wants the job."""

    async def load(principal: Principal, session_id: str, table_id: str, path: str, request_id: str) -> None:
        request = table_service_pb2.LoadTableRequest(
            session=f"sessions/{session_id}", table_id=table_id, paths=[path], request_id=request_id
        )
        await tables.LoadTable(request, Context(principal, "the server itself"))

    return load


class DeploymentService(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Deployments: made, listed, retired, and jobs made of them."""

    def __init__(self, database: Database, deployer: Deployer, jobs: DeployedJobs) -> None:
        self._database = database
        self._deployer = deployer
        self._jobs = jobs

    async def CreateDeployment(
        self, request: deployment_service_pb2.CreateDeploymentRequest, context: Context
    ) -> deployment_pb2.Deployment:
        """Deploy a model version."""
        faults, now = Faults(), time.time()
        model = ModelName("", 0)
        with faults.of("model"):
            model = names.model_name("model", request.model)
        with faults.of("service_tag"):
            check_tag("service_tag", request.service_tag)
        with faults.of("stage"):
            check_tag("stage", request.stage)
        for field in ("input", "output"):
            with faults.of(field):
                check_path(field, getattr(request, field))
        with faults.of("request_id"):
            names.check_request_id(request.request_id)
        faults.raise_any()
        wanted = Deployment(
            str(uuid.uuid4()),
            model.model_id,
            model.version,
            request.service_tag,
            request.stage,
            DeploymentState.DEPLOYING,
            owner_of(context),
            now,
            now,
            replace=request.replace,
            input=request.input,
            output=request.output,
        )
        return await self._told(await self._deployer.create(wanted, request.request_id, model.alias))

    async def GetDeployment(
        self, request: deployment_service_pb2.GetDeploymentRequest, context: Context
    ) -> deployment_pb2.Deployment:
        """Return one deployment."""
        return await self._get(request.name, context)

    async def WaitDeployment(
        self, request: deployment_service_pb2.WaitDeploymentRequest, context: Context
    ) -> deployment_pb2.Deployment:
        """Return a deployment that is no longer DEPLOYING, or as it is when the time is up."""
        seconds = (
            names.check_seconds("timeout", request.timeout, most=LONGEST_WAIT)
            if request.HasField("timeout")
            else DEFAULT_WAIT
        )
        await self._get(request.name, context)  # the caller's own
        await self._deployer.wait(deployment_id("name", request.name), seconds)
        return await self._get(request.name, context)

    async def ListDeployments(
        self, request: deployment_service_pb2.ListDeploymentsRequest, context: Context
    ) -> deployment_service_pb2.ListDeploymentsResponse:
        """List the caller's deployments, or, for an admin, everybody's."""
        limit, before = paging.size(request.page_size), paging.position(request.page_token)
        model_id = names.model_version("model", request.model)[0] if request.model else ""
        for state in request.states:
            if state not in _STATES:
                fault = FieldFault("states", f"{state} is none that this server knows")
                raise invalid("INVALID_STATE", f"states: {fault.description}.", [fault])
        states = {_STATES[state] for state in request.states}
        owner = reach_of(context)

        def read(connection: sa.Connection) -> tuple[list[Deployment], int, dict[str, int]]:
            found, more = deployment_store.page(
                connection,
                owner,
                model_id=model_id,
                states=states,
                stage=request.stage,
                service_tag=request.service_tag,
                before=before,
                limit=limit,
            )
            return found, more, deployment_store.running_jobs(connection, [one.id for one in found])

        found, more, running = await self._database.read(read)
        return deployment_service_pb2.ListDeploymentsResponse(
            deployments=[deployment(one, running[one.id]) for one in found],
            next_page_token=str(more) if more else "",
        )

    async def RetireDeployment(
        self, request: deployment_service_pb2.RetireDeploymentRequest, context: Context
    ) -> deployment_pb2.Deployment:
        """Have a deployment take no more jobs."""
        found = deployment_id("name", request.name)
        return await self._told(await self._deployer.retire(found, reach_of(context), cancel=request.cancel))

    async def CreateDeployedJob(
        self, request: deployment_service_pb2.CreateDeployedJobRequest, context: Context
    ) -> job_pb2.Job:
        """Create a job of a deployment."""
        faults, found = Faults(), ""
        with faults.of("deployment"):
            found = deployment_id("deployment", request.deployment)
        for field in ("input", "output"):
            with faults.of(field):
                check_path(field, getattr(request, field))
        with faults.of("spec"):
            _check_left_out(request.spec)
        faults.raise_any()
        # The rules are those of CreateJob; what the deployment says stands there for now.
        like = job_service_pb2.CreateJobRequest(
            session="sessions/deployed",
            display_name=request.display_name,
            spec=request.spec,
            request_id=request.request_id,
        )
        like.spec.model, like.spec.table, like.spec.out_path = "models/deployed", INPUT_TABLE, "output"
        asked = submission_of(like, owner_of(context))
        job = await self._jobs.run(
            context.principal, found, request.input, request.output, request.request_id, asked=asked
        )
        return convert.job(job)

    async def _get(self, name: str, context: Context) -> deployment_pb2.Deployment:
        found, owner = deployment_id("name", name), reach_of(context)
        return await self._told(
            await self._database.read(lambda connection: deployment_store.get(connection, found, owner))
        )

    async def _told(self, value: Deployment) -> deployment_pb2.Deployment:
        running = await self._database.read(
            lambda connection: deployment_store.running_jobs(connection, [value.id])
        )
        return deployment(value, running[value.id])


def deployment_id(field: str, name: str) -> str:
    """Take `deployments/{deployment}` apart."""
    return names.single_id(field, name, "deployments/{deployment}")


def deployment(value: Deployment, running_jobs: int) -> deployment_pb2.Deployment:
    """Return a deployment for the wire."""
    return deployment_pb2.Deployment(
        name=convert.deployment_name(value.id),
        model=convert.model_name(value.model_id, value.model_version),
        service_tag=value.service_tag,
        stage=value.stage,
        state=deployment_pb2.DeploymentState.Value(f"DEPLOYMENT_STATE_{value.state.value}"),
        context=context_wire.context_name(value.context) if value.context else "",
        reason=value.reason,
        owner=value.owner,
        create_time=convert.timestamp(value.create_time),
        update_time=convert.timestamp(value.update_time),
        input=value.input,
        output=value.output,
        running_jobs=running_jobs,
    )


def check_path(field: str, path: str) -> str:
    """Return where jobs read or write, if it can be a path; whether it is one is seen when it is used."""
    if len(path) > LONGEST_PATH or not path.isprintable():
        told = f"it is not printable, or longer than {LONGEST_PATH:,} characters"
        raise invalid("INVALID_PATH", f"{field}: {told}.", [FieldFault(field, told)])
    return check_pattern(field, path)


def _check_left_out(spec: job_pb2.JobSpec) -> None:
    """Refuse what the deployment says."""
    said = [field for field in ("model", "table") if getattr(spec, field)]
    said += [field for field in ("out_table", "out_path") if spec.HasField(field)]
    if said:
        faults = [FieldFault(f"spec.{field}", "the deployment and the request say it") for field in said]
        shown = ", ".join(fault.field for fault in faults)
        told = "must not be set: the deployment says the model, and the request's input and output the rest"
        raise invalid("NOT_OF_A_DEPLOYED_JOB", f"{shown} {told}.", faults)
