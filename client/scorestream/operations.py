# Generated from aio/operations.py by tools/generate.py. Change that file, not this one.
"""What operations need of a client: processes and schedules."""

from .connection import Connection
from .processes import Processes
from .schedules import Schedules


class Operations:
    """The part of a client that is about signals; `AsyncClient` is one."""

    _connection: Connection

    @property
    def processes(self) -> Processes:
        """Processes, which signals start, and their incidents."""
        return Processes(self._connection)

    @property
    def schedules(self) -> Schedules:
        """Signals that are sent by the clock."""
        return Schedules(self._connection)
