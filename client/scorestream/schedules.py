# Generated from aio/schedules.py by tools/generate.py. Change that file, not this one.
"""Schedules: signals that are sent by the clock."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scorestream.errors import InvalidArgumentError
from scorestream.process_records import Missed, ScheduleInfo
from scorestream.process_wire import (
    missed_number,
    process_info,
    schedule_info,
    schedule_name,
    signal_document,
)
from scorestream.v1 import schedule_pb2, schedule_service_pb2

from .connection import Connection
from .processes import Process


class Schedules:
    """The schedules of a server that are yours. `Client.schedules` gives it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        name: str,
        cron: str,
        signal: Path | bytes | str | Mapping[str, Any],
        *,
        time_zone: str = "UTC",
        missed: str = Missed.ONCE,
    ) -> ScheduleInfo:
        """Create a schedule; its first run is the first time that is due from now on.

        Args:
            name: 1 to 63 letters, digits or ``_ . -``.
            cron: minute, hour, day of month, month, day of week, by the rules of Debian's cron: a fixed time of day that
                daylight saving leaves out is due once, when the clock has been put forward; one in the hour that comes
                twice is due once, the first time. Where minute or hour begin with ``*``, they follow real time.
            signal: as in `Processes.trigger`.
            time_zone: that it is meant in, for example ``Europe/Berlin``.
            missed: what is done about runs that were due while no server was there: ``once`` or ``skip``.

        Raises:
            AlreadyExistsError: there is one of that name.
            InvalidArgumentError: expression, time zone or signal are none; all faults are named.
        """
        if missed.upper() not in Missed.__members__:
            raise InvalidArgumentError(f"missed is once or skip, not {missed!r}.", reason="BAD_SCHEDULE")
        request = schedule_service_pb2.CreateScheduleRequest(
            schedule_id=name,
            schedule=schedule_pb2.Schedule(
                cron=cron,
                time_zone=time_zone,
                signal=signal_document(signal),
                missed=missed_number(missed),
            ),
            request_id=uuid.uuid4().hex,
        )
        return schedule_info(self._connection.call(self._connection.schedules.CreateSchedule, request))

    def get(self, name: str) -> ScheduleInfo:
        """Return a schedule."""
        request = schedule_service_pb2.GetScheduleRequest(name=schedule_name(name))
        return schedule_info(self._connection.call(self._connection.schedules.GetSchedule, request))

    def list(self) -> list[ScheduleInfo]:
        """Return all schedules by name."""
        found: list[ScheduleInfo] = []
        request = schedule_service_pb2.ListSchedulesRequest(page_size=1000)
        while True:
            answer = self._connection.call(self._connection.schedules.ListSchedules, request)
            found += map(schedule_info, answer.schedules)
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def pause(self, name: str) -> ScheduleInfo:
        """Have a schedule run no more by itself; what is due meanwhile is not run later."""
        request = schedule_service_pb2.PauseScheduleRequest(name=schedule_name(name))
        return schedule_info(self._connection.call(self._connection.schedules.PauseSchedule, request))

    def resume(self, name: str) -> ScheduleInfo:
        """Have a paused schedule run again, from the next due time on."""
        request = schedule_service_pb2.ResumeScheduleRequest(name=schedule_name(name))
        return schedule_info(self._connection.call(self._connection.schedules.ResumeSchedule, request))

    def delete(self, name: str) -> None:
        """Delete a schedule; its processes stay."""
        request = schedule_service_pb2.DeleteScheduleRequest(name=schedule_name(name))
        self._connection.call(self._connection.schedules.DeleteSchedule, request, repeat=False)

    def run(self, name: str) -> Process:
        """Send a schedule's signal now, paused or not, and return the process that it starts."""
        request = schedule_service_pb2.RunScheduleRequest(
            name=schedule_name(name), request_id=uuid.uuid4().hex
        )
        answer = self._connection.call(self._connection.schedules.RunSchedule, request)
        return Process(self._connection, process_info(answer))
