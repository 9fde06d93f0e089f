# Generated from aio/connection.py by tools/generate.py. Change that file, not this one.
"""One connection to a server: its channel, its stubs, and what is done when nobody answers."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import grpc

from scorestream import transport
from scorestream.access import Access
from scorestream.retry import Patience
from scorestream.v1.cache_service_pb2_grpc import CacheServiceStub
from scorestream.v1.context_service_pb2_grpc import ContextServiceStub
from scorestream.v1.data_service_pb2_grpc import DataServiceStub
from scorestream.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from scorestream.v1.device_service_pb2_grpc import DeviceServiceStub
from scorestream.v1.engine_service_pb2_grpc import EngineServiceStub
from scorestream.v1.file_service_pb2_grpc import FileServiceStub
from scorestream.v1.fileref_service_pb2_grpc import FilerefServiceStub
from scorestream.v1.job_service_pb2_grpc import JobServiceStub
from scorestream.v1.library_service_pb2_grpc import LibraryServiceStub
from scorestream.v1.log_service_pb2_grpc import LogServiceStub
from scorestream.v1.model_service_pb2_grpc import ModelServiceStub
from scorestream.v1.option_service_pb2_grpc import OptionServiceStub
from scorestream.v1.process_service_pb2_grpc import ProcessServiceStub
from scorestream.v1.report_service_pb2_grpc import ReportServiceStub
from scorestream.v1.row_artifact_service_pb2_grpc import RowArtifactServiceStub
from scorestream.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from scorestream.v1.session_service_pb2_grpc import SessionServiceStub
from scorestream.v1.table_action_service_pb2_grpc import TableActionServiceStub
from scorestream.v1.table_service_pb2_grpc import TableServiceStub
from scorestream.v1.token_service_pb2_grpc import TokenServiceStub
from scorestream.v1.trace_service_pb2_grpc import TraceServiceStub
from scorestream.v1.variable_service_pb2_grpc import VariableServiceStub
from scorestream.wire import error_from_rpc, retry_delay


class Connection:
    """A channel and its stubs; every error that leaves it is a ScorestreamError.

    Args:
        address: ``host:port`` of the server.
        patience: seconds for which a call is tried again while no server answers.
        access: who this client is, and how it knows the server.
        files_from: directory that relative paths on the server are meant from; None: its data roots.
    """

    def __init__(
        self, address: str, access: Access, *, patience: float, files_from: Path | None = None
    ) -> None:
        self.address = address
        self.patience = patience
        self._files_from = files_from
        self.token = access.token
        self._metadata = access.metadata
        self._channel = transport.open_channel(address, access)
        self.sessions = SessionServiceStub(self._channel)
        self.jobs = JobServiceStub(self._channel)
        self.models = ModelServiceStub(self._channel)
        self.tables = TableServiceStub(self._channel)
        self.devices = DeviceServiceStub(self._channel)
        self.tokens = TokenServiceStub(self._channel)
        self.contexts = ContextServiceStub(self._channel)
        self.files = FileServiceStub(self._channel)
        self.filerefs = FilerefServiceStub(self._channel)
        self.data = DataServiceStub(self._channel)
        self.logs = LogServiceStub(self._channel)
        self.reports = ReportServiceStub(self._channel)
        self.variables = VariableServiceStub(self._channel)
        self.options = OptionServiceStub(self._channel)
        self.engines = EngineServiceStub(self._channel)
        self.cache = CacheServiceStub(self._channel)
        self.libraries = LibraryServiceStub(self._channel)
        self.table_actions = TableActionServiceStub(self._channel)
        self.row_artifacts = RowArtifactServiceStub(self._channel)
        self.processes = ProcessServiceStub(self._channel)
        self.schedules = ScheduleServiceStub(self._channel)
        self.deployments = DeploymentServiceStub(self._channel)
        self.traces = TraceServiceStub(self._channel)

    def server_path(self, path: str | Path) -> str:
        """Return a path as the server is to understand it."""
        if self._files_from is None or str(path).startswith(("home:", "fileref:")) or "://" in str(path):
            return str(path)
        return str(self._files_from / path)

    def call(self, method: Any, request: Any, *, repeat: bool = True) -> Any:
        """Make a call and return its answer.

        Args:
            method: a method of one of the stubs.
            request: its request.
            repeat: whether it may be made again when no server answers: true where a second call changes
                nothing more, because it only reads or carries a request id.
        """
        patience = Patience(self.patience if repeat else 0.0)
        while True:
            try:
                return method(request, metadata=self._metadata)
            except grpc.RpcError as error:
                pause = patience.pause(retry_delay(error))
                if pause is None:
                    raise error_from_rpc(error, self.address) from None
            transport.sleep(pause)

    def send(self, method: Any, messages: Callable[[], Iterator[Any]], *, repeat: bool) -> Any:
        """Send a stream of messages and return the answer.

        Args:
            method: a method of one of the stubs that takes a stream.
            messages: makes the messages, again from the beginning at each attempt.
            repeat: as in `call`.
        """
        patience = Patience(self.patience if repeat else 0.0)
        while True:
            try:
                return transport.upload(method, messages(), self._metadata)
            except grpc.RpcError as error:
                pause = patience.pause(retry_delay(error))
                if pause is None:
                    raise error_from_rpc(error, self.address) from None
            transport.sleep(pause)

    def stream(
        self,
        method: Any,
        request: Callable[[int], Any],
        position: Callable[[Any], int],
        start: int,
        timeout: Callable[[], float | None] = lambda: None,
    ) -> Generator[Any, None]:
        """Yield a stream's messages; after a broken connection it goes on behind the last one by itself.

        Args:
            method: a method of one of the stubs that answers with a stream.
            request: makes the request that begins at a position.
            position: the position behind a message.
            start: the position to begin at.
            timeout: seconds that are left for the stream; None: no limit.
        """
        patience = Patience(self.patience)
        while True:
            call = method(request(start), timeout=timeout(), metadata=self._metadata)
            try:
                for message in call:
                    start = position(message)
                    patience.succeeded()
                    yield message
            except grpc.RpcError as error:
                pause = patience.pause(retry_delay(error))
                if pause is None:
                    raise error_from_rpc(error, self.address) from None
            else:
                return
            finally:
                call.cancel()
            transport.sleep(pause)

    def converse(self, method: Any, requests: Iterator[Any]) -> Any:
        """Return the answers to a stream of requests as they come; what goes wrong is gRPC's own error."""
        return method(requests, metadata=self._metadata)

    def close(self) -> None:
        """Close the channel; what is in flight on it ends."""
        self._channel.close()
