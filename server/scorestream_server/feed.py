"""The feed: numbered events, followed from any number on; lines of logs are followed alike.

A follower gets what the store has after its number, then what is published live; nothing is missed or
repeated where the two meet. A follower that reads too slowly is not buffered without bound: what it did
not fetch in time it reads from the store.
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from scorestream_server.domain.event import Event
from scorestream_server.domain.log import LogBlock, LogSelection

BATCH = 256
BUFFERED_EVENTS = 2048


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events are wanted; every condition that is given must hold.

    Attributes:
        owner: only what belongs to this owner; None for everybody's.
    """

    owner: str | None
    session_ids: tuple[str, ...] = ()
    session_name_prefix: str = ""
    job_id: str = ""

    def matches(self, event: Event) -> bool:
        """Whether the event is wanted."""
        return self.includes(event.owner, event.session_id, event.session_name) and (
            not self.job_id or event.job_id == self.job_id
        )

    def includes(self, owner: str, session_id: str, session_name: str) -> bool:
        """Whether events of the session are wanted."""
        return (
            (self.owner is None or owner == self.owner)
            and (not self.session_ids or session_id in self.session_ids)
            and session_name.startswith(self.session_name_prefix)
        )


class Fact(Protocol):
    """What a feed carries: numbered, growing, and of a session."""

    @property
    def number(self) -> int:
        """Its place in the feed."""
        ...

    @property
    def session_id(self) -> str:
        """The session that it belongs to."""
        ...


F = TypeVar("F", bound=Fact)
F_contra = TypeVar("F_contra", bound=Fact, contravariant=True)


class Wanted(Protocol[F_contra]):
    """Which facts a follower wants."""

    @property
    def session_ids(self) -> tuple[str, ...]:
        """Only of these sessions; empty: of any."""
        ...

    def matches(self, fact: F_contra, /) -> bool:
        """Whether the fact is wanted."""
        ...

    def includes(self, owner: str, session_id: str, session_name: str, /) -> bool:
        """Whether facts of the session are wanted."""
        ...


S = TypeVar("S", bound=Wanted[Any])
ReadBacklog = Callable[[S, int, int, int], Awaitable[list[F]]]
"""``(selection, after, up_to, limit)`` to stored facts, in order."""


@dataclass(eq=False)
class _Follower(Generic[F, S]):
    selection: S
    events: deque[F] = field(default_factory=deque)
    overflowed: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, after: int) -> list[F]:
        """Return the next events with higher numbers than `after`; none where there are none yet."""
        taken: list[F] = []
        while self.events and len(taken) < BATCH:
            event = self.events.popleft()
            if event.number > after:
                taken.append(event)
        return taken


class FactFeed(Generic[F, S]):
    """Publishes committed events, or lines, to whoever follows them; used on the event loop only."""

    def __init__(self, head: int, read_backlog: ReadBacklog[S, F], gather_seconds: float = 0.0) -> None:
        """Prepare.

        Args:
            head: the highest number in the store.
            read_backlog: reads from the store.
            gather_seconds: how long news waits at each follower for company, where messages cost more than that matters.
        """
        self._head = head
        self._gather_seconds = gather_seconds
        self._read_backlog = read_backlog
        self._by_session: dict[str, set[_Follower[F, S]]] = defaultdict(set)
        self._of_any_session: set[_Follower[F, S]] = set()

    @property
    def head(self) -> int:
        """The number of the last event published."""
        return self._head

    def publish(self, events: Sequence[F]) -> None:
        """Hand out events that are durable, in the order of their numbers."""
        for event in events:
            self._head = event.number
            for follower in (*self._of_any_session, *self._by_session.get(event.session_id, ())):
                if not follower.selection.matches(event):
                    continue
                # Once something was left out, nothing is taken until the follower has caught up from the
                # store: an event behind a gap would hide the gap.
                follower.overflowed = follower.overflowed or len(follower.events) == BUFFERED_EVENTS
                if not follower.overflowed:
                    follower.events.append(event)
                follower.arrived.set()

    def is_followed(self, owner: str, session_id: str, session_name: str) -> bool:
        """Whether anybody follows the events of a session, alone or among others."""
        return any(
            follower.selection.includes(owner, session_id, session_name)
            for follower in (*self._of_any_session, *self._by_session.get(session_id, ()))
        )

    async def follow(self, selection: S, after: int) -> AsyncGenerator[Sequence[F], None]:
        """Yield wanted events with higher numbers than `after`, then wait for more, without end.

        What is there comes together, up to `BATCH` events at once: a message of many events costs little
        more than one of a single event. Yields an empty batch each time it has caught up with everything
        published, so that the caller can decide whether it has seen enough.
        """
        with self._joined(_Follower[F, S](selection)) as follower:
            seen, head = after, self._head
            while True:
                async for batch in self._stored(selection, seen, head):
                    seen = batch[-1].number
                    yield batch
                seen = max(seen, head)
                while not follower.overflowed:
                    if not follower.events:
                        follower.arrived.clear()
                        yield ()
                        await follower.arrived.wait()
                        if self._gather_seconds:
                            await asyncio.sleep(self._gather_seconds)
                    while batch := follower.take(seen):
                        seen = batch[-1].number
                        yield batch
                follower.overflowed, head = False, self._head

    @contextlib.contextmanager
    def _joined(self, follower: _Follower[F, S]) -> Iterator[_Follower[F, S]]:
        """Have a follower get what is published while the block runs."""
        sessions = follower.selection.session_ids
        homes = [self._by_session[session] for session in sessions] or [self._of_any_session]
        for home in homes:
            home.add(follower)
        try:
            yield follower
        finally:
            for home in homes:
                home.discard(follower)
            for session in sessions:
                if not self._by_session[session]:
                    del self._by_session[session]

    async def _stored(self, selection: S, after: int, up_to: int) -> AsyncIterator[Sequence[F]]:
        while after < up_to:
            page = await self._read_backlog(selection, after, up_to, BATCH)
            if page:
                yield page
            if len(page) < BATCH:
                return
            after = page[-1].number


Feed = FactFeed[Event, Selection]
"""The events of all sessions."""
LogFeed = FactFeed[LogBlock, LogSelection]
"""The lines of all logs."""
