"""The SessionService."""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration

from scorestream.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from scorestream_server.api import context_wire, convert, names, paging, status
from scorestream_server.api.auth import Context, owner_of, reach_of
from scorestream_server.domain.context import DEFAULT_CONTEXT
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.event import EventType
from scorestream_server.domain.job import Job
from scorestream_server.domain.session import Session, SessionState, require_active
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.engine.new_sessions import DEFAULT_WEIGHT, SessionMaker, SessionWish
from scorestream_server.engine.sessions import SessionEnder
from scorestream_server.feed import Feed, Selection
from scorestream_server.store import jobs as job_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database

LARGEST_WEIGHT = 1000
MOST_SESSIONS_NAMED = 1000
CHANGEABLE = {"inactive_timeout", "labels"}
"""What UpdateSession takes."""
DEFAULT_LEASE = 30.0
LONGEST_LEASE = 3600.0
"""Seconds."""


class SessionService(session_service_pb2_grpc.SessionServiceServicer):
    """Sessions: made, listed, followed, ended."""

    def __init__(
        self,
        database: Database,
        feed: Feed,
        engine: Engine,
        ender: SessionEnder,
        expiry: SessionExpiry,
        maker: SessionMaker,
    ) -> None:
        self._maker = maker
        self._database = database
        self._feed = feed
        self._engine = engine
        self._ender = ender
        self._expiry = expiry

    async def CreateSession(
        self, request: session_service_pb2.CreateSessionRequest, context: Context
    ) -> session_pb2.Session:
        """Create a session."""
        session_id, now = str(uuid.uuid4()), time.time()
        name = request.display_name or f"session-{session_id[:8]}"
        names.check_display_name("display_name", name)
        names.check_request_id(request.request_id)
        weight = request.weight or DEFAULT_WEIGHT
        if not 1 <= weight <= LARGEST_WEIGHT:
            fault = FieldFault("weight", f"{weight} is not from 1 to {LARGEST_WEIGHT}")
            raise invalid("INVALID_WEIGHT", f"weight: {fault.description}.", [fault])
        timeout = None
        if request.HasField("inactive_timeout"):
            timeout = _inactive_timeout("inactive_timeout", request.inactive_timeout)
        labels = names.check_labels("labels", request.labels)
        context_id = context_wire.context_id(
            "context", request.context or context_wire.context_name(DEFAULT_CONTEXT)
        )
        queue = self._engine.queues.check("queue", request.queue)

        wish = SessionWish(
            session_id, name, owner_of(context), context_id, queue, now, weight, timeout, labels
        )
        made = await self._database.write(
            lambda connection: self._maker.make(connection, wish, request.request_id)
        )
        if made.state is SessionState.ACTIVE:
            # Now and not with its first job: a worker starts while tables and models are brought.
            self._engine.contexts.join(made.id, made.context)
        return convert.session(made)

    async def GetSession(
        self, request: session_service_pb2.GetSessionRequest, context: Context
    ) -> session_pb2.Session:
        """Return one session."""
        return convert.session(await self._get(request.name, context))

    async def ListSessions(
        self, request: session_service_pb2.ListSessionsRequest, context: Context
    ) -> session_service_pb2.ListSessionsResponse:
        """List the caller's sessions, or, for an admin, everybody's."""
        limit, after = paging.size(request.page_size), paging.position(request.page_token)
        labels = names.check_labels("labels", request.labels)
        sessions, more = await self._database.read(
            lambda connection: session_store.page(
                connection,
                reach_of(context),
                prefix=request.display_name_prefix,
                labels=labels,
                include_ended=request.include_ended,
                after=after,
                limit=limit,
            )
        )
        return session_service_pb2.ListSessionsResponse(
            sessions=map(convert.session, sessions), next_page_token=str(more) if more else ""
        )

    async def UpdateSession(
        self, request: session_service_pb2.UpdateSessionRequest, context: Context
    ) -> session_pb2.Session:
        """Change what a client may change of a session."""
        session_id, reach = names.session_id("session.name", request.session.name), reach_of(context)
        paths = set(request.update_mask.paths) or CHANGEABLE
        if unknown := sorted(paths - CHANGEABLE):
            faults = [FieldFault("update_mask", f"{path!r} cannot be changed") for path in unknown]
            known = ", ".join(sorted(CHANGEABLE))
            message = f"update_mask: {', '.join(map(repr, unknown))} cannot be changed; these can: {known}."
            raise invalid("NOT_CHANGEABLE", message, faults)
        timeout, labels = None, {}
        if "inactive_timeout" in paths:
            timeout = _inactive_timeout("session.inactive_timeout", request.session.inactive_timeout)
        if "labels" in paths:
            labels = names.check_labels("session.labels", request.session.labels)

        def update(connection: sa.Connection) -> Session:
            session = session_store.get(connection, session_id, reach)
            require_active(session)
            changed = replace(session, last_active_time=time.time())
            if "inactive_timeout" in paths:
                settings = self._maker.contexts.get(connection, session.context).settings
                default = settings.session_inactive_timeout
                changed = replace(changed, inactive_timeout=default if timeout is None else timeout)
            if "labels" in paths:
                changed = replace(changed, labels=labels)
            session_store.update(connection, changed)
            return session_store.get(connection, session_id, reach)

        return convert.session(await self._database.write(update))

    async def GetSessionStatistics(
        self, request: session_service_pb2.GetSessionStatisticsRequest, context: Context
    ) -> session_pb2.SessionStatistics:
        """Return what the jobs of a session took together."""
        session = await self._get(request.name, context)
        found = await self._database.read(lambda connection: session_store.statistics(connection, session.id))
        return convert.session_statistics(found)

    async def KeepSessionAlive(
        self, requests: AsyncIterator[session_service_pb2.KeepSessionAliveRequest], context: Context
    ) -> AsyncIterator[session_service_pb2.KeepSessionAliveResponse]:
        """Keep a session alive for as long as its client says so."""
        lease, held = object(), ""
        try:
            async for request in requests:
                ttl = DEFAULT_LEASE
                if request.HasField("ttl"):
                    ttl = names.check_seconds("ttl", request.ttl, least=1.0, most=LONGEST_LEASE)
                session = await self._get(request.name, context)
                require_active(session)
                if held and held != session.id:
                    fault = FieldFault("name", "another session than before")
                    raise invalid("OTHER_SESSION", "name: one stream keeps one session alive.", [fault])
                held = session.id
                self._expiry.hold(held, lease, time.time() + ttl)
                yield session_service_pb2.KeepSessionAliveResponse(ttl=convert.duration(ttl))
        finally:
            self._expiry.let_go(held, lease)

    async def TerminateSession(
        self, request: session_service_pb2.TerminateSessionRequest, context: Context
    ) -> session_pb2.Session:
        """End a session."""
        session = await self._get(request.name, context)
        cancel = request.cancel or request.force
        why = f"terminated by a client{', its jobs cancelled' if cancel else ''}"
        return convert.session(await self._ender.end(session, cancel=cancel, force=request.force, why=why))

    async def GetStatus(
        self, request: session_service_pb2.GetStatusRequest, context: Context
    ) -> session_service_pb2.GetStatusResponse:
        """Return a status row for each job of many sessions."""
        owner, ids = reach_of(context), _session_ids(request.sessions)

        def read(connection: sa.Connection) -> tuple[list[Session], list[Job]]:
            if ids:
                sessions = [session_store.get(connection, session_id, owner) for session_id in ids]
            else:
                sessions = session_store.all_of(connection, owner, request.display_name_prefix)
            return sessions, job_store.of_sessions(connection, [session.id for session in sessions])

        sessions, jobs = await self._database.read(read)
        rows = status.rows(sessions, jobs, self._engine.jobs, self._engine.why_waiting, time.time())
        return session_service_pb2.GetStatusResponse(rows=rows)

    async def WatchSessions(
        self, request: session_service_pb2.WatchSessionsRequest, context: Context
    ) -> AsyncIterator[session_service_pb2.WatchSessionsResponse]:
        """Stream the events of many sessions."""
        owner, ids = reach_of(context), _session_ids(request.sessions)

        def read(connection: sa.Connection) -> set[str]:
            for session_id in ids:
                session_store.get(connection, session_id, owner)
            return job_store.open_ids(connection, owner, ids, request.display_name_prefix)

        selection = Selection(owner, ids, request.display_name_prefix)
        # What is open now is asked for first: a job that ends after this sends its event to the stream.
        open_jobs = await self._database.read(read)
        async with contextlib.aclosing(self._feed.follow(selection, request.after)) as batches:
            async for events in batches:
                if events:
                    yield session_service_pb2.WatchSessionsResponse(events=map(convert.event, events))
                elif request.until_final and not open_jobs:
                    return
                for event in events:
                    if event.type is EventType.JOB_CREATED:
                        open_jobs.add(event.job_id)
                    if event.state is not None and event.state.final:
                        open_jobs.discard(event.job_id)

    async def _get(self, name: str, context: Context) -> Session:
        session_id, owner = names.session_id("name", name), reach_of(context)
        session = await self._database.read(
            lambda connection: session_store.get(connection, session_id, owner)
        )
        self._expiry.seen(session_id)
        return session


def _inactive_timeout(field: str, asked: Duration) -> float | None:
    """Return seconds by the Compute API's rule: negative is as the context says (None), 0 never."""
    if asked.seconds < 0 or asked.nanos < 0:
        return None
    return names.check_seconds(field, asked)


def _session_ids(resource_names: Sequence[str]) -> tuple[str, ...]:
    if len(resource_names) > MOST_SESSIONS_NAMED:
        raise invalid(
            "TOO_MANY_SESSIONS",
            f"{len(resource_names)} sessions are named, at most {MOST_SESSIONS_NAMED} can be; use a prefix.",
            [FieldFault("sessions", "too many")],
        )
    return tuple(names.session_id("sessions", name) for name in resource_names)
