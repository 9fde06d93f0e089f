"""The ProcessService."""

import time
import uuid

import sqlalchemy as sa

from scorestream.v1 import process_pb2, process_service_pb2, process_service_pb2_grpc
from scorestream_server.api import names, paging, process_wire
from scorestream_server.api.auth import Context, owner_of, reach_of
from scorestream_server.domain.cron import day_in
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.process import Incident, Process, ProcessState
from scorestream_server.domain.signal import parse
from scorestream_server.engine.processes import Processes
from scorestream_server.store import processes as process_store
from scorestream_server.store.database import Database

DEFAULT_WAIT = 30.0
LONGEST_WAIT = 600.0
"""Seconds; a call that waits for longer is cut by whatever lies between client and server."""
LONGEST_NOTE = 1000


class ProcessService(process_service_pb2_grpc.ProcessServiceServicer):
    """Processes: triggered, followed; their incidents: listed, retried, resolved."""

    def __init__(self, database: Database, processes: Processes) -> None:
        self._database = database
        self._processes = processes

    async def Trigger(
        self, request: process_service_pb2.TriggerRequest, context: Context
    ) -> process_pb2.Process:
        """Start a process."""
        request_id = names.check_request_id(request.request_id)
        signal, now = parse(request.signal), time.time()
        process = Process(
            id=str(uuid.uuid4()),
            owner=owner_of(context),
            signal=signal.name,
            variables=signal.variables,
            day=day_in("UTC", now),
            state=ProcessState.RUNNING,
            create_time=now,
        )
        return process_wire.process(await self._processes.start(process, request_id))

    async def GetProcess(
        self, request: process_service_pb2.GetProcessRequest, context: Context
    ) -> process_pb2.Process:
        """Return one process."""
        process_id, reach = process_wire.process_id("name", request.name), reach_of(context)
        found = await self._database.read(lambda connection: process_store.get(connection, process_id, reach))
        return process_wire.process(found)

    async def ListProcesses(
        self, request: process_service_pb2.ListProcessesRequest, context: Context
    ) -> process_service_pb2.ListProcessesResponse:
        """List the caller's processes, or, for an admin, everybody's."""
        limit, before = paging.size(request.page_size), paging.position(request.page_token)
        state, reach = process_wire.process_state(request.state), reach_of(context)
        schedule = process_wire.schedule_id("schedule", request.schedule) if request.schedule else ""
        found, more = await self._database.read(
            lambda connection: process_store.page(
                connection, reach, state=state, schedule_id=schedule, before=before, limit=limit
            )
        )
        return process_service_pb2.ListProcessesResponse(
            processes=map(process_wire.process, found), next_page_token=str(more) if more else ""
        )

    async def WaitProcess(
        self, request: process_service_pb2.WaitProcessRequest, context: Context
    ) -> process_pb2.Process:
        """Return a process when it is final or has an incident, or the time is up."""
        process_id = process_wire.process_id("name", request.name)
        seconds = (
            names.check_seconds("timeout", request.timeout, most=LONGEST_WAIT)
            if request.HasField("timeout")
            else DEFAULT_WAIT
        )
        found = await self._processes.wait(process_id, reach_of(context), seconds, for_job=request.until_job)
        return process_wire.process(found)

    async def GetIncident(
        self, request: process_service_pb2.GetIncidentRequest, context: Context
    ) -> process_pb2.Incident:
        """Return one incident."""
        incident_id, reach = process_wire.incident_id("name", request.name), reach_of(context)
        found = await self._database.read(
            lambda connection: process_store.incident(connection, incident_id, reach)
        )
        return process_wire.incident(found)

    async def ListIncidents(
        self, request: process_service_pb2.ListIncidentsRequest, context: Context
    ) -> process_service_pb2.ListIncidentsResponse:
        """List the incidents of the caller's processes, or, for an admin, of everybody's."""
        limit, before = paging.size(request.page_size), paging.position(request.page_token)
        state, reach = process_wire.incident_state(request.state), reach_of(context)
        process_id = process_wire.process_id("process", request.process) if request.process else ""

        def read(connection: sa.Connection) -> tuple[list[Incident], int]:
            if process_id:
                process_store.get(connection, process_id, reach)
            return process_store.incidents(
                connection, reach, process_id=process_id, state=state, before=before, limit=limit
            )

        found, more = await self._database.read(read)
        return process_service_pb2.ListIncidentsResponse(
            incidents=map(process_wire.incident, found), next_page_token=str(more) if more else ""
        )

    async def RetryIncident(
        self, request: process_service_pb2.RetryIncidentRequest, context: Context
    ) -> process_pb2.Incident:
        """Try the step of an incident again."""
        incident_id = process_wire.incident_id("name", request.name)
        return process_wire.incident(
            await self._processes.retry(incident_id, reach_of(context), owner_of(context))
        )

    async def ResolveIncident(
        self, request: process_service_pb2.ResolveIncidentRequest, context: Context
    ) -> process_pb2.Incident:
        """Close an incident, and end its process."""
        incident_id = process_wire.incident_id("name", request.name)
        note = request.note.strip()
        if not note or len(note) > LONGEST_NOTE or not note.isprintable():
            description = f"say why in 1 to {LONGEST_NOTE:,} characters that can be printed"
            raise invalid("BAD_NOTE", f"note: {description}.", [FieldFault("note", description)])
        found = await self._processes.resolve(incident_id, reach_of(context), owner_of(context), note)
        return process_wire.incident(found)
