"""The only place that builds and connects the server's objects."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence

from scorestream_server.api.audit import audit_file
from scorestream_server.api.devices import DeviceService
from scorestream_server.api.identity import Identifier
from scorestream_server.api.jobs import JobService
from scorestream_server.api.models import ModelService
from scorestream_server.api.results import ResultReader
from scorestream_server.api.server import GrpcServer, Servicers
from scorestream_server.api.sessions import SessionService
from scorestream_server.api.tables import TableService
from scorestream_server.api.tokens import TokenService
from scorestream_server.config import Config
from scorestream_server.device.poller import DevicePoller, Reader
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.event import Event
from scorestream_server.domain.session import SessionState
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.sessions import SessionEnder
from scorestream_server.engine.submit import Submitter
from scorestream_server.feed import Feed, Selection
from scorestream_server.store import events as event_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store import tokens as token_store
from scorestream_server.store.database import Database, migrate, open_engine
from scorestream_server.tables.paths import DataRoots
from scorestream_server.workers.pool import LocalPool

logger = logging.getLogger(__name__)

GRACE_SECONDS = 1.0


@contextlib.asynccontextmanager
async def running(config: Config, pool: LocalPool) -> AsyncIterator[str]:
    """Run a server while the block runs; gives its address.

    Args:
        config: how.
        pool: its workers, on their way up already: they take longest.

    Raises:
        OSError: the data directory or the address cannot be used.
        UnfitError: the server would be open to everybody.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(pool.close)
        directory = DataDirectory(config.data_dir)
        for folder in (directory.root, directory.models, directory.sessions):
            folder.mkdir(parents=True, exist_ok=True)
        if directory.root.stat().st_mode & 0o077:
            logger.warning("others may look into %s; keep them out with: chmod 700", directory.root)

        await asyncio.to_thread(_migrate, directory.database_url)

        feed: Feed | None = None

        def publish(events: Sequence[Event]) -> None:
            if feed is not None:
                feed.publish(events)

        database = Database(directory.database_url, publish)
        stack.push_async_callback(database.close)
        config.check_door(tokens=await database.read(token_store.exist))
        stack.enter_context(audit_file(directory.audit))
        identifier = Identifier(config, database)

        async def backlog(selection: Selection, after: int, up_to: int, limit: int) -> list[Event]:
            return await database.read(
                lambda connection: event_store.page(
                    connection,
                    after=after,
                    up_to=up_to,
                    limit=limit,
                    owner=selection.owner,
                    session_ids=selection.session_ids,
                    session_name_prefix=selection.session_name_prefix,
                    job_id=selection.job_id,
                )
            )

        feed = Feed(await database.read(event_store.last_number), backlog)
        roots = DataRoots(config.data_roots)
        engine = Engine(database, pool, directory)
        pool.on_change = engine.wake
        stack.push_async_callback(engine.close)
        ender = SessionEnder(database, engine, pool, directory)
        stack.push_async_callback(ender.close)
        submitter = Submitter(database, engine, directory, roots)
        resumed = await submitter.recover()
        if resumed:
            logger.warning("going on with %d jobs of the last run", resumed)
        engine.start()
        await _go_on_ending(database, ender, stack)

        poller = DevicePoller(_open_facts, engine.workers)
        stack.callback(poller.close)
        servicers = Servicers(
            SessionService(database, feed, engine, ender),
            JobService(database, feed, engine, submitter, ResultReader(database, feed)),
            TableService(config, database, pool, directory, roots),
            ModelService(config, database, pool, directory),
            DeviceService(poller),
            TokenService(config, database, identifier),
        )
        server = GrpcServer(config, servicers, identifier)
        address = await server.start()
        stack.push_async_callback(server.stop, GRACE_SECONDS)
        yield address


async def serve(config: Config, pool: LocalPool) -> None:
    """Run a server until it is told to stop, or, where it is private, until its parent is gone."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if config.private:
        loop.add_reader(sys.stdin.fileno(), _end_at_eof, stop)
    async with running(config, pool) as address:
        # The one line on standard output is for programs that started this one.
        ready = {"address": address, "data_dir": str(config.data_dir), "pid": os.getpid()}
        print(json.dumps(ready), flush=True)  # noqa: T201
        logger.info("serving on %s, data in %s", address, config.data_dir)
        await stop.wait()
        logger.info("stopping")


def _end_at_eof(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stop.set()
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


def _open_facts() -> Reader:
    # Imported here: many servers are never asked, and each start would wait for it.
    from scorestream_server.device.facts import FactReader  # noqa: PLC0415

    return FactReader()


def _migrate(url: str) -> None:
    engine = open_engine(url)
    try:
        migrate(engine)
    finally:
        engine.dispose()


async def _go_on_ending(database: Database, ender: SessionEnder, stack: contextlib.AsyncExitStack) -> None:
    """Take up the ends of sessions that the last run did not finish."""
    ending = await database.read(lambda connection: session_store.in_state(connection, [SessionState.ENDING]))
    tasks = [
        asyncio.create_task(ender.end(session, cancel=False, force=False, why="terminated by a client"))
        for session in ending
    ]

    async def stop() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(stop)
