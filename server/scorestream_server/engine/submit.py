"""From a request to a job that the engine drives: resolve, check, record, hand over."""

import asyncio
import dataclasses
import itertools
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import sqlalchemy as sa

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import ScorestreamError, counted, invalid
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.job import Job, JobSpec, State
from scorestream_server.domain.messages import OpenJob
from scorestream_server.domain.model import Model
from scorestream_server.domain.option import job_defaults
from scorestream_server.domain.session import Session, require_active
from scorestream_server.domain.submission import Resumption, Submission
from scorestream_server.domain.table import Table
from scorestream_server.engine import log_lines, recovery
from scorestream_server.engine.active import ActiveJob, partition_rows
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.quota import JobQuota
from scorestream_server.engine.table_use import Reading, TableUse
from scorestream_server.engine.target import check_name, check_target, checked_target
from scorestream_server.scoring.check import check_job, with_row_errors, with_row_number
from scorestream_server.scoring.match import match_columns
from scorestream_server.scoring.reasons import feature_names, with_reasons
from scorestream_server.store import deployments as deployment_store
from scorestream_server.store import jobs as job_store
from scorestream_server.store import log as log_store
from scorestream_server.store import models as model_store
from scorestream_server.store import options as option_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store import tables as table_store
from scorestream_server.store import variables as variable_store
from scorestream_server.store.database import Database
from scorestream_server.store.usage import Usage
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.plan import plan_partitions

MOST_PARTITIONS = 100_000
Value = TypeVar("Value")


class Submitter:
    """Makes jobs."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        directory: DataDirectory,
        roots: DataRoots,
        quota: JobQuota,
        usage: Usage,
        use: TableUse,
    ) -> None:
        self._database = database
        self._engine = engine
        self._directory = directory
        self._roots = roots
        self._quota = quota
        self._usage = usage
        self._use = use
        self._orders = itertools.count(1)

    async def submit(self, submission: Submission) -> Job:
        """Record a job and hand it to the engine; the answer of a repeated request is the job of then.

        Raises:
            ScorestreamError: it cannot be done; every fault that can be found beforehand is.
        """
        # Looking things up, parsing and looking at files are one step of one thread: every change of threads
        # costs as much as a statement.
        with ExitStack() as held:
            reading = held.enter_context(self._use.reading())
            active = await self._database.read(
                lambda connection: self._prepare(connection, submission, reading)
            )
            if isinstance(active, Job):
                return active
            # Shielded: a client that hangs up now must not leave a job that is recorded, and that nobody drives.
            return await asyncio.shield(self._record(active, submission.request_id, held.pop_all()))

    async def resume(self, resumption: Resumption) -> Job:
        """Record a job that does what an ended one did not come to, and hand it to the engine.

        It takes over the partitions that the ended job has committed; a final state never changes.

        Raises:
            ScorestreamError: NOT_FOUND; FAILED_PRECONDITION where there is nothing to go on with, or something
                is not as it was when the ended job began.
        """
        with ExitStack() as held:
            reading = held.enter_context(self._use.reading())
            active = await self._database.read(
                lambda connection: self._resumed(connection, resumption, reading)
            )
            if isinstance(active, Job):
                return active
            # As above.
            return await asyncio.shield(self._record(active, resumption.request_id, held.pop_all()))

    async def recover(self) -> int:
        """Go on with every job that the store says is not final; return how many there are."""
        found = await self._database.read(recovery.unfinished)
        files = recovery.ModelFiles()
        for one in found:
            await self._go_on(one, files)
        return len(found)

    async def _go_on(self, one: recovery.Unfinished, files: recovery.ModelFiles) -> None:
        active = self._activate(one.job, one.session_name, one.weight, one.model, one.table)
        bad = await recovery.damaged(one.committed)
        active.restore({index: file for index, file in one.committed.items() if index not in bad}, one.lost)
        what: list[str] = []
        if active.pending:  # else there is nothing left to read
            path = self._model_path(one.model)
            what = await asyncio.to_thread(
                recovery.changes, active, one.model, path, one.partition_rows, files
            )
        job = active.job
        text = f"The server was started again; {counted(len(active.committed), 'partition')} of {len(active.partitions):,} are committed."

        def take_up(connection: sa.Connection) -> None:
            if bad:
                job_store.take_back(connection, job, bad)
            log_store.write(connection, log_lines.noted(job, text, time.time()))

        await self._database.write(take_up)
        refusal = recovery.changed_error(what) if what else None
        try:
            await self._engine.admission.admit(active)
        except ScorestreamError as error:
            refusal = refusal or error
        self._engine.add(active, refusal)

    async def _record(self, active: ActiveJob, request_id: str, held: ExitStack) -> Job:
        """Write a new job and hand it to the engine; where the same request came before, return its job.

        What is held keeps the job's table until the engine does.
        """
        wanted = active.job
        made: Job | None = None

        def create(connection: sa.Connection) -> Job:
            earlier = job_store.find_request(connection, wanted.owner, request_id)
            if earlier is not None:
                return earlier
            if not session_store.touch_active(connection, wanted.session_id, wanted.create_time):
                require_active(session_store.get(connection, wanted.session_id, wanted.owner))
            model_store.get(
                connection, wanted.spec.model_id, wanted.spec.model_version
            )  # not removed meanwhile
            if wanted.deployment and not wanted.spec.resumes:
                deployment_store.require_deployed(connection, wanted.deployment)
            log_store.write(connection, log_lines.created(wanted), reset=wanted.spec.reset_log_line_numbers)
            return job_store.create(
                connection, wanted, active.session_name, active.partitions, active.committed, request_id
            )

        with held:
            try:
                await self._engine.admission.admit(active)
                made = await self._database.write(create)
            finally:
                if made is None or made.id != wanted.id:
                    folder = self._directory.job(wanted.session_id, wanted.id)
                    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if made.id == wanted.id:
                active.job = made
                self._engine.add(active)
        return made

    def _resumed(
        self, connection: sa.Connection, resumption: Resumption, reading: Reading
    ) -> ActiveJob | Job:
        """Return the job that goes on where an ended one stopped, or the one that the same request made before."""
        earlier = job_store.find_request(connection, resumption.owner, resumption.request_id)
        if earlier is not None:
            return earlier
        old = job_store.get(connection, resumption.old_id, resumption.owner)
        recovery.require_resumable(old)
        session = session_store.get(connection, old.session_id, resumption.owner)
        require_active(session)
        self._require_room(connection, session)
        model = model_store.get(connection, old.spec.model_id, old.spec.model_version)
        table = table_store.by_uid(connection, old.spec.table_uid)
        self._use.found(reading, table, resumption.time)
        if old.spec.destination is not None:
            check_target(old.spec.destination, old.spec, _schema(old.result_schema))
        job = dataclasses.replace(
            old,
            id=resumption.job_id,
            spec=dataclasses.replace(old.spec, resumes=old.id, reset_log_line_numbers=False),
            state=State.PENDING,
            first_event=0,
            create_time=resumption.time,
            start_time=None,
            end_time=None,
            failure=None,
            outputs=(),
            warnings=table.data.notes,
            device="",
        )
        active = self._activate(job, session.name, session.weight, model, table)
        what = recovery.changes(
            active,
            model,
            self._model_path(model),
            job_store.partition_rows(connection, old.id),
            recovery.ModelFiles(),
        )
        if self._use.is_going(table.uid) or recovery.is_gone(table.data):
            what.append(f"table {table.table_id!r} was dropped or replaced")
        if what:
            raise recovery.changed_error(what)
        folder = self._directory.job(job.session_id, job.id)
        folder.mkdir(parents=True)
        try:
            taken = recovery.taken_over(
                job_store.committed(connection, old.id),
                lambda index: self._directory.partition(job.session_id, job.id, index),
            )
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        active.restore(taken, {})
        return active

    def _prepare(
        self, connection: sa.Connection, submission: Submission, reading: Reading
    ) -> ActiveJob | Job:
        """Return the job that a submission asks for, or the one that the same request made before."""
        earlier = job_store.find_request(connection, submission.owner, submission.request_id)
        if earlier is not None:
            return earlier
        session = session_store.get(connection, submission.session_id, submission.owner)
        require_active(session)
        self._require_room(connection, session)
        defaults = job_defaults(option_store.settings(connection, session))
        faults = Faults()
        with faults.of("spec.model"):
            model = model_store.get(
                connection, submission.model_id, submission.model_version, submission.model_alias
            )
        with faults.of("spec.table"):
            table = table_store.named(connection, session.id, submission.table_id)
            self._use.found(reading, table, submission.time)
        with faults.of("spec.out_table"):
            check_name(connection, submission)
        faults.raise_any()
        columns = _schema(table.data.schema)
        path = self._model_path(model)
        result, variables, can_fail = check_job(
            faults,
            model.schema,
            path,
            columns,
            submission.where,
            submission.keep,
            variable_store.of_session(connection, session.id),
            submission.variables,
        )
        with faults.of("spec.explain"):
            result = with_reasons(result, model.schema, submission.explain)
        with faults.of("spec.row_number"):
            result = with_row_number(result, columns, submission.row_number)
        with faults.of("spec.on_row_error"):
            result, on_row_error = with_row_errors(result, submission.on_row_error, can_fail=can_fail)
        destination = checked_target(
            faults, connection, self._directory, self._roots, session, submission, result
        )
        with faults.of("spec.partition_rows"):
            asked = _or(submission.partition_rows, defaults.partition_rows)
            cost = model.schema.row_cost(explained=submission.explain > 0)
            size = _partition_rows(asked, table.data.rows, cost)
        faults.raise_any()
        spec = JobSpec(
            model.model_id,
            model.version,
            submission.table_id,
            table.uid,
            submission.where,
            submission.keep,
            submission.out_table,
            destination,
            submission.replace,
            _or(submission.priority, defaults.priority),
            size,
            _or(submission.timeout, defaults.timeout),
            _or(submission.queue_timeout, defaults.queue_timeout),
            variables=variables,
            context=session.context,
            queue=session.queue,
            task_timeout=session.task_timeout,
            status_notification=submission.status_notification,
            reset_log_line_numbers=submission.reset_log_line_numbers,
            output=submission.output,
            append=submission.append,
            batch=submission.job_id,
            row_number=submission.row_number,
            out_label=submission.out_label,
            out_lifetime=submission.out_lifetime,
            out_promote=submission.out_promote,
            parallel_count=submission.parallel_count,
            is_batch=submission.is_batch,
            on_row_error=on_row_error,
            explain=submission.explain,
        )
        job = Job(
            id=submission.job_id,
            name=submission.name,
            session_id=session.id,
            owner=submission.owner,
            spec=spec,
            state=State.PENDING,
            rows_done=0,
            rows_total=table.data.rows,
            rows_scored=0,
            partitions_done=0,
            partitions_total=0,
            first_event=0,
            create_time=submission.time,
            start_time=None,
            end_time=None,
            failure=None,
            result_schema=result.serialize().to_pybytes(),
            outputs=(),
            warnings=table.data.notes,
            device="",
            deployment=submission.deployment,
            process=submission.process,
        )
        active = self._activate(job, session.name, session.weight, model, table)
        self._directory.job(job.session_id, job.id).mkdir(parents=True)
        return active

    def _activate(self, job: Job, session_name: str, weight: int, model: Model, table: Table) -> ActiveJob:
        columns = _schema(table.data.schema)
        inputs = match_columns(model.schema, columns)
        partitions = plan_partitions(table.data, job.spec.partition_rows)
        opening = OpenJob(
            job.id,
            table.data,
            str(self._model_path(model)),
            model.schema.kind,
            model.digest,
            job.spec.where,
            inputs,
            job.spec.keep,
            job.result_schema,
            job.spec.priority,
            job.spec.variables,
            job.spec.row_number,
            table.table_id,
            job.spec.on_row_error,
            model.schema.artifacts,
            job.spec.explain,
            feature_names(model.schema) if job.spec.explain else (),
        )
        job = dataclasses.replace(job, partitions_total=len(partitions))
        active = ActiveJob(
            job, next(self._orders), session_name, weight, opening, model, partitions, time.monotonic()
        )
        active.restore({}, {})
        return active

    def _require_room(self, connection: sa.Connection, session: Session) -> None:
        self._quota.require_room(session.owner, session.queue)
        self._usage.require_room(connection, session.owner)

    def _model_path(self, model: Model) -> Path:
        return self._directory.models / model.file_name


def _schema(encoded: bytes) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(encoded))


def _or(own: Value | None, default: Value) -> Value:
    """Return what a job says itself, or what its session's options say."""
    return default if own is None else own


def _partition_rows(asked: int, rows: int, cost: float) -> int:
    """Return the size of a partition, as asked for if the number of partitions stays bearable."""
    if rows > asked * MOST_PARTITIONS > 0:
        raise invalid(
            "TOO_MANY_PARTITIONS",
            f"Partitions of {counted(asked, 'row')} would be more than {MOST_PARTITIONS:,}; ask for at least "
            f"{counted(-(-rows // MOST_PARTITIONS), 'row')}, or leave it to the server.",
        )
    return asked or partition_rows(rows, cost)
