"""What operations need of a client: processes and schedules."""

from .connection import AsyncConnection
from .processes import AsyncProcesses
from .schedules import AsyncSchedules


class AsyncOperations:
    """The part of a client that is about signals; `AsyncClient` is one."""

    _connection: AsyncConnection

    @property
    def processes(self) -> AsyncProcesses:
        """Processes, which signals start, and their incidents."""
        return AsyncProcesses(self._connection)

    @property
    def schedules(self) -> AsyncSchedules:
        """Signals that are sent by the clock."""
        return AsyncSchedules(self._connection)
