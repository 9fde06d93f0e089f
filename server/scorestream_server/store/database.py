"""Opening the database: pragmas, migrations, and the two ways in.

Reads run on a few threads; writes go through one thread that puts whatever has gathered into one
transaction (a group commit), so that hundreds of small facts a second cost a few syncs of the disk.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
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
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0) & 0xFF
    named, metadata = f"the store {url.database!r}", {"path": str(url.database)}
    if code == sqlite3.SQLITE_FULL:
        return full_disk(named, metadata)
    if code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
        return failed_disk(named, str(error.__cause__ or error), metadata)
    return None


class _Task:
    """An operation that waits for a thread, and the future of whoever waits for it."""

    def __init__(self, operation: Operation[Any], future: asyncio.Future[Any]) -> None:
        self.operation = operation
        self.future = future
        self.result: object = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Tell whoever waits for it what came of it; on the event loop."""
        if self.future.done():  # its caller was cancelled
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


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
        self._writes: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._told = False
        self._closed = False
        self._loop = asyncio.get_running_loop()
        writer = self._engine.connect().execution_options(writes=True)
        threads = [(self._write_loop, "store-writer", writer)]
        threads += [(self._read_loop, "store-reader", self._engine.connect()) for _ in range(READERS)]
        self._threads = [
            threading.Thread(target=loop, name=name, args=[connection], daemon=True)
            for loop, name, connection in threads
        ]
        for thread in self._threads:
            thread.start()

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads."""
        return await self._done_by(self._reads, operation)

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation that writes; when this returns, its effect is on the disk.

        An operation that raises leaves nothing behind, and does not disturb its neighbours in the batch.
        """
        return await self._done_by(self._writes, operation)

    async def close(self) -> None:
        """Finish what is queued and close."""
        self._closed = True
        self._writes.put(None)
        for _ in range(READERS):
            self._reads.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._engine.dispose()

    async def _done_by(self, tasks: "queue.SimpleQueue[_Task | None]", operation: Operation[T]) -> T:
        if self._closed:
            raise RuntimeError("the store is closed")
        task = _Task(operation, self._loop.create_future())
        tasks.put(task)
        return await task.future  # type: ignore[no-any-return]  # the future carries what the operation returns

    def _hand_over(self, step: Callable[[], None]) -> None:
        """Have the event loop take a step; called on the store's threads."""
        self._done.append(step)
        # Waking the loop costs as much as a statement: who finds it told already has what it brings taken along.
        if not self._told:
            self._told = True
            self._loop.call_soon_threadsafe(self._take_over)

    def _take_over(self) -> None:
        self._told = False
        while self._done:
            self._done.popleft()()

    def _read_loop(self, connection: sa.Connection) -> None:
        with connection:
            while (task := self._reads.get()) is not None:
                if not task.future.cancelled():
                    self._read(connection, task)
                    self._hand_over(task.settle)

    def _read(self, connection: sa.Connection, task: _Task) -> None:
        try:
            with connection.begin():
                task.result = task.operation(connection)
        except Exception as error:  # noqa: BLE001  # it is the caller's, who is on another thread
            task.error = storage_error(error, self._engine.url) or error

    def _write_loop(self, connection: sa.Connection) -> None:
        with connection:
            while (task := self._writes.get()) is not None:
                tasks = [task]
                with contextlib.suppress(queue.Empty):
                    while task is not None and len(tasks) < BATCH:
                        task = self._writes.get_nowait()
                        if task is not None:
                            tasks.append(task)
                self._hand_over(partial(self._settle, tasks, *self._commit(connection, tasks)))
                if task is None:
                    return

    def _commit(
        self, connection: sa.Connection, tasks: Sequence[_Task]
    ) -> tuple[list[Event], list[LogBlock]]:
        events: list[Event] = []
        lines: list[LogBlock] = []
        try:
            with connection.begin():
                run = connection.connection.cursor().execute
                for task in tasks:
                    mine: list[Event] = []
                    my_lines: list[LogBlock] = []
                    connection.info.update(events=mine, lines=my_lines)
                    try:
                        run("SAVEPOINT operation")
                        task.result = task.operation(connection)
                    except Exception as error:  # it is the caller's, who is on another thread
                        if storage_error(error, self._engine.url) is not None:
                            raise  # SQLite may have given up the whole transaction
                        task.error = error
                        run("ROLLBACK TO operation")
                    else:
                        events += mine
                        lines += my_lines
                    run("RELEASE operation")
        except Exception as error:  # noqa: BLE001  # a failed commit fails everybody in it, on their own threads
            for task in tasks:
                task.error = task.error or storage_error(error, self._engine.url) or error
            return [], []
        return events, lines

    def _settle(self, tasks: Sequence[_Task], events: Sequence[Event], lines: Sequence[LogBlock]) -> None:
        if events:
            self._on_events(events)
        if lines:
            self._on_lines(lines)
        for task in tasks:
            task.settle()
