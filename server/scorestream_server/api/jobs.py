"""The JobService."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator

import sqlalchemy as sa

from scorestream.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from scorestream_server.api import batches, convert, names, paging
from scorestream_server.api.auth import Context, owner_of, reach_of, require_owner
from scorestream_server.api.convert_output import (
    append_from_wire,
    explain_from_wire,
    options_from_wire,
    row_number_from_wire,
)
from scorestream_server.api.convert_settings import variables_from_wire
from scorestream_server.api.results import ResultReader
from scorestream_server.api.row_error_wire import on_row_error_from_wire
from scorestream_server.api.table_wishes import out_wish
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, invalid, precondition
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.job import Job
from scorestream_server.domain.model_name import ModelName
from scorestream_server.domain.submission import Resumption, Submission
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.engine.papers import Papers
from scorestream_server.engine.submit import Submitter
from scorestream_server.feed import Feed, Selection
from scorestream_server.store import jobs as job_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database

MOST_KEPT = 1000
MOST_NAMED = 1000
DEFAULT_WAIT = 30.0
LONGEST_WAIT = 600.0
"""Seconds; a call that waits for longer is cut by whatever lies between client and server."""


class JobService(job_service_pb2_grpc.JobServiceServicer):
    """Jobs: submitted, followed, read, cancelled."""

    def __init__(
        self,
        database: Database,
        feed: Feed,
        engine: Engine,
        submitter: Submitter,
        results: ResultReader,
        expiry: SessionExpiry,
        papers: Papers,
    ) -> None:
        self._database = database
        self._feed = feed
        self._engine = engine
        self._submitter = submitter
        self._results = results
        self._expiry = expiry
        self._papers = papers

    async def CreateJob(self, request: job_service_pb2.CreateJobRequest, context: Context) -> job_pb2.Job:
        """Create a job."""
        submission = submission_of(request, owner_of(context))
        return convert.job(await self._submitter.submit(submission))

    async def GetJob(self, request: job_service_pb2.GetJobRequest, context: Context) -> job_pb2.Job:
        """Return one job."""
        return convert.job(await self._get(request.name, context))

    async def BatchGetJobs(
        self, request: job_service_pb2.BatchGetJobsRequest, context: Context
    ) -> job_service_pb2.BatchGetJobsResponse:
        """Return several jobs."""
        if len(request.names) > MOST_NAMED:
            fault = FieldFault("names", "too many")
            message = f"{len(request.names)} jobs are named; ask for at most {MOST_NAMED} at a time."
            raise invalid("TOO_MANY_JOBS", message, [fault])
        ids, owner = [names.job_id("names", name) for name in request.names], reach_of(context)

        def read(connection: sa.Connection) -> list[Job]:
            return [job_store.get(connection, job_id, owner) for job_id in ids]

        return job_service_pb2.BatchGetJobsResponse(jobs=map(convert.job, await self._database.read(read)))

    async def ListJobs(
        self, request: job_service_pb2.ListJobsRequest, context: Context
    ) -> job_service_pb2.ListJobsResponse:
        """List the caller's jobs, or, for an admin, everybody's."""
        limit, before = paging.size(request.page_size), paging.position(request.page_token)
        session_id = names.session_id("session", request.session) if request.session else ""
        owner, service = reach_of(context), batches.service_of(request)
        deployment = process = ""
        if request.deployment:
            deployment = names.single_id("deployment", request.deployment, "deployments/{deployment}")
        if request.process:
            process = names.single_id("process", request.process, "processes/{process}")

        def read(connection: sa.Connection) -> tuple[list[Job], int]:
            if session_id:
                session_store.get(connection, session_id, owner)
            return job_store.page(
                connection,
                owner,
                session_id=session_id,
                before=before,
                limit=limit,
                service=service,
                deployment=deployment,
                process=process,
            )

        jobs, more = await self._database.read(read)
        return job_service_pb2.ListJobsResponse(
            jobs=map(convert.job, jobs), next_page_token=str(more) if more else ""
        )

    async def WaitJob(self, request: job_service_pb2.WaitJobRequest, context: Context) -> job_pb2.Job:
        """Return a job when its state is another than the one known, or the time is up."""
        seconds = (
            names.check_seconds("timeout", request.timeout, most=LONGEST_WAIT)
            if request.HasField("timeout")
            else DEFAULT_WAIT
        )
        after = self._feed.head  # before the job is read: what happens to it from here on is heard of
        job = await self._get(request.name, context)
        known = convert.state_known(request.state_not) or job.state
        if job.state is not known or job.state.final:
            return convert.job(job)
        selection = Selection(job.owner, (job.session_id,), job_id=job.id)
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(seconds),
                contextlib.aclosing(self._feed.follow(selection, after)) as batches,
            ):
                async for events in batches:
                    if any(event.state is not None and event.state is not known for event in events):
                        break
        return convert.job(await self._get(request.name, context))

    async def CancelJob(self, request: job_service_pb2.CancelJobRequest, context: Context) -> job_pb2.Job:
        """Ask a job to stop."""
        job = await self._get(request.name, context)
        await self._engine.cancel(job.id)
        return convert.job(await self._get(request.name, context))

    async def ResumeJob(self, request: job_service_pb2.ResumeJobRequest, context: Context) -> job_pb2.Job:
        """Create a job that does what an ended one did not come to."""
        resumption = Resumption(
            old_id=names.job_id("name", request.name),
            job_id=str(uuid.uuid4()),
            owner=owner_of(context),
            request_id=names.check_request_id(request.request_id),
            time=time.time(),
        )
        return convert.job(await self._submitter.resume(resumption))

    async def WatchJob(
        self, request: job_service_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[job_service_pb2.WatchJobResponse]:
        """Stream the events of one job until it is final."""
        job = self._stored(request.name, context) or await self._get(request.name, context)
        final = job.state.final
        selection = Selection(job.owner, (job.session_id,), job_id=job.id)
        async with contextlib.aclosing(self._feed.follow(selection, request.after)) as batches:
            async for events in batches:
                if events:
                    yield job_service_pb2.WatchJobResponse(events=map(convert.event, events))
                    final = final or any(event.state is not None and event.state.final for event in events)
                elif final:
                    return

    async def ReadResults(
        self, request: job_service_pb2.ReadResultsRequest, context: Context
    ) -> AsyncIterator[job_service_pb2.ReadResultsResponse]:
        """Stream committed result rows."""
        if request.offset < 0:
            raise ScorestreamError(
                ErrorCode.OUT_OF_RANGE,
                "OFFSET_OUT_OF_RANGE",
                "offset must not be negative.",
                [FieldFault("offset", "negative")],
            )
        job = self._stored(request.name, context) or await self._get(request.name, context)
        require_owner(context, job.owner)
        async for response in self._results.read(job, request.offset, committed_only=request.committed_only):
            self._expiry.seen(job.session_id)
            yield response

    async def DeleteJob(
        self, request: job_service_pb2.DeleteJobRequest, context: Context
    ) -> job_service_pb2.DeleteJobResponse:
        """Delete a final job."""
        job = await self._get(request.name, context)
        if not job.state.final:
            raise precondition(
                "JOB_NOT_FINAL",
                f"Job {job.name!r} ({job.id}) is {job.state}; cancel it first, and delete it when it is final.",
                job=job.id,
            )
        await self._papers.delete(job)
        return job_service_pb2.DeleteJobResponse()

    def _stored(self, name: str, context: Context) -> Job | None:
        """Return a job that is not final, without a look at the store; None: there must be one.

        It may be a step behind the store: for those who then follow it from its first event, or look for its rows.
        """
        job, reach = self._engine.stored(names.job_id("name", name)), reach_of(context)
        if job is None or (reach is not None and reach != job.owner):
            return None
        self._expiry.seen(job.session_id)
        return job

    async def _get(self, name: str, context: Context) -> Job:
        job_id, owner = names.job_id("name", name), reach_of(context)

        def read(connection: sa.Connection) -> Job:
            return job_store.get(connection, job_id, owner)

        job = await self._database.read(read)
        self._expiry.seen(job.session_id)
        return job


def submission_of(request: job_service_pb2.CreateJobRequest, owner: str) -> Submission:
    """Return a request as the engine takes it, or refuse everything that its text alone shows to be wrong."""
    spec, faults = request.spec, Faults()
    job_id = str(uuid.uuid4())
    name = request.display_name or f"job-{job_id[:8]}"
    with faults.of("spec"):
        _check_required(spec)
    with faults.of("session"):
        session_id = names.session_id("session", request.session)
    with faults.of("spec.model"):
        model = names.model_name("spec.model", spec.model) if spec.model else ModelName("")
    with faults.of("spec.table"):
        table_id = names.check_table("spec.table", spec.table) if spec.table else ""
    with faults.of("spec.keep"):
        if len(spec.keep) > MOST_KEPT:
            raise invalid("TOO_MANY_COLUMNS", f"keep names more than {MOST_KEPT:,} columns.")
    with faults.of("spec.out_table"):
        out_table = (
            names.check_table_id("spec.out_table", spec.out_table) if spec.HasField("out_table") else ""
        )
    wish = out_wish(spec, faults)
    with faults.of("spec.partition_rows"):
        if spec.partition_rows < 0:
            fault = FieldFault("spec.partition_rows", "negative")
            raise invalid("INVALID_PARTITION_ROWS", "partition_rows must not be negative.", [fault])
    with faults.of("spec.timeout"):
        timeout = names.check_seconds("spec.timeout", spec.timeout) if spec.HasField("timeout") else None
    with faults.of("spec.queue_timeout"):
        queue_timeout = (
            names.check_seconds("spec.queue_timeout", spec.queue_timeout)
            if spec.HasField("queue_timeout")
            else None
        )
    with faults.of("spec.variables"):
        variables = variables_from_wire("spec.variables", spec.variables)
    with faults.of("spec.output_options"):
        output = options_from_wire(spec)
    with faults.of("spec.append"):
        append = append_from_wire(spec)
    with faults.of("spec.row_number"):
        row_number = row_number_from_wire(spec)
    with faults.of("spec.parallel_count"):
        parallel_count = batches.parallel_count_from_wire(spec)
    with faults.of("spec.on_row_error"):
        on_row_error = on_row_error_from_wire(spec)
    with faults.of("spec.explain"):
        explain = explain_from_wire(spec)
    with faults.of("display_name"):
        names.check_display_name("display_name", name)
    with faults.of("request_id"):
        names.check_request_id(request.request_id)
    faults.raise_any()
    return Submission(
        job_id=job_id,
        name=name,
        session_id=session_id,
        owner=owner,
        model_id=model.model_id,
        model_version=model.version,
        model_alias=model.alias,
        table_id=table_id,
        where=spec.where.rstrip(),  # what stands before it counts in the lines and columns of its faults
        keep=tuple(spec.keep),
        out_table=out_table,
        out_path=spec.out_path if spec.HasField("out_path") else "",
        replace=spec.replace,
        priority=convert.priority(spec.priority) if spec.priority else None,
        partition_rows=spec.partition_rows if spec.HasField("partition_rows") else None,
        timeout=timeout,
        queue_timeout=queue_timeout,
        request_id=request.request_id,
        time=time.time(),
        status_notification=request.status_notification,
        reset_log_line_numbers=request.reset_log_line_numbers,
        variables=variables,
        output=output,
        append=append,
        row_number=row_number,
        out_label=wish.label,
        out_lifetime=wish.lifetime,
        out_promote=wish.promote,
        parallel_count=parallel_count,
        is_batch=spec.is_batch,
        on_row_error=on_row_error,
        explain=explain,
    )


def _check_required(spec: job_pb2.JobSpec) -> None:
    faults = [
        FieldFault(f"spec.{field}", "required") for field in ("model", "table") if not getattr(spec, field)
    ]
    if faults:
        shown = " and ".join(fault.field for fault in faults)
        raise invalid("MISSING_FIELD", f"A job needs {shown}.", faults)
