"""Sessions in which nothing happens end by themselves."""

import asyncio
import logging
import time

from scorestream_server.domain.session import Session
from scorestream_server.engine.sessions import SessionEnder
from scorestream_server.feed import Feed, LogFeed
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 0.5


class SessionExpiry:
    """Ends idle sessions; hears of activity that the store does not know of.

    Jobs and their ends are in the store. Reads are not worth a write each: they are remembered here, and written
    with the next sweep. Whoever follows a session keeps it alive, and so does a lease that is renewed.
    """

    def __init__(self, database: Database, feed: Feed, log: LogFeed, ender: SessionEnder) -> None:
        self._database = database
        self._feeds = (feed, log)
        self._ender = ender
        self._seen: set[str] = set()
        self._leases: dict[str, dict[object, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def seen(self, session_id: str) -> None:
        """Note that a request named a session or what belongs to it."""
        self._seen.add(session_id)

    def hold(self, session_id: str, lease: object, until: float) -> None:
        """Keep a session alive until then, seconds since 1970, and count its inactivity from then on."""
        self.seen(session_id)
        self._leases.setdefault(session_id, {})[lease] = until

    def let_go(self, session_id: str, lease: object) -> None:
        """End a lease; its session's inactivity counts from now on."""
        if self._leases.get(session_id, {}).pop(lease, None) is not None:
            self.seen(session_id)
        if not self._leases.get(session_id):
            self._leases.pop(session_id, None)

    def start(self) -> None:
        """Begin to look for idle sessions."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop looking, and write down what was seen."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._write_seen(time.time())

    async def sweep(self, now: float) -> list[Session]:
        """End the sessions that have been idle for too long, and return them as they were."""
        self._drop_lapsed(now)
        await self._write_seen(now)
        idle = await self._database.read(lambda connection: session_store.idle(connection, now))
        ended = []
        for session in idle:
            followed = any(feed.is_followed(session.owner, session.id, session.name) for feed in self._feeds)
            if followed or session.id in self._leases:
                self._seen.add(session.id)
                continue
            why = f"nothing happened in it for {session.inactive_timeout:,g} seconds"
            await self._ender.end(session, cancel=False, force=False, why=why)
            ended.append(session)
        return ended

    def _drop_lapsed(self, now: float) -> None:
        for session_id, leases in list(self._leases.items()):
            for lease in [lease for lease, until in leases.items() if until <= now]:
                self.let_go(session_id, lease)

    async def _write_seen(self, now: float) -> None:
        if self._seen:
            seen, self._seen = sorted(self._seen), set()
            await self._database.write(lambda connection: session_store.touch_all(connection, seen, now))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep(time.time())
            except Exception:  # the next sweep may do better; a session that lives too long harms nobody
                logger.exception("idle sessions could not be ended")
