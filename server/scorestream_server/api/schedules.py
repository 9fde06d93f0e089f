"""The ScheduleService."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa

from scorestream.v1 import process_pb2, schedule_pb2, schedule_service_pb2, schedule_service_pb2_grpc
from scorestream_server.api import names, paging, process_wire
from scorestream_server.api.auth import Context, owner_of, reach_of
from scorestream_server.contexts.rules import check_name, is_name
from scorestream_server.domain import cron
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.schedule import Schedule
from scorestream_server.domain.signal import parse
from scorestream_server.engine.schedules import Schedules
from scorestream_server.store import schedules as schedule_store
from scorestream_server.store.database import Database


class ScheduleService(schedule_service_pb2_grpc.ScheduleServiceServicer):
    """Schedules: made, listed, paused, resumed, deleted, run at once."""

    def __init__(self, database: Database, schedules: Schedules) -> None:
        self._database = database
        self._schedules = schedules

    async def CreateSchedule(
        self, request: schedule_service_pb2.CreateScheduleRequest, context: Context
    ) -> schedule_pb2.Schedule:
        """Create a schedule."""
        request_id = names.check_request_id(request.request_id)
        schedule_id = check_name("schedule_id", request.schedule_id)
        # In a thread: it looks at the machine's time zones.
        wanted = await asyncio.to_thread(_checked, schedule_id, request.schedule, owner_of(context))
        made = await self._database.write(
            lambda connection: schedule_store.create(connection, wanted, request_id)
        )
        self._schedules.changed()
        return process_wire.schedule(made)

    async def GetSchedule(
        self, request: schedule_service_pb2.GetScheduleRequest, context: Context
    ) -> schedule_pb2.Schedule:
        """Return one schedule."""
        return process_wire.schedule(await self._get(request.name, context))

    async def ListSchedules(
        self, request: schedule_service_pb2.ListSchedulesRequest, context: Context
    ) -> schedule_service_pb2.ListSchedulesResponse:
        """List the caller's schedules, or, for an admin, everybody's."""
        limit, after, reach = paging.size(request.page_size), request.page_token, reach_of(context)
        if after and not is_name(after):
            raise paging.bad_token()
        found, more = await self._database.read(
            lambda connection: schedule_store.page(connection, reach, after=after, limit=limit)
        )
        # In a thread: what is due next is found by looking at one day after another.
        shown = await asyncio.to_thread(lambda: [process_wire.schedule(one) for one in found])
        return schedule_service_pb2.ListSchedulesResponse(
            schedules=shown, next_page_token=found[-1].id if more else ""
        )

    async def PauseSchedule(
        self, request: schedule_service_pb2.PauseScheduleRequest, context: Context
    ) -> schedule_pb2.Schedule:
        """Have a schedule run no more by itself."""
        return await self._changed(request.name, context, lambda found: replace(found, paused=True))

    async def ResumeSchedule(
        self, request: schedule_service_pb2.ResumeScheduleRequest, context: Context
    ) -> schedule_pb2.Schedule:
        """Have a paused schedule run again."""

        def resumed(found: Schedule) -> Schedule:
            now = max(time.time(), found.handled_until)
            return replace(found, paused=False, handled_until=now) if found.paused else found

        return await self._changed(request.name, context, resumed)

    async def DeleteSchedule(
        self, request: schedule_service_pb2.DeleteScheduleRequest, context: Context
    ) -> schedule_service_pb2.DeleteScheduleResponse:
        """Delete a schedule."""
        schedule_id, reach = process_wire.schedule_id("name", request.name), reach_of(context)

        def delete(connection: sa.Connection) -> None:
            schedule_store.get(connection, schedule_id, reach)
            schedule_store.delete(connection, schedule_id)

        await self._database.write(delete)
        return schedule_service_pb2.DeleteScheduleResponse()

    async def RunSchedule(
        self, request: schedule_service_pb2.RunScheduleRequest, context: Context
    ) -> process_pb2.Process:
        """Send a schedule's signal now."""
        request_id = names.check_request_id(request.request_id)
        found = await self._get(request.name, context)
        return process_wire.process(await self._schedules.run(found, request_id))

    async def _changed(
        self, name: str, context: Context, change: Callable[[Schedule], Schedule]
    ) -> schedule_pb2.Schedule:
        schedule_id, reach = process_wire.schedule_id("name", name), reach_of(context)

        def write(connection: sa.Connection) -> Schedule:
            made = change(schedule_store.get(connection, schedule_id, reach))
            schedule_store.update(connection, made)
            return made

        made = await self._database.write(write)
        self._schedules.changed()
        return process_wire.schedule(made)

    async def _get(self, name: str, context: Context) -> Schedule:
        schedule_id, reach = process_wire.schedule_id("name", name), reach_of(context)
        return await self._database.read(
            lambda connection: schedule_store.get(connection, schedule_id, reach)
        )


def _checked(schedule_id: str, given: schedule_pb2.Schedule, owner: str) -> Schedule:
    """Return the schedule that a client asks for, all of its faults told at once."""
    faults = Faults()
    with faults.of("schedule"):
        due = cron.checked(given.cron, given.time_zone)
    with faults.of("schedule.signal"):
        parse(given.signal)
    with faults.of("schedule.missed"):
        missed = process_wire.missed(given.missed)
    faults.raise_any()
    now = time.time()
    return Schedule(schedule_id, owner, due, given.signal.decode("utf-8-sig"), missed, False, now, now)
