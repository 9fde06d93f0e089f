"""Services as a client sees them: model versions that score records, at once or in batches."""

from typing import Any

from scorestream.batch_records import Execution, version_reference
from scorestream.errors import InvalidArgumentError, NotFoundError
from scorestream.model_records import ModelFeature, ModelInfo, ModelOutput
from scorestream.model_wire import model_info
from scorestream.records import JobInfo
from scorestream.v1 import job_service_pb2, model_service_pb2, session_service_pb2
from scorestream.wire import duration, job_info, job_name, model_name, session_name

from .batch import AsyncBatch
from .connection import AsyncConnection
from .job import AsyncJob
from .session import list_jobs

RETENTION = 7 * 24 * 3600.0
"""Seconds for which a batch is kept after anybody last asked for anything of it, unless somebody says otherwise."""
MOST_AT_ONCE = 1_000_000
SHOWN = 8


class AsyncService:
    """A version of a model as a service, which scores records: one at once with `consume`, many with `batch`.

    Attributes:
        info: the model's description.
        context: the context whose workers score; empty: the server's own. Its pool sizes are those of the service.
    """

    _batch_type = AsyncBatch

    def __init__(self, connection: AsyncConnection, info: ModelInfo, context: str = "") -> None:
        self._connection = connection
        self.info = info
        self.context = context
        # What help() of a service shows.
        self.__doc__ = "\n".join(
            [
                f"{self!r}",
                "",
                info.description,
                "",
                *(["Inputs: " + _inputs(info)]),
                "Outputs: " + _outputs(info),
                "",
                "consume(...) scores one record, batch(records) many: see help(type(service)).",
            ]
        )

    def __repr__(self) -> str:
        return f"<Service {self.name} {self.version}: {_inputs(self.info, SHOWN)} -> {_outputs(self.info, SHOWN)}>"

    @property
    def name(self) -> str:
        """The model's name."""
        return self.info.name

    @property
    def version(self) -> int:
        """The model's version."""
        return self.info.version

    @property
    def inputs(self) -> tuple[ModelFeature, ...]:
        """What it reads of a record, in its own order."""
        return self.info.features

    @property
    def outputs(self) -> tuple[ModelOutput, ...]:
        """What it gives for a record."""
        return self.info.outputs

    def batch(self, records: Any, parallel_count: int = 10, *, retention: float = RETENTION) -> AsyncBatch:
        """Return a batch of these records, checked; `start` begins it.

        Args:
            records: a pandas data frame; a list of dictionaries; a dictionary of lists; the path of a CSV or TSV file
                (Parquet and Arrow, too) on this machine; or anything with ``__arrow_c_stream__`` (pyarrow, polars).
                Fields that the service does not read are not sent. No records are a batch that is complete at once.
            parallel_count: at most so many parts of it are scored at the same time.
            retention: seconds for which results are kept after anybody last asked for anything of the batch; 0: for
                ever. A week unless said otherwise.

        Raises:
            InvalidArgumentError: they are none of these, lists are of different lengths, or fields are missing.
        """
        from scorestream.batch_input import records_of  # noqa: PLC0415 - pyarrow loads slowly

        if isinstance(parallel_count, bool) or not 1 <= int(parallel_count) <= MOST_AT_ONCE:
            raise InvalidArgumentError(
                f"parallel_count is a whole number from 1 to {MOST_AT_ONCE:,}, not {parallel_count!r}.",
                reason="BAD_PARALLEL_COUNT",
            )
        duration(retention, "retention")  # refused now, and not when it is started
        return self._batch_type(
            self._connection,
            self.info,
            records=records_of(records, *self._columns()),
            parallel_count=int(parallel_count),
            retention=retention,
            context=self.context,
        )

    async def batches(self) -> list[AsyncBatch]:
        """Return its batches, newest first, those that are over too, while they are kept."""
        found = await list_jobs(
            self._connection, "", None, batches_of=model_name(f"{self.name}@{self.version}")
        )
        return [self._batch_type(self._connection, self.info, job=job) for job in found]

    async def list_batch_executions(self) -> list[str]:
        """Return the identifiers of its batches, newest first, those that are over too, while they are kept."""
        return [batch.job.id for batch in await self.batches()]

    async def get_batch_executions(self) -> list[str]:
        """Return what `list_batch_executions` returns."""
        return await self.list_batch_executions()

    async def get_batch(self, execution_id: str) -> AsyncBatch:
        """Return a batch of this service by its identifier, from whichever client it was started.

        Raises:
            NotFoundError: there is none, or it is another service's.
        """
        info = await _batch_info(self._connection, execution_id)
        if info.model != f"{self.name}@{self.version}":
            raise NotFoundError(
                f"Service {self.name} {self.version} has no batch {execution_id!r}; that is one of {info.model}.",
                reason="BATCH_NOT_FOUND",
            )
        return self._batch_type(self._connection, self.info, job=AsyncJob(self._connection, info))

    async def consume(self, *values: Any, **named: Any) -> Execution:
        """Score one record, and return what became of it.

        Args:
            values: its values in the order of `inputs`; or one dictionary with all of them.
            named: its values by name.

        Raises:
            InvalidArgumentError: values are missing, or too many.
            JobFailedError: it could not be scored.
        """
        from scorestream.batch_input import record_of, records_of  # noqa: PLC0415 - pyarrow loads slowly

        inputs, texts = self._columns()
        records = records_of(record_of(values, named, inputs), inputs, texts)
        batch = AsyncBatch(
            self._connection, self.info, records=records, context=self.context, retention=60.0, listed=False
        )
        await batch.start()
        try:
            return await (await batch.wait()).execution(0)
        finally:
            request = session_service_pb2.TerminateSessionRequest(
                name=session_name(batch.job.session_id), cancel=True
            )
            await self._connection.call(self._connection.sessions.TerminateSession, request)

    def _columns(self) -> tuple[list[str], list[str]]:
        """Return the names of its inputs, and those of them that are text."""
        names = [feature.name for feature in self.inputs]
        return names, [feature.name for feature in self.inputs if feature.categories]


class AsyncServices:
    """What a client has to do with services."""

    _connection: AsyncConnection

    async def get_service(
        self, name: str, version: int | str | None = None, *, context: str = ""
    ) -> AsyncService:
        """Return a model version as a service.

        Args:
            name: the model's name.
            version: its version, ``1`` or ``"1"``; ``"1.0"`` and ``"v1.0.0"`` are other ways to write it. Or an alias.
                None: the newest.
            context: the context whose workers are to score; empty: the server's own workers.

        Raises:
            NotFoundError: there is no such model, or no such version.
        """
        model = name if version is None else f"{name}@{version_reference(version)}"
        request = model_service_pb2.GetModelRequest(name=model_name(model))
        answer = await self._connection.call(self._connection.models.GetModel, request)
        return AsyncService(self._connection, model_info(answer), context)

    async def get_batch(self, execution_id: str) -> AsyncBatch:
        """Return a batch of whichever service by its identifier.

        Raises:
            NotFoundError: there is none.
        """
        info = await _batch_info(self._connection, execution_id)
        request = model_service_pb2.GetModelRequest(name=model_name(info.model))
        answer = await self._connection.call(self._connection.models.GetModel, request)
        return AsyncBatch(self._connection, model_info(answer), job=AsyncJob(self._connection, info))

    async def list_services(self, prefix: str = "") -> list[AsyncService]:
        """Return the services whose name begins with `prefix`, every version, by name and version."""
        found: list[AsyncService] = []
        request = model_service_pb2.ListModelsRequest(model_id_prefix=prefix, page_size=1000)
        while True:
            answer = await self._connection.call(self._connection.models.ListModels, request)
            found += [AsyncService(self._connection, model_info(model)) for model in answer.models]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token


async def _batch_info(connection: AsyncConnection, execution_id: str) -> JobInfo:
    """Return the description of a batch's job."""
    request = job_service_pb2.GetJobRequest(name=job_name(execution_id))
    info = job_info(await connection.call(connection.jobs.GetJob, request))
    if not info.is_batch:
        raise NotFoundError(
            f"There is no batch {execution_id!r}; that is a job, and no batch.", reason="BATCH_NOT_FOUND"
        )
    return info


def _inputs(info: ModelInfo, most: int | None = None) -> str:
    """Return what a service reads, in words."""
    if not any(feature.name for feature in info.features):
        return f"{len(info.features)} columns by position"
    told = [feature.name + (" (category)" if feature.categories else "") for feature in info.features]
    return _list(told, most)


def _outputs(info: ModelInfo, most: int | None = None) -> str:
    """Return what a service gives, in words."""
    return _list([f"{output.name}: {output.type}" for output in info.outputs], most)


def _list(words: list[str], most: int | None) -> str:
    more = f", and {len(words) - most} more" if most is not None and len(words) > most else ""
    return ", ".join(words[:most]) + more
