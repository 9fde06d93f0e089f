"""Sessions in which nothing happens end by themselves; what is in use does not."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from scorestream_server.config import Config
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.event import Event, EventType
from scorestream_server.domain.limits import Limits
from scorestream_server.domain.log import LogBlock, LogSelection
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.engine.cache import TableCache
from scorestream_server.engine.engine import Engine
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.engine.kept import KeptVersions
from scorestream_server.engine.quota import JobQuota
from scorestream_server.engine.sessions import SessionEnder
from scorestream_server.engine.table_use import TableUse
from scorestream_server.feed import Feed, LogFeed, Selection
from scorestream_server.store import events as event_store
from scorestream_server.store import sessions
from scorestream_server.store.database import Database, migrate, open_engine
from scorestream_server.workers.contexts import ContextPools
from scorestream_server.workers.local import LocalPool

SESSION = Session("id", "name", "me", SessionState.ACTIVE, 100, 1.0, 1000.0, None, 0, inactive_timeout=60.0)


@dataclass
class Bench:
    database: Database
    feed: Feed
    log: LogFeed
    expiry: SessionExpiry
    published: list[Event]

    async def ended_at(self, now: float) -> list[str]:
        """Return the ids of the sessions that a sweep at this time ends."""
        return [session.id for session in await self.expiry.sweep(now)]

    async def last_active(self) -> float:
        session = await self.database.read(lambda connection: sessions.get(connection, "id", "me"))
        return session.last_active_time


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    directory = DataDirectory(tmp_path)
    engine = open_engine(directory.database_url)
    migrate(engine)
    engine.dispose()
    published: list[Event] = []
    database = Database(directory.database_url, published.extend)

    async def nothing(_selection: Selection, _after: int, _up_to: int, _limit: int) -> list[Event]:
        return []

    async def no_lines(_selection: LogSelection, _after: int, _up_to: int, _limit: int) -> list[LogBlock]:
        return []

    feed = Feed(await database.read(event_store.last_number), nothing)
    pool = LocalPool(devices=[], lanes=1)
    cache = TableCache(Config(directory.root, None), directory, database, pool, TableUse())
    ender = SessionEnder(
        database,
        Engine(database, pool, directory, JobQuota(Limits()), ContextPools(pool, 0), cache),
        pool,
        directory,
        cache,
        KeptVersions(database, directory),
    )
    log = LogFeed(0, no_lines)
    expiry = SessionExpiry(database, feed, log, ender)
    await database.write(lambda connection: sessions.create(connection, SESSION, ""))
    yield Bench(database, feed, log, expiry, published)
    await expiry.close()
    await ender.close()
    await database.close()


async def test_an_idle_session_ends_with_a_reason(bench: Bench) -> None:
    """Not a moment before its time; its event says why, and it ends once."""
    assert await bench.ended_at(1059.9) == []
    assert await bench.ended_at(1060.0) == ["id"]
    assert await bench.ended_at(1061.0) == []
    (event,) = [event for event in bench.published if event.type is EventType.SESSION_ENDED]
    assert event.message == "nothing happened in it for 60 seconds"


async def test_requests_keep_a_session_alive_and_are_written_down(bench: Bench) -> None:
    """A session that was asked for anything between two sweeps begins its time again, also after a restart."""
    bench.expiry.seen("id")
    assert await bench.ended_at(1100.0) == []
    assert await bench.last_active() == 1100.0
    assert await bench.ended_at(1159.9) == []
    assert await bench.ended_at(1160.0) == ["id"]


async def test_a_session_that_is_followed_lives(bench: Bench) -> None:
    """Alone, by its name's prefix, or among all; somebody else's subscription does not count."""
    now = 2000.0
    for selection in (Selection("me", ("id",)), Selection("me", (), "na"), Selection(None)):
        async with aclosing(bench.feed.follow(selection, 0)) as events:
            await anext(events)
            assert await bench.ended_at(now) == []
        now += 1000.0
        assert await bench.ended_at(now - 999.0) == []  # its time begins with the end of the subscription
    async with aclosing(bench.feed.follow(Selection("you"), 0)) as events:
        await anext(events)
        assert await bench.ended_at(now + 1000.0) == ["id"]


async def test_a_session_whose_log_is_followed_lives(bench: Bench) -> None:
    """As with its events: a log that is followed, of the session or of a job, is in use."""
    async with aclosing(bench.log.follow(LogSelection("id", "job"), 0)) as lines:
        await anext(lines)
        assert await bench.ended_at(2000.0) == []
    assert await bench.ended_at(2001.0) == []
    async with aclosing(bench.log.follow(LogSelection("another"), 0)) as lines:
        await anext(lines)
        assert await bench.ended_at(3000.0) == ["id"]


async def test_a_session_without_a_limit_lives_for_ever(bench: Bench) -> None:
    """0 seconds are no limit."""
    other = dataclasses.replace(SESSION, id="other", inactive_timeout=0.0)
    await bench.database.write(lambda connection: sessions.create(connection, other, ""))
    assert await bench.ended_at(1e12) == ["id"]
