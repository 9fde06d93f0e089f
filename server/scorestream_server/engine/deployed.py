"""Jobs of deployments: matched to a runtime, a session made there, the input loaded, the job submitted.

Each step is found again by the id of the request: a request that is repeated after a crash goes on where it was, and
makes one job. A session without a job, which a crash can leave, ends by its timeout.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import sqlalchemy as sa

from scorestream_server.domain.context import DEFAULT_INACTIVE_TIMEOUT
from scorestream_server.domain.cron import day_in
from scorestream_server.domain.deployment import Deployment, DeploymentState, near_tag
from scorestream_server.domain.errors import (
    ErrorCode,
    FieldFault,
    ScorestreamError,
    invalid,
    precondition,
)
from scorestream_server.domain.job import Job
from scorestream_server.domain.principal import Principal
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.domain.signal import filled
from scorestream_server.domain.submission import Submission
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.new_sessions import SessionMaker, SessionWish
from scorestream_server.engine.runtimes import Runtimes
from scorestream_server.engine.sessions import SessionEnder
from scorestream_server.engine.submit import Submitter
from scorestream_server.store import deployments as deployment_store
from scorestream_server.store import jobs as job_store
from scorestream_server.store import requests
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database
from scorestream_server.tables.uris import is_uri, local_path

INPUT_TABLE = "input"
_LONGEST_NAME = 128
Load = Callable[[Principal, str, str, str, str], Awaitable[None]]
"""Makes a table: for whom, in which session, its name, of which path, by which request id."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A job that is wanted."""

    principal: Principal
    deployment: Deployment
    input: str
    asked: Submission


class DeployedJobs:
    """Makes jobs of deployments; used on the event loop only.

    Args:
        database: the store.
        engine: whose jobs are followed to their ends.
        runtimes: find one.
        maker: of sessions.
        ender: ends those whose job did not come about.
        submitter: of jobs.
        load: of inputs.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        runtimes: Runtimes,
        maker: SessionMaker,
        ender: SessionEnder,
        submitter: Submitter,
        load: Load,
    ) -> None:
        self._database = database
        self._engine = engine
        self._runtimes = runtimes
        self._maker = maker
        self._ender = ender
        self._submitter = submitter
        self._load = load
        self._runs: dict[tuple[str, str], asyncio.Task[Job]] = {}
        self._followed: set[asyncio.Task[None]] = set()

    async def run(
        self,
        principal: Principal,
        deployment_id: str,
        input_path: str,
        output_path: str,
        request_id: str,
        process_id: str = "",
        asked: Submission | None = None,
        day: str = "",
    ) -> Job:
        """Make a job that scores an input with a deployment's model, and return it as soon as it is recorded.

        The answer of a repeated request is the job of then. When the job is final, its session gives its worker back; its
        rows, log and report can be read until the session ends, by its context's `session_inactive_timeout` or, where
        that is never, after 15 minutes. What was published stays.

        Args:
            principal: for whom; the deployment's owner.
            deployment_id: which.
            input_path: path below a data root or URI; empty: the deployment's own.
            output_path: where the result is published; empty: the deployment's own.
            request_id: of the request; empty: it is not repeated.
            process_id: what the job belongs to; empty for nothing.
            asked: what else is asked of the job; model, table, session and output are not looked at.
            day: `{date}` of input and output, as 2026-11-22; empty: today in UTC. Their `{process}` is the process's id,
                or, where there is none, the job's.

        Raises:
            ScorestreamError: FAILED_PRECONDITION, NO_RUNTIME, where none has its tags now, NOT_DEPLOYED, where it takes no
                jobs; what loading the input and submitting the job refuse.
        """
        found = await self._database.read(
            lambda connection: job_store.find_request(connection, principal.name, request_id)
        )
        if found is not None:
            return found
        key = (principal.name, request_id or str(uuid.uuid4()))
        task = self._runs.get(key)
        if task is None:
            deployment = await self._deployment(principal, deployment_id)
            submission = asked or plain(principal.name)
            belongs_to, day = process_id or submission.job_id, day or day_in("UTC", time.time())
            reads = filled(input_path or deployment.input, belongs_to, day)
            writes = filled(output_path or deployment.output, belongs_to, day)
            submission = replace(
                submission,
                model_id=deployment.model_id,
                model_version=deployment.model_version,
                out_path=_path("output", writes),
                out_table="",
                request_id=request_id,
                deployment=deployment.id,
                process=process_id,
            )
            run = _Run(principal, deployment, _path("input", reads), submission)
            task = self._runs.get(key)  # another may have come while the deployment was looked up
            if task is None:
                task = self._runs[key] = asyncio.create_task(self._run(run))
                task.add_done_callback(lambda done: self._forget(key, done))
        # Shielded: a client that hangs up must not stop between a session and its job.
        return await asyncio.shield(task)

    async def find(self, principal: Principal, service_tag: str, stage: str) -> Deployment:
        """Return the one deployment of a principal's that has these tags and takes jobs.

        Raises:
            ScorestreamError: FAILED_PRECONDITION: NO_DEPLOYMENT, with the tags that are near; AMBIGUOUS_DEPLOYMENT, where
                several match, all named.
        """
        deployed = await self._database.read(
            lambda connection: deployment_store.in_state(connection, DeploymentState.DEPLOYED, principal.name)
        )
        fit = [one for one in deployed if (one.service_tag, one.stage) == (service_tag, stage)]
        if len(fit) > 1:
            named = " and ".join(f"{one.id} ({one.model_id}, version {one.model_version})" for one in fit)
            raise precondition(
                "AMBIGUOUS_DEPLOYMENT",
                f"{len(fit)} deployments have service tag {service_tag!r} at stage {stage!r}: {named}. Retire all but one "
                "with: scorestream deployment retire ID",
                deployments=",".join(one.id for one in fit),
            )
        if not fit:
            raise _no_deployment(deployed, service_tag, stage)
        return fit[0]

    def recover(self) -> None:
        """Follow the jobs of deployments that the last run did not finish."""
        for active in self._engine.jobs.values():
            if active.job.deployment:
                self._follow(active.job)

    async def close(self) -> None:
        """Stop; a client that repeats its request with the next server gets on where it was."""
        tasks = [*self._runs.values(), *self._followed]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: tuple[str, str], task: asyncio.Task[Job]) -> None:
        self._runs.pop(key, None)
        if not task.cancelled():
            task.exception()  # looked at, also where its client hung up

    async def _deployment(self, principal: Principal, deployment_id: str) -> Deployment:
        def read(connection: sa.Connection) -> Deployment:
            owner = None if principal.admin else principal.name
            found = deployment_store.get(connection, deployment_id, owner)
            if found.owner != principal.name:
                raise ScorestreamError(
                    ErrorCode.PERMISSION_DENIED,
                    "DEPLOYMENT_OF_ANOTHER",
                    f"Deployment {found.id} is {found.owner!r}'s, who alone makes jobs of it. An admin sees and retires it.",
                )
            return deployment_store.require_deployed(connection, deployment_id)

        return await self._database.read(read)

    async def _run(self, run: _Run) -> Job:
        context = await self._runtimes.match(run.deployment.service_tag, run.deployment.stage)
        with self._runtimes.starting(context):
            session = await self._database.write(lambda connection: self._session(connection, run, context))
            self._engine.contexts.join(session.id, session.context)
            try:
                # By an id of the session's own: a repeated request finds the table that it loaded before.
                await self._load(run.principal, session.id, INPUT_TABLE, run.input, f"{session.id}-input")
                submission = replace(run.asked, session_id=session.id, table_id=INPUT_TABLE, time=time.time())
                job = await self._submitter.submit(submission)
            except ScorestreamError as error:
                why = f"its job was not made: {error.message}"
                await self._ender.end(session, cancel=True, force=False, why=why)
                raise
        self._follow(job)
        return job

    def _session(self, connection: sa.Connection, run: _Run, context: str) -> Session:
        """Return the session that the same request made before, or a new one."""
        owner, request_id = run.principal.name, run.asked.request_id
        key = f"{request_id}/session" if request_id else ""  # no client's id has a slash
        earlier = requests.find(connection, owner, key, "session") if key else None
        if earlier is not None:
            found = session_store.get(connection, earlier, owner)
            if found.state is SessionState.ACTIVE:
                return found
            requests.forget(connection, owner, key)
        deployment = run.deployment
        settings = self._maker.contexts.get(connection, context).settings
        wish = SessionWish(
            str(uuid.uuid4()),
            f"{deployment.model_id}-{deployment.stage}"[:_LONGEST_NAME],
            owner,
            context,
            "",
            time.time(),
            inactive_timeout=settings.session_inactive_timeout or DEFAULT_INACTIVE_TIMEOUT,
            labels={"deployment": deployment.id},
        )
        return self._maker.make(connection, wish, key)

    def _follow(self, job: Job) -> None:
        """Give the worker of a job's session back when the job is final."""
        task = asyncio.create_task(self._to_its_end(job))
        self._followed.add(task)
        task.add_done_callback(self._followed.discard)

    async def _to_its_end(self, job: Job) -> None:
        if (active := self._engine.jobs.get(job.id)) is not None:
            await active.finished.wait()
        others = any(active.job.session_id == job.session_id for active in self._engine.jobs.values())
        if not others:
            self._engine.contexts.leave(job.session_id)


def plain(owner: str) -> Submission:
    """Return a job of which nothing is asked but to be done; what the deployment says is put in."""
    job_id = str(uuid.uuid4())
    return Submission(
        job_id=job_id,
        name=f"job-{job_id[:8]}",
        session_id="",
        owner=owner,
        model_id="",
        model_version=0,
        table_id="",
        where="",
        keep=(),
        out_table="",
        out_path="",
        replace=False,
        priority=None,
        partition_rows=None,
        timeout=None,
        queue_timeout=None,
        request_id="",
        time=time.time(),
    )


def _path(field: str, path: str) -> str:
    """Return where a job reads or writes, if it is told."""
    told, path = "", local_path(path) if field == "output" else path
    if not path:
        told = "missing; neither the request nor the deployment says it"
    elif path.startswith(("home:", "fileref:")):
        told = f"{path[:80]!r} is of a session; a deployed job has one of its own, so give a path below a data root or a URI"
    elif field == "output" and is_uri(path):
        told = f"{path[:80]!r} is not on the server, where results are published; give a path or file:///"
    if told:
        raise invalid("INVALID_PATH", f"{field}: {told}.", [FieldFault(field, told)])
    return path


def _no_deployment(deployed: list[Deployment], service_tag: str, stage: str) -> ScorestreamError:
    stages = sorted({one.stage for one in deployed if one.service_tag == service_tag})
    if stages:
        told = f"no model with service tag {service_tag!r} is deployed at stage {stage!r}, but at {', '.join(stages[:10])}"
    else:
        near = near_tag(service_tag, (one.service_tag for one in deployed))
        meant = f"; did you mean {near!r}?" if near else ""
        told = f"no model is deployed with service tag {service_tag!r}{meant}"
    text = told[0].upper() + told[1:]
    return precondition(
        "NO_DEPLOYMENT",
        f"{text}{'' if text.endswith('?') else '.'} `scorestream deployment ls --state deployed` shows what is.",
        service_tag=service_tag,
        stage=stage,
    )
