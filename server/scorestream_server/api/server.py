"""The gRPC server: every service of ours, health and reflection, behind the interceptors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from scorestream.v1 import (
    cache_service_pb2,
    cache_service_pb2_grpc,
    context_service_pb2,
    context_service_pb2_grpc,
    data_service_pb2,
    data_service_pb2_grpc,
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    device_service_pb2,
    device_service_pb2_grpc,
    engine_service_pb2,
    engine_service_pb2_grpc,
    file_service_pb2,
    file_service_pb2_grpc,
    fileref_service_pb2,
    fileref_service_pb2_grpc,
    job_service_pb2,
    job_service_pb2_grpc,
    library_service_pb2,
    library_service_pb2_grpc,
    log_service_pb2,
    log_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    option_service_pb2,
    option_service_pb2_grpc,
    process_service_pb2,
    process_service_pb2_grpc,
    report_service_pb2,
    report_service_pb2_grpc,
    row_artifact_service_pb2,
    row_artifact_service_pb2_grpc,
    schedule_service_pb2,
    schedule_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
    table_action_service_pb2,
    table_action_service_pb2_grpc,
    table_service_pb2,
    table_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
    trace_service_pb2,
    trace_service_pb2_grpc,
    variable_service_pb2,
    variable_service_pb2_grpc,
)
from scorestream_server.api.cache import CacheService
from scorestream_server.api.contexts import ContextService
from scorestream_server.api.data import DataService
from scorestream_server.api.deployments import DeploymentService
from scorestream_server.api.devices import DeviceService
from scorestream_server.api.engines import EngineService
from scorestream_server.api.errors import ErrorInterceptor
from scorestream_server.api.filerefs import FilerefService
from scorestream_server.api.files import FileService
from scorestream_server.api.gate import Gate
from scorestream_server.api.guard import Guard
from scorestream_server.api.identity import Identifier
from scorestream_server.api.jobs import JobService
from scorestream_server.api.libraries import LibraryService
from scorestream_server.api.log import LogService
from scorestream_server.api.models import ModelService
from scorestream_server.api.options import OptionService
from scorestream_server.api.processes import ProcessService
from scorestream_server.api.reports import ReportService
from scorestream_server.api.row_artifacts import RowArtifactService
from scorestream_server.api.schedules import ScheduleService
from scorestream_server.api.sessions import SessionService
from scorestream_server.api.table_actions import TableActionService
from scorestream_server.api.tables import TableService
from scorestream_server.api.tls import private_key
from scorestream_server.api.tokens import TokenService
from scorestream_server.api.trace import TraceService
from scorestream_server.api.variables import VariableService
from scorestream_server.config import Config

HARD_LIMIT = 4
"""Times the message limit: what is larger, gRPC itself refuses before it is read into memory."""

SERVICES: Sequence[Any] = [
    module.DESCRIPTOR.services_by_name[name]
    for module, name in (
        (session_service_pb2, "SessionService"),
        (job_service_pb2, "JobService"),
        (table_service_pb2, "TableService"),
        (model_service_pb2, "ModelService"),
        (device_service_pb2, "DeviceService"),
        (token_service_pb2, "TokenService"),
        (context_service_pb2, "ContextService"),
        (file_service_pb2, "FileService"),
        (fileref_service_pb2, "FilerefService"),
        (data_service_pb2, "DataService"),
        (log_service_pb2, "LogService"),
        (report_service_pb2, "ReportService"),
        (variable_service_pb2, "VariableService"),
        (option_service_pb2, "OptionService"),
        (engine_service_pb2, "EngineService"),
        (cache_service_pb2, "CacheService"),
        (library_service_pb2, "LibraryService"),
        (table_action_service_pb2, "TableActionService"),
        (row_artifact_service_pb2, "RowArtifactService"),
        (deployment_service_pb2, "DeploymentService"),
        (process_service_pb2, "ProcessService"),
        (schedule_service_pb2, "ScheduleService"),
        (trace_service_pb2, "TraceService"),
    )
]


@dataclass(frozen=True, slots=True)
class Servicers:
    """One of each."""

    sessions: SessionService
    jobs: JobService
    tables: TableService
    models: ModelService
    devices: DeviceService
    tokens: TokenService
    contexts: ContextService
    files: FileService
    filerefs: FilerefService
    data: DataService
    log: LogService
    reports: ReportService
    variables: VariableService
    options: OptionService
    engines: EngineService
    cache: CacheService
    libraries: LibraryService
    table_actions: TableActionService
    row_artifacts: RowArtifactService
    deployments: DeploymentService
    processes: ProcessService
    schedules: ScheduleService
    trace: TraceService


class GrpcServer:
    """Listens, and says through `grpc.health.v1` whether it serves."""

    def __init__(self, config: Config, servicers: Servicers, identifier: Identifier) -> None:
        self._config = config
        self._gate = Gate(config.limits.all_calls)
        self._server = grpc.aio.server(
            interceptors=[
                ErrorInterceptor(config.max_message_bytes),
                self._gate,
                Guard(identifier, config.limits),
            ],
            options=[
                ("grpc.max_receive_message_length", HARD_LIMIT * config.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(servicers.sessions, self._server)
        job_service_pb2_grpc.add_JobServiceServicer_to_server(servicers.jobs, self._server)
        table_service_pb2_grpc.add_TableServiceServicer_to_server(servicers.tables, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicers.models, self._server)
        device_service_pb2_grpc.add_DeviceServiceServicer_to_server(servicers.devices, self._server)
        token_service_pb2_grpc.add_TokenServiceServicer_to_server(servicers.tokens, self._server)
        context_service_pb2_grpc.add_ContextServiceServicer_to_server(servicers.contexts, self._server)
        file_service_pb2_grpc.add_FileServiceServicer_to_server(servicers.files, self._server)
        fileref_service_pb2_grpc.add_FilerefServiceServicer_to_server(servicers.filerefs, self._server)
        data_service_pb2_grpc.add_DataServiceServicer_to_server(servicers.data, self._server)
        log_service_pb2_grpc.add_LogServiceServicer_to_server(servicers.log, self._server)
        report_service_pb2_grpc.add_ReportServiceServicer_to_server(servicers.reports, self._server)
        variable_service_pb2_grpc.add_VariableServiceServicer_to_server(servicers.variables, self._server)
        option_service_pb2_grpc.add_OptionServiceServicer_to_server(servicers.options, self._server)
        engine_service_pb2_grpc.add_EngineServiceServicer_to_server(servicers.engines, self._server)
        cache_service_pb2_grpc.add_CacheServiceServicer_to_server(servicers.cache, self._server)
        library_service_pb2_grpc.add_LibraryServiceServicer_to_server(servicers.libraries, self._server)
        table_action_service_pb2_grpc.add_TableActionServiceServicer_to_server(
            servicers.table_actions, self._server
        )
        row_artifact_service_pb2_grpc.add_RowArtifactServiceServicer_to_server(
            servicers.row_artifacts, self._server
        )
        deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(
            servicers.deployments, self._server
        )
        process_service_pb2_grpc.add_ProcessServiceServicer_to_server(servicers.processes, self._server)
        schedule_service_pb2_grpc.add_ScheduleServiceServicer_to_server(servicers.schedules, self._server)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicers.trace, self._server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names = [service.full_name for service in SERVICES]
        reflected = [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(reflected, self._server)

    async def start(self) -> str:
        """Begin to serve and return the address.

        Raises:
            OSError: the address cannot be used.
        """
        wanted = f"{self._config.host}:{self._config.port}"
        try:
            port = self._add_port(wanted)
        except RuntimeError as error:
            message = (
                f"cannot listen on {wanted}: is another server running there? (--port 0 takes a free port)"
            )
            raise OSError(message) from error
        await self._server.start()
        await self._say(health_pb2.HealthCheckResponse.SERVING)
        return f"{self._config.host}:{port}"

    def _add_port(self, wanted: str) -> int:
        pair = private_key(self._config)
        if pair is None:
            return int(self._server.add_insecure_port(wanted))
        ca = self._config.tls_client_ca
        credentials = grpc.ssl_server_credentials(
            [pair],
            root_certificates=ca.read_bytes() if ca else None,
            require_client_auth=ca is not None,
        )
        return int(self._server.add_secure_port(wanted, credentials))

    async def close_gate(self) -> None:
        """Take no new calls and end streams, so that clients come back to the next server; go on listening."""
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._gate.close()

    async def stop(self, grace_seconds: float) -> None:
        """Let go of whoever still waits, and end, within the time given."""
        await self.close_gate()
        self._gate.let_go()
        await self._server.stop(grace_seconds)

    async def _say(self, status: Any) -> None:
        for name in ("", *self._names):
            await self._health.set(name, status)
