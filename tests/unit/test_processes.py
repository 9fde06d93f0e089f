"""Processes over a real store and engine: one job each, whatever comes in between."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from engine_bench import Bench
from scorestream_server.config import Config
from scorestream_server.domain.context import ContextSettings, built_in
from scorestream_server.domain.deployment import Deployment, DeploymentState
from scorestream_server.domain.errors import ScorestreamError, not_found
from scorestream_server.domain.job import Failure
from scorestream_server.domain.principal import LOCAL, Principal
from scorestream_server.domain.process import Incident, IncidentState, Process, ProcessState, Step
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.deployed import DeployedJobs
from scorestream_server.engine.kept import KeptVersions
from scorestream_server.engine.new_sessions import SessionMaker
from scorestream_server.engine.processes import Processes
from scorestream_server.engine.runtimes import Runtimes
from scorestream_server.engine.sessions import SessionEnder
from scorestream_server.engine.table_use import TableUse
from scorestream_server.store import deployments, tables
from scorestream_server.store import jobs as job_store
from scorestream_server.store import processes as process_store
from scorestream_server.store.contexts import ContextStore

DEPLOYED = Deployment(
    "d1", "twice", 1, "cc-fraud", "PROD", DeploymentState.DEPLOYED, "local", 1.0, 1.0, input="/in.parquet"
)
TAGGED = ContextSettings(service_tags=("cc-fraud",), stage_tags=("PROD",))


def process() -> Process:
    return Process(
        str(uuid.uuid4()),
        "local",
        "a signal",
        {"TAG": "cc-fraud", "MODEL_STAGE": "PROD"},
        "2026-11-22",
        ProcessState.RUNNING,
        time.time(),
    )


@dataclass(eq=False)
class Scene:
    """A server's part that carries out processes; loads wait for `gate`, and fail where the input is `missing`."""

    bench: Bench
    missing: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    loading: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        bench = self.bench
        config, pool = Config(bench.directory.root, None), bench.pool
        used: Any = pool
        contexts = ContextStore({"default": built_in("default", TAGGED, "a test")})
        self.ender = SessionEnder(
            bench.database,
            bench.engine,
            used,
            bench.directory,
            TableCache(config, bench.directory, bench.database, pool, TableUse()),
            KeptVersions(bench.database, bench.directory),
        )
        self.jobs = DeployedJobs(
            bench.database,
            bench.engine,
            Runtimes(bench.database, contexts, bench.engine),
            SessionMaker(contexts, bench.engine.queues, 100, 0.0),
            self.ender,
            bench.submitter,
            self.load,
        )
        self.processes = Processes(config, bench.database, bench.engine, self.jobs)

    async def load(self, _who: Principal, session_id: str, table_id: str, _path: str, _request: str) -> None:
        """Give a session the rows of the bench."""
        self.loading.set()
        await self.gate.wait()
        if self.missing:
            raise not_found("FILE_NOT_FOUND", "There is no file '/in.parquet'.")

        def make(connection: sa.Connection) -> None:
            rows = tables.by_uid(connection, "table-uid")
            made = replace(rows, uid=f"uid-{session_id}", session_id=session_id, table_id=table_id)
            tables.put(connection, made, replace=False)

        await self.bench.database.write(make)

    async def start(self) -> Process:
        return await self.processes.start(process(), "")

    async def wait(self, process_id: str) -> Process:
        return await self.processes.wait(process_id, None, 60.0, for_job=False)

    async def made(self) -> list[str]:
        """Return the processes of all jobs that were made."""
        found, _ = await self.bench.database.read(
            lambda connection: job_store.page(
                connection, None, session_id="", before=0, limit=100, deployment="d1"
            )
        )
        return [job.process for job in found]


@pytest_asyncio.fixture
async def scene(bench: Bench) -> AsyncIterator[Scene]:
    deployment = replace(DEPLOYED, output=str(bench.folder / "out-{process}.parquet"))
    await bench.database.write(lambda connection: deployments.create(connection, deployment, ""))
    made = Scene(bench)
    yield made
    await made.processes.close()
    await made.jobs.close()
    await made.ender.close()


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_job_that_the_last_run_made_is_the_processs_own(scene: Scene, *, stopped: bool) -> None:
    """A kill between the job and the note of it: the next run finds it, also where a retry of an incident had made it."""
    one = process()
    incident = Incident(
        "i1",
        one.id,
        "local",
        Step.JOB,
        Failure("NOT_FOUND", "FILE_NOT_FOUND", "There is no file."),
        IncidentState.OPEN,
        1.0,
        1.0,
    )

    def write(connection: sa.Connection) -> None:
        process_store.create(connection, one, "")
        if stopped:
            process_store.put_incident(connection, incident)
            process_store.update(connection, replace(one, incident_id="i1"))

    await scene.bench.database.write(write)
    job = await scene.jobs.run(LOCAL, "d1", "", "", f"process-{one.id}", one.id)
    assert await scene.processes.recover() == 1
    if stopped:  # a retry that comes now goes along with what is under way
        assert (await scene.processes.retry("i1", None, "me")).state is IncidentState.RESOLVED
    found = await scene.wait(one.id)
    assert (found.state, found.job_id, found.deployment_id) == (ProcessState.COMPLETED, job.id, "d1")
    assert await scene.made() == [one.id]


async def test_a_process_at_an_incident_waits_through_a_restart(scene: Scene) -> None:
    """The next run does not try it by itself."""
    scene.missing = True
    stopped = await scene.wait((await scene.start()).id)
    assert stopped.incident_id
    again = Processes(
        Config(scene.bench.directory.root, None), scene.bench.database, scene.bench.engine, scene.jobs
    )
    assert await again.recover() == 0
    assert await scene.made() == []


async def test_retries_at_the_same_time_are_one_step(scene: Scene) -> None:
    """Both are told that it went well, and there is one job; nobody resolves what is being tried."""
    scene.missing = True
    stopped = await scene.wait((await scene.start()).id)
    incident, scene.missing = stopped.incident_id, False
    scene.gate.clear()
    scene.loading.clear()
    retries = [asyncio.create_task(scene.processes.retry(incident, None, name)) for name in ("me", "you")]
    await scene.loading.wait()
    with pytest.raises(ScorestreamError) as caught:
        await scene.processes.resolve(incident, None, "me", "by hand")
    assert caught.value.reason == "INCIDENT_BUSY"
    scene.gate.set()
    first, second = await asyncio.gather(*retries)
    assert first == second
    assert (first.state, first.attempts) == (IncidentState.RESOLVED, 2)
    assert (await scene.wait(stopped.id)).state is ProcessState.COMPLETED
    assert await scene.made() == [stopped.id]
    for step in (
        scene.processes.retry(incident, None, "me"),
        scene.processes.resolve(incident, None, "me", "x"),
    ):
        with pytest.raises(ScorestreamError) as caught:
            await step
        assert caught.value.reason == "INCIDENT_RESOLVED"


async def test_a_cancelled_job_cancels_its_process(scene: Scene) -> None:
    """As the job says."""
    started = await scene.start()
    found = await scene.processes.wait(started.id, None, 60.0, for_job=True)
    await scene.bench.engine.cancel(found.job_id)
    ended = await scene.wait(started.id)
    assert ended.state in {ProcessState.CANCELLED, ProcessState.COMPLETED}  # the job may have been quicker
    job = await scene.bench.database.read(lambda connection: process_store.job(connection, found.job_id))
    assert (ended.state is ProcessState.CANCELLED) == (job.state == "CANCELLED")
