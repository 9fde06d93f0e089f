"""Opening the database: pragmas, migrations, and the two ways in.

Reads run on a few threads; writes go through one thread that puts whatever has gathered into one
transaction (a group commit), so that hundreds of small facts a second cost a few syncs of the disk.
"""

import asyncio
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import sqlalchemy as sa

from scorestream_server.domain.disk import StorageError, failed_disk, full_disk
from scorestream_server.domain.event import Event
from scorestream_server.domain.log import LogBlock
from scorestream_server.store.schema import METADATA, VERSION, VERSIONS

T = TypeVar("T")
Operation = Callable[[sa.Connection], T]
READERS = 2
BATCH = 256
"""Operations in one transaction at most, so that the first of them does not wait for ever."""


def open_engine(url: str) -> sa.Engine:
    """Return an engine for a database URL; SQLite gets WAL, foreign keys and a busy timeout."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        # The driver must not begin transactions by itself, or BEGIN IMMEDIATE below could not.
        @sa.event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: object) -> None:
            connection.isolation_level = None
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
                connection.execute(f"PRAGMA {pragma}")

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            # A read that becomes a write gets SQLITE_BUSY in spite of the timeout: say so beforehand.
            writes = connection.get_execution_options().get("writes", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def migrate(engine: sa.Engine) -> None:
    """Bring the database's tables to this version's, in one transaction; a new database gets them as they are now."""
    with engine.execution_options(writes=True).begin() as connection:
        found = version_of(connection)
        if found is None:
            METADATA.create_all(connection, checkfirst=False)
            VERSIONS.create(connection)
            connection.execute(VERSIONS.insert().values(version_num=VERSION))
        elif found != VERSION:
            # Here, because Alembic takes its time and 11 MiB, and most starts find nothing to migrate.
            from scorestream_server.store.upgrade import upgrade  # noqa: PLC0415

            upgrade(connection, VERSION)


def version_of(connection: sa.Connection) -> str | None:
    """Return which migration a database has come to; None where it is new."""
    if not sa.inspect(connection).has_table(VERSIONS.name):
        return None
    return str(connection.execute(sa.select(VERSIONS.c.version_num)).scalar_one())


def storage_error(error: Exception, url: sa.URL) -> StorageError | None:
    """Return what to tell of a statement that failed because of the disk below a store; None for other reasons."""
    # The low byte: without what makes it an extended one.
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0) & 0xFF
    named, metadata = f"the store {url.database!r}", {"path": str(url.database)}
    if code == sqlite3.SQLITE_FULL:
        return full_disk(named, metadata)
    if code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
        return failed_disk(named, str(error.__cause__ or error), metadata)
    return None


class _Write:
    """One operation that waits for the writer, and the future of whoever waits for it."""

    def __init__(self, operation: Operation[Any], future: asyncio.Future[Any], due: float) -> None:
        self.operation = operation
        self.future = future
        self.due = due
        self.result: object = None
        self.error: Exception | None = None


class Database:
    """Runs operations off the event loop: ``await read(...)``, ``await write(...)``.

    An operation is a function of a connection. One that writes events appends them to
    ``connection.info["events"]``; once its transaction is durable, `on_events` gets all events of the
    transaction, in the order of their numbers, before any caller goes on. So it is with lines of logs,
    ``connection.info["lines"]`` and `on_lines`.
    """

    def __init__(
        self,
        url: str,
        on_events: Callable[[Sequence[Event]], None],
        on_lines: Callable[[Sequence[LogBlock]], None] = lambda _: None,
    ) -> None:
        self._engine = open_engine(url)
        self._on_events = on_events
        self._on_lines = on_lines
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, "store-reader")
        self._writer = threading.Thread(target=self._write_loop, name="store-writer", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._writer.start()

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads."""
        return await self._loop.run_in_executor(self._readers, self._read, operation)

    async def write(self, operation: Operation[T], *, patience: float = 0.0) -> T:
        """Run an operation that writes; when this returns, its effect is on the disk.

        An operation that raises leaves nothing behind, and does not disturb its neighbours in the batch.

        Args:
            operation: what to do.
            patience: seconds for which it may wait for others to share a transaction with.
        """
        write = _Write(operation, self._loop.create_future(), time.monotonic() + patience)
        self._queue.put(write)
        return await write.future  # type: ignore[no-any-return]  # the future carries what the operation returns

    async def close(self) -> None:
        """Finish what is queued and close."""
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._writer.join)
        self._readers.shutdown()
        self._engine.dispose()

    def _read(self, operation: Operation[T]) -> T:
        try:
            with self._engine.begin() as connection:
                return operation(connection)
        except sa.exc.DBAPIError as error:
            told = storage_error(error, self._engine.url)
            if told is None:
                raise
            raise told from error

    def _write_loop(self) -> None:
        open_ = True
        while open_:
            writes: list[_Write] = []
            due = math.inf
            try:
                # Whoever is most impatient decides how long the transaction is kept open for company.
                while len(writes) < BATCH:
                    write = self._queue.get(
                        timeout=None if due == math.inf else max(0.0, due - time.monotonic())
                    )
                    if write is None:
                        open_ = False
                        break
                    writes.append(write)
                    due = min(due, write.due)
            except queue.Empty:
                pass
            if writes:
                self._loop.call_soon_threadsafe(self._settle, writes, *self._commit(writes))

    def _commit(self, writes: Sequence[_Write]) -> tuple[list[Event], list[LogBlock]]:
        events: list[Event] = []
        lines: list[LogBlock] = []
        try:
            with self._engine.execution_options(writes=True).begin() as connection:
                for write in writes:
                    mine: list[Event] = []
                    my_lines: list[LogBlock] = []
                    connection.info.update(events=mine, lines=my_lines)
                    try:
                        connection.exec_driver_sql("SAVEPOINT operation")
                        write.result = write.operation(connection)
                    except sa.exc.DBAPIError as error:
                        if storage_error(error, self._engine.url) is not None:
                            raise  # SQLite may have given up the whole transaction
                        write.error = error
                        connection.exec_driver_sql("ROLLBACK TO operation")
                    except Exception as error:  # noqa: BLE001  # it is the caller's, who is on another thread
                        write.error = error
                        connection.exec_driver_sql("ROLLBACK TO operation")
                    else:
                        events += mine
                        lines += my_lines
                    connection.exec_driver_sql("RELEASE operation")
        except Exception as error:  # noqa: BLE001  # a failed commit fails everybody in it, on their own threads
            for write in writes:
                write.error = write.error or storage_error(error, self._engine.url) or error
            return [], []
        return events, lines

    def _settle(self, writes: Sequence[_Write], events: Sequence[Event], lines: Sequence[LogBlock]) -> None:
        if events:
            self._on_events(events)
        if lines:
            self._on_lines(lines)
        for write in writes:
            if write.future.done():  # its caller was cancelled
                continue
            if write.error is not None:
                write.future.set_exception(write.error)
            else:
                write.future.set_result(write.result)
