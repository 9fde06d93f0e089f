"""The only place that builds and connects the server's objects."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scorestream_server.api.audit import audit_file
from scorestream_server.api.cache import CacheService
from scorestream_server.api.contexts import ContextService
from scorestream_server.api.data import DataService
from scorestream_server.api.deployments import DeploymentService, loader
from scorestream_server.api.devices import DeviceService
from scorestream_server.api.engines import EngineService
from scorestream_server.api.filerefs import FilerefService
from scorestream_server.api.files import FileService
from scorestream_server.api.found_tables import FoundTables
from scorestream_server.api.identity import Identifier
from scorestream_server.api.jobs import JobService
from scorestream_server.api.libraries import LibraryService
from scorestream_server.api.log import LogService
from scorestream_server.api.models import ModelService
from scorestream_server.api.options import OptionService
from scorestream_server.api.owned import OwnSessions
from scorestream_server.api.processes import ProcessService
from scorestream_server.api.reports import ReportService
from scorestream_server.api.results import ResultReader
from scorestream_server.api.row_artifacts import RowArtifactService
from scorestream_server.api.saves import TableSaver, recover_saves
from scorestream_server.api.schedules import ScheduleService
from scorestream_server.api.server import GrpcServer, Servicers
from scorestream_server.api.sessions import SessionService
from scorestream_server.api.table_actions import TableActionService
from scorestream_server.api.tables import TableService
from scorestream_server.api.tokens import TokenService
from scorestream_server.api.trace import TraceService
from scorestream_server.api.variables import VariableService
from scorestream_server.config import Config
from scorestream_server.contexts.built_in import built_in_contexts, server_facts
from scorestream_server.device.poller import DevicePoller, Reader
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.event import Event
from scorestream_server.domain.home import home_place
from scorestream_server.domain.log import LogBlock, LogSelection
from scorestream_server.domain.session import SessionState
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.deployed import DeployedJobs
from scorestream_server.engine.deployments import Deployer
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.engine.housekeeping import keep_house
from scorestream_server.engine.kept import KeptVersions
from scorestream_server.engine.leftovers import remove_leftovers
from scorestream_server.engine.new_sessions import SessionMaker
from scorestream_server.engine.papers import Papers
from scorestream_server.engine.processes import Processes
from scorestream_server.engine.quota import JobQuota
from scorestream_server.engine.runtimes import Runtimes
from scorestream_server.engine.schedules import Schedules
from scorestream_server.engine.sessions import SessionEnder
from scorestream_server.engine.submit import Submitter
from scorestream_server.engine.table_keeper import TableKeeper
from scorestream_server.engine.table_use import TableUse
from scorestream_server.feed import Feed, LogFeed, Selection
from scorestream_server.store import cached as cache_store
from scorestream_server.store import events as event_store
from scorestream_server.store import log as log_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store import tokens as token_store
from scorestream_server.store.contexts import ContextStore
from scorestream_server.store.database import Database
from scorestream_server.store.holdings import read_holdings
from scorestream_server.store.libraries import LibraryStore
from scorestream_server.store.opening import open_store
from scorestream_server.store.owner import Ownership
from scorestream_server.store.usage import Usage
from scorestream_server.tables.paths import DataRoots
from scorestream_server.workers.contexts import ContextPools
from scorestream_server.workers.local import LocalPool

logger = logging.getLogger(__name__)

GRACE_SECONDS = 1.0
LOG_GATHER_SECONDS = 0.05
"""A short job writes its first and its last lines within this time: they are one message to whoever follows."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs, and the two parts of it that have to be told when it is to stop."""

    address: str
    server: GrpcServer
    engine: Engine

    async def drain(self, seconds: float, hurry: asyncio.Event) -> None:
        """Take nothing new, and have what is in flight committed: until `seconds` are over, or `hurry` is set."""
        await self.server.close_gate()
        steps = [asyncio.create_task(self.engine.drain()), asyncio.create_task(hurry.wait())]
        done, late = await asyncio.wait(steps, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        await _cancelled(*late)
        if steps[0] not in done:
            logger.warning("partitions in flight were not waited for; the next start runs them again")


@contextlib.asynccontextmanager
async def running(config: Config, pool: LocalPool) -> AsyncIterator[Running]:
    """Run a server while the block runs.

    Args:
        config: how.
        pool: its workers, on their way up already: they take longest.

    Raises:
        OSError: the data directory or the address cannot be used.
        UnusableDirectoryError: the store in the data directory cannot be trusted.
        UnfitError: the server would be open to everybody.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(pool.close)
        directory = DataDirectory(config.data_dir, config.cache_dirs)
        await asyncio.to_thread(open_store, directory)
        _make_folders(directory)

        feeds = _Feeds()
        database = Database(directory.database_url, feeds.publish, feeds.publish_lines)
        stack.push_async_callback(database.close)
        stack.push_async_callback(_cancelled, asyncio.create_task(keep_house(database)))
        config.check_door(tokens=await database.read(token_store.exist))
        stack.enter_context(audit_file(directory.audit))
        identifier = Identifier(config, database)

        await _tidy_up(database, directory)

        feed, log = await feeds.open(database)
        quota, usage = JobQuota(config.limits, config.queues), Usage(config.limits.stored_bytes)
        roots, use = DataRoots(config.data_roots), TableUse()
        contexts = ContextStore(built_in_contexts(config))
        pools = ContextPools(pool, config.limits.context_workers)
        stack.callback(pools.close)
        await _take_up(contexts, database, pools)
        cache = TableCache(config, directory, database, pool, use)
        stack.push_async_callback(cache.sweeper.close)
        engine = Engine(database, pool, directory, quota, pools, cache)
        pool.on_change = engine.wake
        stack.push_async_callback(engine.close)
        kept, libraries = KeptVersions(database, directory), LibraryStore(config.libraries)
        ender = SessionEnder(database, engine, pool, directory, cache, kept)
        stack.push_async_callback(ender.close)
        submitter = Submitter(database, engine, directory, roots, quota, usage, use)
        await _recover(submitter)
        engine.start()
        expiry = _expire(SessionExpiry(database, feed, log, ender), stack)
        await _go_on_ending(database, ender, stack)
        stack.push_async_callback(_keep_tables(database, directory, use, engine, cache).close)

        papers = Papers(database, pool, directory)
        stack.push_async_callback(papers.close)
        poller = stack.enter_context(contextlib.closing(DevicePoller(_open_facts, engine.workers)))
        sessions = OwnSessions(database, expiry)
        maker = SessionMaker(contexts, engine.queues, config.limits.sessions, config.max_task_timeout)
        saver = TableSaver(database, pool, cache, directory, roots, engine.homes, kept)
        tables = FoundTables(database, expiry, use)
        table_service = TableService(
            config,
            database,
            pool,
            directory,
            roots,
            expiry,
            usage,
            saver,
            cache,
            tables,
            libraries,
            engine.admission,
        )
        runtimes = Runtimes(database, contexts, engine)
        deployments = await _deploying(
            Deployer(database, pool, directory, engine, runtimes),
            DeployedJobs(database, engine, runtimes, maker, ender, submitter, loader(table_service)),
            stack,
        )
        servicers = Servicers(
            SessionService(database, feed, engine, ender, expiry, maker),
            JobService(
                database, feed, engine, submitter, ResultReader(database, feed, engine), expiry, papers
            ),
            table_service,
            ModelService(config, database, pool, directory, usage, sessions, roots),
            DeviceService(poller),
            TokenService(config, database, identifier),
            ContextService(database, contexts, server_facts(config, roots), engine.queues, pools),
            FileService(config, database, sessions, engine.homes, roots, usage),
            FilerefService(database, sessions, engine.homes, roots),
            DataService(database, pool, directory, sessions, tables, cache),
            LogService(database, log, expiry),
            ReportService(database, papers, expiry),
            VariableService(database, expiry),
            OptionService(database, expiry),
            EngineService(config, poller),
            CacheService(database, cache),
            LibraryService(database, libraries, roots, sessions),
            TableActionService(database, directory, tables, engine, usage, cache),
            RowArtifactService(database, expiry),
            DeploymentService(database, *deployments),
            *await _processing(config, database, engine, deployments[1], stack),
            TraceService(database),
        )
        server = GrpcServer(config, servicers, identifier)
        address = await server.start()
        stack.push_async_callback(server.stop, GRACE_SECONDS)
        yield Running(address, server, engine)


class _Feeds:
    """The feeds, which read the store, and which the store publishes to."""

    def __init__(self) -> None:
        self._events: Feed | None = None
        self._log: LogFeed | None = None

    async def open(self, database: Database) -> tuple[Feed, LogFeed]:
        """Begin where the store is."""

        async def events(selection: Selection, after: int, up_to: int, limit: int) -> list[Event]:
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

        async def lines(selection: LogSelection, after: int, up_to: int, limit: int) -> list[LogBlock]:
            return await database.read(
                lambda connection: log_store.page(connection, selection, after, up_to, limit)
            )

        self._events = Feed(await database.read(event_store.last_number), events)
        self._log = LogFeed(await database.read(log_store.last_number), lines, LOG_GATHER_SECONDS)
        return self._events, self._log

    def publish(self, events: Sequence[Event]) -> None:
        """Hand out events; before anybody can follow there is nothing to do."""
        if self._events is not None:
            self._events.publish(events)

    def publish_lines(self, lines: Sequence[LogBlock]) -> None:
        """Hand out lines of logs."""
        if self._log is not None:
            self._log.publish(lines)


async def serve(config: Config, pool: LocalPool, ownership: Ownership) -> None:
    """Run a server until it is told to stop, or, where it is private, until its parent is gone.

    The first signal drains it, the second ends it.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_or_hurry() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop_or_hurry)
    if config.private:
        loop.add_reader(sys.stdin.fileno(), _end_at_eof, stop)
    async with running(config, pool) as server:
        ownership.tell(server.address)
        # The one line on standard output is for programs that started this one.
        ready = {"address": server.address, "data_dir": str(config.data_dir), "pid": os.getpid()}
        print(json.dumps(ready), flush=True)  # noqa: T201
        logger.info("serving on %s, data in %s", server.address, config.data_dir)
        await stop.wait()
        logger.info("stopping")
        await server.drain(config.drain_seconds, hurry)


def _make_folders(directory: DataDirectory) -> None:
    for folder in (
        directory.models,
        directory.sessions,
        directory.publishing,
        directory.global_tables,
        directory.reads(""),
    ):
        folder.mkdir(exist_ok=True)
    found = directory.root.stat()
    # By its group come workers that run as another user, who then find nothing but what is for them.
    passing = 0o010 if found.st_gid == os.getegid() else 0
    if found.st_mode & 0o077 & ~passing:
        logger.warning("others may look into %s; keep them out with: chmod 700", directory.root)


async def _recover(submitter: Submitter) -> None:
    """Take up the jobs that the last run did not finish."""
    if resumed := await submitter.recover():
        logger.warning("going on with %d jobs of the last run", resumed)


def _keep_tables(
    database: Database, directory: DataDirectory, use: TableUse, engine: Engine, cache: TableCache
) -> TableKeeper:
    """Begin to look after tables; the jobs of the last run are taken up by now."""
    keeper = TableKeeper(
        database,
        directory,
        use,
        lambda: {active.job.spec.table_uid for active in engine.jobs.values()},
        cache.sweeper.sweep,
    )
    keeper.start()
    return keeper


async def _take_up(contexts: ContextStore, database: Database, pools: ContextPools) -> None:
    """Have the workers started that contexts keep ready."""
    if hidden := await database.read(contexts.hidden):
        logger.warning(
            "the configuration file's contexts hide clients' of these names: %s", ", ".join(hidden)
        )
    for context in await database.read(contexts.every):
        pools.configure(context.id, context.settings)


def _end_at_eof(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stop.set()
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


def _open_facts() -> Reader:
    # Imported here: many servers are never asked, and each start would wait for it.
    from scorestream_server.device.facts import FactReader  # noqa: PLC0415

    return FactReader()


async def _tidy_up(database: Database, directory: DataDirectory) -> None:
    """Put in order what the last run left, once the store knows where its tables are."""
    await recover_saves(database, directory)
    caches = directory.cache_dirs
    if moved := await database.write(lambda connection: cache_store.relocate_cache(connection, caches)):
        logger.warning("%d tables were found in other cache directories than before", moved)
    holdings = await database.read(lambda connection: read_holdings(connection, directory))
    homes = await _homes(database, directory)
    if removed := await asyncio.to_thread(remove_leftovers, directory, holdings, homes):
        logger.warning("removed %d leftovers of the last run", removed)


async def _homes(database: Database, directory: DataDirectory) -> list[Path]:
    """Return the homes of the sessions that have not ended."""
    states = [SessionState.ACTIVE, SessionState.ENDING]
    found = await database.read(lambda connection: session_store.in_state(connection, states))
    return [home_place(directory, session).root for session in found]


async def _go_on_ending(database: Database, ender: SessionEnder, stack: contextlib.AsyncExitStack) -> None:
    """Take up the ends of sessions that the last run did not finish."""
    ending = await database.read(lambda connection: session_store.in_state(connection, [SessionState.ENDING]))
    tasks = [
        asyncio.create_task(ender.end(session, cancel=False, force=False, why="terminated by a client"))
        for session in ending
    ]

    stack.push_async_callback(_cancelled, *tasks)


def _expire(expiry: SessionExpiry, stack: contextlib.AsyncExitStack) -> SessionExpiry:
    """Begin to end idle sessions."""
    expiry.start()
    stack.push_async_callback(expiry.close)
    return expiry


async def _deploying(
    deployer: Deployer, jobs: DeployedJobs, stack: contextlib.AsyncExitStack
) -> tuple[Deployer, DeployedJobs]:
    """Take up the deployments, and the jobs of deployments, that the last run did not finish."""
    stack.push_async_callback(deployer.close)
    stack.push_async_callback(jobs.close)
    await deployer.recover()
    jobs.recover()
    return deployer, jobs


async def _processing(
    config: Config, database: Database, engine: Engine, jobs: DeployedJobs, stack: contextlib.AsyncExitStack
) -> tuple[ProcessService, ScheduleService]:
    """Take up the processes that the last run did not finish, then run what is due."""
    processes = Processes(config, database, engine, jobs)
    stack.push_async_callback(processes.close)
    if resumed := await processes.recover():
        logger.warning("going on with %d processes of the last run", resumed)
    schedules = Schedules(database, processes)
    schedules.start()
    stack.push_async_callback(schedules.close)
    return ProcessService(database, processes), ScheduleService(database, schedules)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and return when they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
