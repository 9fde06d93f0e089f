"""Processes: what signals ask for, carried out one step after another, on through restarts."""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import sqlalchemy as sa

from scorestream_server.config import Config
from scorestream_server.domain.disk import StorageError
from scorestream_server.domain.errors import ErrorCode, ScorestreamError, precondition
from scorestream_server.domain.job import Failure
from scorestream_server.domain.principal import Principal
from scorestream_server.domain.process import (
    STATE_OF_JOB,
    Incident,
    IncidentState,
    Process,
    ProcessState,
    Step,
)
from scorestream_server.engine.deployed import DeployedJobs
from scorestream_server.engine.ends import failure_of
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.standing import standing
from scorestream_server.store import processes as process_store
from scorestream_server.store import tokens as token_store
from scorestream_server.store.database import Database

logger = logging.getLogger(__name__)

STORE_RETRY_SECONDS = 5.0
"""A process that cannot be written down is written down as soon as the disk takes it."""
Check = Callable[[sa.Connection, Process], None]


class Processes:
    """Carries out processes. What a client was told of one is in the store; a restart goes on from there.

    Args:
        config: who may call, for those in whose name processes run by themselves.
        database: the store.
        engine: which says when jobs are final.
        runner: makes the jobs of deployments.
    """

    def __init__(self, config: Config, database: Database, engine: Engine, runner: DeployedJobs) -> None:
        self._config = config
        self._database = database
        self._engine = engine
        self._runner = runner
        self._steps: dict[str, asyncio.Task[None]] = {}
        self._follows: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}

    async def recover(self) -> int:
        """Go on with the processes that the last run did not finish; return how many there are.

        One that waits for its incident goes on only where its job was made after all.
        """

        def read(connection: sa.Connection) -> list[tuple[Process, str]]:
            running = process_store.running(connection)
            return [(found, process_store.first_job(connection, found.id)) for found in running]

        going_on = 0
        for process, job_id in await self._database.read(read):
            if job_id or not process.incident_id:
                self._carry_on(process.id)
                going_on += 1
        return going_on

    async def start(self, process: Process, request_id: str, note: Check | None = None) -> Process:
        """Record a process and carry it out; the answer of a repeated request is the process of then.

        Args:
            process: which.
            request_id: of the request that asks for it.
            note: what else is written in the same transaction, where the process is a new one.

        Raises:
            ScorestreamError: its owner has too many.
        """

        def create(connection: sa.Connection) -> Process:
            made = process_store.create(connection, process, request_id)
            if note is not None and made.id == process.id:
                note(connection, made)
            return made

        # Shielded: a client that hangs up must not leave a process that is recorded, and that nobody carries out.
        return await asyncio.shield(self._created(self._database.write(create), process.id))

    async def wait(self, process_id: str, owner: str | None, seconds: float, *, for_job: bool) -> Process:
        """Return a process once it is final, or has an incident, or, where asked for, a job; or when the time is up.

        Raises:
            ScorestreamError: NOT_FOUND.
        """
        with self._heard(process_id) as change, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    change.clear()
                    found = await self._get(process_id, owner)
                    if found.state.final or found.incident_id or (for_job and found.job_id):
                        return found
                    await change.wait()
        return await self._get(process_id, owner)

    async def retry(self, incident_id: str, owner: str | None, by: str) -> Incident:
        """Try the step of an open incident again, and return the incident as it is then.

        Args:
            incident_id: which.
            owner: whose it has to be; None: whoever's.
            by: who asks.

        Raises:
            ScorestreamError: NOT_FOUND; FAILED_PRECONDITION, where it is resolved.
        """
        found = await self._database.read(
            lambda connection: process_store.incident(connection, incident_id, owner)
        )
        process_store.require_open(found)
        await asyncio.shield(self._carry_on(found.process_id, by))
        return await self._database.read(
            lambda connection: process_store.incident(connection, incident_id, owner)
        )

    async def resolve(self, incident_id: str, owner: str | None, by: str, note: str) -> Incident:
        """Close an open incident without another try, which ends its process CANCELLED.

        Raises:
            ScorestreamError: NOT_FOUND; FAILED_PRECONDITION, where it is resolved, or is being tried again.
        """
        found = await self._database.read(
            lambda connection: process_store.incident(connection, incident_id, owner)
        )
        process_store.require_open(found)
        process_id = found.process_id
        if process_id in self._steps:
            raise precondition(
                "INCIDENT_BUSY",
                f"Incident {incident_id!r} is being tried again at this moment; look at it again then.",
                incident=incident_id,
            )
        # As a step of its own, so that nobody tries the other one meanwhile.
        task = self._steps[process_id] = asyncio.create_task(self._resolved(found, by, note))
        task.add_done_callback(lambda done: self._over(self._steps, process_id, done))
        await asyncio.shield(task)
        return await self._database.read(
            lambda connection: process_store.incident(connection, incident_id, owner)
        )

    async def close(self) -> None:
        """Stop; the next server goes on with what was begun."""
        tasks = [*self._steps.values(), *self._follows.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- the steps ----------------------------------------------------------------------------------------

    async def _created(self, write: Awaitable[Process], process_id: str) -> Process:
        made = await write
        if made.id == process_id:
            self._carry_on(made.id)
        return made

    def _carry_on(self, process_id: str, retried_by: str = "") -> asyncio.Task[None]:
        """Take the steps of a process up to its job; where that is under way, it is gone along with."""
        task = self._steps.get(process_id)
        if task is None:
            task = self._steps[process_id] = asyncio.create_task(self._to_job(process_id, retried_by))
            task.add_done_callback(lambda done: self._over(self._steps, process_id, done))
        return task

    async def _to_job(self, process_id: str, retried_by: str) -> None:
        """Bring a process to its job, or to an incident that says why there is none."""
        process = await self._get(process_id, None)
        step = Step.IDENTITY
        try:
            known = await self._database.read(
                lambda connection: process_store.first_job(connection, process_id)
            )
            if not known:
                principal = await self._principal(process.owner)
                step = Step.MATCHING
                tag, stage = process.variables["TAG"], process.variables["MODEL_STAGE"]
                deployment = await self._runner.find(principal, tag, stage)
                step = Step.JOB
                job = await self._runner.run(
                    principal,
                    deployment.id,
                    process.variables.get("INPUT", ""),
                    process.variables.get("OUTPUT", ""),
                    f"process-{process.id}",
                    process.id,
                    day=process.day,
                )
                known = job.id
        except (ScorestreamError, StorageError, OSError) as error:
            await self._stopped(process, step, _told(error), retried_by)
            return
        except Exception as error:
            logger.exception("a step of process %s failed", process_id)
            await self._stopped(process, step, _told(error), retried_by)
            return
        await self._begun(process, known, retried_by)

    async def _principal(self, owner: str) -> Principal:
        def read(connection: sa.Connection) -> Principal | None:
            tokens, exist = token_store.of_principal(connection, owner), token_store.exist(connection)
            return standing(self._config, owner, tokens, time.time(), any_exist=exist)

        principal = await self._database.read(read)
        if principal is None:
            raise ScorestreamError(
                ErrorCode.UNAUTHENTICATED,
                "OWNER_GONE",
                f"{owner!r}, in whose name this runs, may not call this server any more: no token of theirs is good. An "
                f"admin makes a new one with: scorestream token create {owner}; then try again.",
            )
        return principal

    async def _resolved(self, incident: Incident, by: str, note: str) -> None:
        """Close an incident, and end its process."""
        now = time.time()

        def close(connection: sa.Connection) -> None:
            found = process_store.incident(connection, incident.id, None)
            process_store.require_open(found)
            closed = replace(found, state=IncidentState.RESOLVED, end_time=now, resolved_by=by, note=note)
            process = process_store.get(connection, found.process_id, None)
            process_store.put_incident(connection, closed)
            process_store.update(
                connection,
                replace(
                    process,
                    state=ProcessState.CANCELLED,
                    incident_id="",
                    end_time=now,
                    failure=found.failure,
                ),
            )

        await self._database.write(close)
        self._tell(incident.process_id)

    async def _begun(self, process: Process, job_id: str, retried_by: str) -> None:
        """Note the job of a process, and follow it; an incident that was open is resolved."""
        now = time.time()

        def note(connection: sa.Connection) -> None:
            found = process_store.get(connection, process.id, None)
            job = process_store.job(connection, job_id)
            if found.incident_id:
                incident = process_store.incident(connection, found.incident_id, None)
                resolved = replace(
                    incident,
                    state=IncidentState.RESOLVED,
                    end_time=now,
                    attempts=incident.attempts + 1,
                    resolved_by=retried_by or process.owner,
                    note="The step was tried again, and went well.",
                )
                process_store.put_incident(connection, resolved)
            begun = replace(found, job_id=job_id, deployment_id=job.deployment, incident_id="")
            process_store.update(connection, begun)

        await self._written(note)
        self._tell(process.id)
        follow = self._follows[process.id] = asyncio.create_task(self._follow(process.id, job_id))
        follow.add_done_callback(lambda done: self._over(self._follows, process.id, done))

    async def _stopped(self, process: Process, step: Step, failure: Failure, retried_by: str) -> None:
        """Note why a process has no job; of an incident that is open, that it happened again."""
        now = time.time()

        def note(connection: sa.Connection) -> None:
            found = process_store.get(connection, process.id, None)
            if found.incident_id:
                before = process_store.incident(connection, found.incident_id, None)
                again = before.attempts + bool(retried_by)
                incident = replace(before, type=step, failure=failure, time=now, attempts=again)
            else:
                incident = Incident(
                    str(uuid.uuid4()),
                    process.id,
                    process.owner,
                    step,
                    failure,
                    IncidentState.OPEN,
                    now,
                    now,
                )
            process_store.put_incident(connection, incident)
            process_store.update(connection, replace(found, incident_id=incident.id))

        await self._written(note)
        self._tell(process.id)

    async def _follow(self, process_id: str, job_id: str) -> None:
        """End a process when its job is final."""
        active = self._engine.jobs.get(job_id)
        if active is not None:
            await active.finished.wait()

        def end(connection: sa.Connection) -> None:
            found = process_store.get(connection, process_id, None)
            job = process_store.job(connection, job_id)
            if not found.state.final and job.state.final:
                state = STATE_OF_JOB[job.state]
                process_store.update(
                    connection, replace(found, state=state, end_time=job.end_time, failure=job.failure)
                )

        await self._written(end)
        self._tell(process_id)

    async def _written(self, operation: Callable[[sa.Connection], None]) -> None:
        """Write what must be written, as soon as the disk takes it."""
        while True:
            try:
                return await self._database.write(operation)
            except StorageError as error:
                logger.error("a process cannot be written down; trying again: %s", error)  # noqa: TRY400
            await asyncio.sleep(STORE_RETRY_SECONDS)

    async def _get(self, process_id: str, owner: str | None) -> Process:
        return await self._database.read(lambda connection: process_store.get(connection, process_id, owner))

    @contextlib.contextmanager
    def _heard(self, process_id: str) -> Iterator[asyncio.Event]:
        """Yield what is set whenever a process has changed."""
        change = asyncio.Event()
        waiting = self._waiting.setdefault(process_id, set())
        waiting.add(change)
        try:
            yield change
        finally:
            waiting.discard(change)
            if not waiting:
                self._waiting.pop(process_id, None)

    def _tell(self, process_id: str) -> None:
        for change in self._waiting.get(process_id, ()):
            change.set()

    def _over(self, tasks: dict[str, asyncio.Task[None]], process_id: str, done: asyncio.Task[None]) -> None:
        del tasks[process_id]
        if not done.cancelled() and done.exception() is not None:
            logger.error("process %s cannot go on", process_id, exc_info=done.exception())


def _told(error: Exception) -> Failure:
    if isinstance(error, ScorestreamError):
        return failure_of(error)
    return Failure(
        ErrorCode.INTERNAL.value, "UNEXPECTED_FAULT", f"The server met an unexpected fault: {error}"
    )
