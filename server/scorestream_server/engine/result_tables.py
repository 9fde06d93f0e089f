"""Tables that are made of jobs' results."""

import asyncio
import shutil
import time
import uuid

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.job import Job
from scorestream_server.domain.table import BackingStore, LoadedAs, Table, TableData
from scorestream_server.engine.table_files import bytes_key, own_files
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database


class ResultTables:
    """Makes them; whether they are to be had is decided when the job's success is recorded.

    Args:
        database: the store.
        directory: the data directory.
    """

    def __init__(self, database: Database, directory: DataDirectory) -> None:
        self._database = database
        self._directory = directory

    async def of_result(self, job: Job, data: TableData, size: int) -> Table:
        """Return the table that a job asked for, with files of its own where it is a global one.

        Args:
            job: which.
            data: made of the committed partitions as they lie there.
            size: of their files.

        Raises:
            ScorestreamError: DISK_FULL.
            OSError: a file cannot be read or linked.
        """
        spec, now, uid = job.spec, time.time(), str(uuid.uuid4())
        if spec.out_promote:
            session = await self._database.read(
                lambda connection: session_store.get(connection, job.session_id, None)
            )
            folder = self._directory.global_table(uid)
            try:
                data = await asyncio.to_thread(
                    own_files, data, folder, self._directory, session, of_home=True
                )
            except BaseException:
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
                raise
        return Table(
            uid,
            job.session_id,
            spec.out_table,
            data,
            (),
            size,
            size if spec.out_promote else 0,
            now,
            owner=job.owner,
            is_global=spec.out_promote,
            label=spec.out_label,
            lifetime=spec.out_lifetime,
            last_access_time=now,
            bytes_key=await asyncio.to_thread(bytes_key, data),
            loaded=LoadedAs(BackingStore.DISK_CACHE, "job"),
        )

    async def forget(self, table: Table) -> None:
        """Remove the files of a table that was not recorded."""
        if table.is_global:
            folder = self._directory.global_table(table.uid)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
