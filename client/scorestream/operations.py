# Generated from aio/operations.py by tools/generate.py. Change that file, not this one.
"""What a client has for operations: deployments, signals, and traces of what belongs together."""

from scorestream.deployment_records import Trace
from scorestream.deployment_wire import trace_of
from scorestream.v1 import trace_service_pb2

from .connection import Connection
from .deployments import Deployments
from .processes import Processes
from .schedules import Schedules


class Operations:
    """Deployments, processes, schedules, and what belongs together."""

    _connection: Connection

    @property
    def deployments(self) -> Deployments:
        """The deployments of models to runtimes."""
        return Deployments(self._connection)

    @property
    def processes(self) -> Processes:
        """Processes, which signals start, and their incidents."""
        return Processes(self._connection)

    @property
    def schedules(self) -> Schedules:
        """Signals that are sent by the clock."""
        return Schedules(self._connection)

    def trace(self, id: str) -> Trace:  # noqa: A002 - it is what users call it
        """Return all that leads to something and all that came of it: signal to process, deployment, runtime, session, job, output.

        Args:
            id: of a process, a deployment, a session or a job.

        Raises:
            NotFoundError: nothing of yours has this id.
        """
        request = trace_service_pb2.GetTraceRequest(id=id)
        return trace_of(self._connection.call(self._connection.traces.GetTrace, request))
