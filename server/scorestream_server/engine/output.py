"""The last step of a job: its committed partitions become a table or files, at once or not at all."""

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.messages import LoadTable, OutputPublished, Publish, TableLoaded
from scorestream_server.domain.table import (
    Destination,
    FileFormat,
    InputFile,
    Published,
    SourceFile,
    Table,
    TableData,
)
from scorestream_server.engine.active import ActiveJob
from scorestream_server.engine.homes import Homes
from scorestream_server.engine.result_tables import ResultTables
from scorestream_server.store import kept as kept_store
from scorestream_server.store.database import Database
from scorestream_server.tables.publication import settle
from scorestream_server.workers.pool import WorkerPool, run_anywhere


@dataclass(frozen=True, slots=True)
class JobOutput:
    """What a job's output became: its names for people, and the table to store, if it is one."""

    names: tuple[str, ...] = ()
    table: Table | None = None


class OutputWriter:
    """Has workers write outputs, one after the other where they go to the same place."""

    def __init__(
        self,
        pool: WorkerPool,
        directory: DataDirectory,
        homes: Homes,
        database: Database,
        tables: ResultTables,
    ) -> None:
        self._pool = pool
        self._directory = directory
        self._homes = homes
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._database = database
        self._tables = tables

    async def publish(self, active: ActiveJob) -> JobOutput:
        """Write the output of a job whose partitions are all committed.

        Raises:
            ScorestreamError: it could not be written; nothing of it stands under its final name.
        """
        spec = active.job.spec
        if spec.destination is not None:
            lock = self._locks.setdefault(spec.destination.path, asyncio.Lock())
            async with lock:
                paths = (await self._files(active, spec.destination)).paths
            return JobOutput(tuple(map(spec.destination.named, paths)))
        if spec.out_table:
            scope = "tables/" if spec.out_promote else ""
            return JobOutput((f"{scope}{spec.out_table}",), await self._table(active))
        return JobOutput()

    async def written_down(self, active: ActiveJob) -> None:
        """Forget how a job's output came about, once the store has it as the job's."""
        destination = active.job.spec.destination
        if active.job.outputs and destination is not None:
            if destination.shown:
                with contextlib.suppress(OSError, ScorestreamError):  # else the home's next change does
                    await self._homes.measure(active.job.session_id)
            with contextlib.suppress(OSError):  # else the next start does
                await asyncio.to_thread(self._directory.journal(active.job.id).unlink, missing_ok=True)

    async def forget(self, table: Table | None) -> None:
        """Remove what is left of a table that the store did not take."""
        if table is not None:
            await self._tables.forget(table)

    async def _files(self, active: ActiveJob, destination: Destination) -> Published:
        """Have the output written beside its name and moved there."""
        journal = self._directory.journal(active.job.id)
        task = Publish(
            self._pool.next_task_id(),
            tuple(active.files()),
            active.job.result_schema,
            destination,
            str(journal),
            active.job.spec.replace,
            active.job.spec.append,
            active.job.spec.batch,
            active.job.spec.output,
            str(self._directory.kept),
            await self._read_there(destination) if active.job.spec.replace else (),
        )
        try:
            return (await run_anywhere(self._pool, task, OutputPublished, to_the_end=True)).output
        except asyncio.CancelledError:
            # Where the server stops, the next one sees to it; else the worker has stopped, or died in the middle.
            arrived = await asyncio.to_thread(settle, journal) if active.ending is not None else None
            if arrived is None:
                raise
            return arrived
        except ScorestreamError as error:
            # Who lost its worker could not tidy up; who has one did.
            lost = error.reason in {"WORKER_LOST", "TASK_STALLED"}
            arrived = await asyncio.to_thread(settle, journal) if lost else None
            if arrived is None:
                raise
            return arrived

    async def _read_there(self, destination: Destination) -> tuple[SourceFile, ...]:
        """Return what tables have of the files that an output may replace."""
        place = Path(destination.path)
        return await self._database.read(lambda connection: kept_store.sources_at(connection, place))

    async def _table(self, active: ActiveJob) -> Table:
        """Return a table that is made of the committed partitions as they lie there."""
        files = [file for file in active.files() if file.rows]
        if files:
            inputs = tuple(InputFile(file.path) for file in files)
            task = LoadTable(self._pool.next_task_id(), inputs, str(Path(inputs[0].path).parent))
            data = (await run_anywhere(self._pool, task, TableLoaded)).table
        else:
            data = TableData((), (), (), active.job.result_schema, 0, FileFormat.ARROW, in_place=True)
        return await self._tables.of_result(active.job, data, sum(file.bytes for file in files))
