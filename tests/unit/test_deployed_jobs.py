"""Jobs of deployments over a real store and engine: one job a request, whatever comes in between."""

import asyncio
import time
from collections import Counter
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
from scorestream_server.domain.job import Job, State
from scorestream_server.domain.principal import Principal, Role
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.deployed import DeployedJobs
from scorestream_server.engine.kept import KeptVersions
from scorestream_server.engine.new_sessions import SessionMaker
from scorestream_server.engine.runtimes import Runtimes
from scorestream_server.engine.sessions import SessionEnder
from scorestream_server.engine.table_use import TableUse
from scorestream_server.store import deployments, sessions, tables
from scorestream_server.store import jobs as job_store
from scorestream_server.store.contexts import ContextStore

ME = Principal("me", Role.USER)
DEPLOYED = Deployment("d1", "twice", 1, "cc-fraud", "PROD", DeploymentState.DEPLOYED, "me", 1.0, 1.0)
TAGGED = ContextSettings(service_tags=("cc-fraud",), stage_tags=("PROD",))


@dataclass(eq=False)
class Scene:
    """A server's part that makes jobs of deployments; how its loads go is a test's choice.

    Attributes:
        missing: paths that are not there.
        gate: loads wait for it.
        loading: set when one waits.
    """

    bench: Bench
    loads: list[tuple[str, str]] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    loading: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.settings = {"default": TAGGED}
        self.start()

    def start(self) -> None:
        """Make the part, as a server does that starts."""
        bench = self.bench
        contexts = ContextStore(
            {name: built_in(name, says, "a test") for name, says in self.settings.items()}
        )
        cache = TableCache(
            Config(bench.directory.root, None), bench.directory, bench.database, bench.pool, TableUse()
        )
        pool: Any = bench.pool
        self.ender = SessionEnder(
            bench.database,
            bench.engine,
            pool,
            bench.directory,
            cache,
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

    async def load(self, who: Principal, session_id: str, table_id: str, path: str, request_id: str) -> None:
        """Give a session the rows of the bench, once a session."""
        assert who == ME
        self.loads.append((session_id, request_id))
        self.loading.set()
        await self.gate.wait()
        if path in self.missing:
            raise not_found("FILE_NOT_FOUND", f"There is no file {path!r}.")

        def make(connection: sa.Connection) -> None:
            known = tables.of_session(connection, session_id)
            if not known:
                rows = tables.by_uid(connection, "table-uid")
                made = replace(rows, uid=f"uid-{session_id}", session_id=session_id, table_id=table_id)
                tables.put(connection, made, replace=False)

        await self.bench.database.write(make)

    async def run(self, request_id: str = "", path: str = "/in.parquet", process_id: str = "") -> Job:
        return await self.jobs.run(
            ME, "d1", path, str(self.bench.folder / "out.parquet"), request_id, process_id
        )

    async def sessions(self) -> list[Session]:
        """Return all sessions that were made of deployments, the oldest first."""
        found = await self.bench.database.read(
            lambda connection: sessions.in_state(connection, list(SessionState))
        )
        return [one for one in found if one.labels]

    async def made(self) -> list[Job]:
        found, _ = await self.bench.database.read(
            lambda connection: job_store.page(
                connection, "me", session_id="", before=0, limit=100, deployment="d1"
            )
        )
        return found


@pytest_asyncio.fixture
async def scene(bench: Bench) -> AsyncIterator[Scene]:
    await bench.database.write(lambda connection: deployments.create(connection, DEPLOYED, ""))
    made = Scene(bench)
    yield made
    await made.jobs.close()
    await made.ender.close()


async def test_a_job_of_a_deployment_says_whose_it_is_and_publishes(scene: Scene) -> None:
    """It scores with the deployed version, in a session of its own that times out, and knows deployment and process."""
    job = await scene.bench.finished(await scene.run("r1", process_id="p1"))
    assert job.state is State.SUCCEEDED
    assert (job.deployment, job.process, job.spec.model_id, job.spec.model_version) == (
        "d1",
        "p1",
        "twice",
        1,
    )
    assert job.outputs == (str(scene.bench.folder / "out.parquet"),)
    (session,) = await scene.sessions()
    assert (session.id, session.context, session.labels) == (job.session_id, "default", {"deployment": "d1"})
    assert session.inactive_timeout == 900
    assert session.state is SessionState.ACTIVE


async def test_a_request_that_comes_twice_makes_one_job(scene: Scene) -> None:
    """At the same time, and again when it is done."""
    scene.gate.clear()
    first, second = asyncio.create_task(scene.run("r1")), asyncio.create_task(scene.run("r1"))
    await scene.loading.wait()
    scene.gate.set()
    ids = {(await first).id, (await second).id, (await scene.run("r1")).id}
    assert len(ids) == len(scene.loads) == len(await scene.sessions()) == 1


async def test_a_client_that_hangs_up_leaves_a_job(scene: Scene) -> None:
    """What was begun is done, and a request that is repeated finds it."""
    scene.gate.clear()
    hangs_up = asyncio.create_task(scene.run("r1"))
    await scene.loading.wait()
    hangs_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hangs_up
    scene.gate.set()
    job = await scene.run("r1")
    assert [one.id for one in await scene.made()] == [job.id]
    assert len(scene.loads) == 1


async def test_after_a_crash_a_repeated_request_goes_on_where_it_was(scene: Scene) -> None:
    """The session that was made before is used, its table loaded under the same id, and one job made."""
    scene.gate.clear()
    lost = asyncio.create_task(scene.run("r1"))
    await scene.loading.wait()
    await scene.jobs.close()  # nothing after this step happens, as when the server dies
    with pytest.raises(asyncio.CancelledError):
        await lost
    assert await scene.made() == []
    scene.gate.set()
    scene.start()
    job = await scene.run("r1")
    assert [one.id for one in await scene.sessions()] == [job.session_id]
    assert scene.loads == [(job.session_id, f"{job.session_id}-input")] * 2
    assert [one.id for one in await scene.made()] == [job.id]


async def test_a_request_that_failed_may_be_repeated(scene: Scene) -> None:
    """Its session ended with the reason; the same request makes a new one, and its one job, once the input is there."""
    scene.missing.add("/in.parquet")
    with pytest.raises(ScorestreamError, match=r"no file '/in\.parquet'"):
        await scene.run("r1")
    (failed,) = await scene.sessions()
    assert failed.state is SessionState.ENDED
    assert "its job was not made: There is no file '/in.parquet'." in failed.end_reason
    scene.missing.clear()
    job = await scene.run("r1")
    assert job.session_id != failed.id
    assert (await scene.run("r1")).id == job.id


async def test_jobs_spread_over_the_runtimes_with_their_tags(scene: Scene) -> None:
    """Each goes where least is to do, those counted whose input is being loaded; loads that failed count no more."""
    scene.settings = dict.fromkeys(("default", "b", "c"), TAGGED) | {"d": ContextSettings()}
    scene.start()
    scene.missing.add("/no.parquet")
    for _ in range(3):
        with pytest.raises(ScorestreamError):
            await scene.run(path="/no.parquet")
    scene.bench.pool.hold.update(range(100))  # nothing ends meanwhile
    outputs = [str(scene.bench.folder / f"out{number}.parquet") for number in range(6)]
    jobs = await asyncio.gather(*(scene.jobs.run(ME, "d1", "/in.parquet", output, "") for output in outputs))
    assert Counter(job.spec.context for job in jobs) == {"default": 2, "b": 2, "c": 2}
    for job in jobs:
        await scene.bench.engine.cancel(job.id)


async def test_without_a_runtime_the_missing_tags_are_told_and_nothing_is_made(scene: Scene) -> None:
    """The matching is anew for each job: a runtime that lost a tag since the deployment is none."""
    scene.settings = {"default": replace(TAGGED, stage_tags=("DEV",))}
    scene.start()
    with pytest.raises(ScorestreamError, match="No runtime has stage 'PROD'") as caught:
        await scene.run("r1")
    assert (caught.value.code.value, caught.value.reason) == ("FAILED_PRECONDITION", "NO_RUNTIME")
    assert caught.value.metadata["missing"] == "stage 'PROD'"
    assert await scene.sessions() == []


async def test_a_deployment_that_is_retired_while_the_input_is_loaded_gets_no_job(scene: Scene) -> None:
    """The last look is in the transaction that would record the job."""
    scene.gate.clear()
    late = asyncio.create_task(scene.run("r1"))
    await scene.loading.wait()
    retired = replace(DEPLOYED, state=DeploymentState.RETIRED, reason="replaced by deployment d2")
    await scene.bench.database.write(lambda connection: deployments.put(connection, retired))
    scene.gate.set()
    with pytest.raises(ScorestreamError, match=r"it is RETIRED \(replaced by deployment d2\)"):
        await late
    assert await scene.made() == []


async def test_the_one_deployment_with_the_tags_is_found(scene: Scene) -> None:
    """None is told with the stages or tags that there are; two are both named; those of others are not there."""
    assert (await scene.jobs.find(ME, "cc-fraud", "PROD")).id == "d1"
    for principal, tag, stage, told in (
        (ME, "cc-fraud", "UAT", "at stage 'UAT', but at PROD"),
        (ME, "cc-frod", "PROD", "service tag 'cc-frod'; did you mean 'cc-fraud'?"),
        (
            Principal("you", Role.ADMIN),
            "cc-fraud",
            "PROD",
            "No model is deployed with service tag 'cc-fraud'.",
        ),
    ):
        with pytest.raises(ScorestreamError) as caught:
            await scene.jobs.find(principal, tag, stage)
        assert caught.value.reason == "NO_DEPLOYMENT"
        assert told in caught.value.message
    other = replace(DEPLOYED, id="d2", create_time=time.time())
    await scene.bench.database.write(lambda connection: deployments.create(connection, other, ""))
    with pytest.raises(
        ScorestreamError, match=r"d1 \(twice, version 1\) and d2 \(twice, version 1\)"
    ) as caught:
        await scene.jobs.find(ME, "cc-fraud", "PROD")
    assert caught.value.reason == "AMBIGUOUS_DEPLOYMENT"


@pytest.mark.parametrize(
    ("source", "output", "told"),
    [
        ("", "/out.parquet", "input: missing"),
        ("/in.parquet", "", "output: missing"),
        ("home:in.parquet", "/out.parquet", "a deployed job has one of its own"),
        ("/in.parquet", "s3://bucket/out.parquet", "is not on the server"),
    ],
)
async def test_paths_that_cannot_be_are_refused_before_anything_is_made(
    scene: Scene, source: str, output: str, told: str
) -> None:
    with pytest.raises(ScorestreamError, match=told) as caught:
        await scene.jobs.run(ME, "d1", source, output, "")
    assert caught.value.reason == "INVALID_PATH"
    assert await scene.sessions() == []
