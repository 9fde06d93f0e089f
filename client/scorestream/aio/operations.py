"""What a client has for operations: deployments, signals, and traces of what belongs together."""

from scorestream.deployment_records import Trace
from scorestream.deployment_wire import trace_of
from scorestream.v1 import trace_service_pb2

from .connection import AsyncConnection
from .deployments import AsyncDeployments
from .processes import AsyncProcesses
from .schedules import AsyncSchedules


class AsyncOperations:
    """Deployments, processes, schedules, and what belongs together."""

    _connection: AsyncConnection

    @property
    def deployments(self) -> AsyncDeployments:
        """The deployments of models to runtimes."""
        return AsyncDeployments(self._connection)

    @property
    def processes(self) -> AsyncProcesses:
        """Processes, which signals start, and their incidents."""
        return AsyncProcesses(self._connection)

    @property
    def schedules(self) -> AsyncSchedules:
        """Signals that are sent by the clock."""
        return AsyncSchedules(self._connection)

    async def trace(self, id: str) -> Trace:  # noqa: A002 - it is what users call it
        """Return all that leads to something and all that came of it: signal to process, deployment, runtime, session, job, output.

        Args:
            id: of a process, a deployment, a session or a job.

        Raises:
            NotFoundError: nothing of yours has this id.
        """
        request = trace_service_pb2.GetTraceRequest(id=id)
        return trace_of(await self._connection.call(self._connection.traces.GetTrace, request))
