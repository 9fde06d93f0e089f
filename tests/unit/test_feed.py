"""The feed: nothing missed, nothing twice, however slowly it is read."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from scorestream_server import feed as feed_module
from scorestream_server.domain.event import Event, EventType
from scorestream_server.feed import Feed, Selection


class Stored:
    """A store of events in memory, as the real one answers the feed."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.reads = 0
        self.feed = Feed(0, self.read)

    async def read(self, selection: Selection, after: int, up_to: int, limit: int) -> list[Event]:
        self.reads += 1
        await asyncio.sleep(0)  # others get their turn, as with the real store
        wanted = [e for e in self.events if after < e.number <= up_to and selection.matches(e)]
        return wanted[:limit]

    def publish(self, count: int = 1, session: str = "s", owner: str = "me") -> None:
        for _ in range(count):
            number = len(self.events) + 1
            event = Event(number, 0.0, EventType.WARNING, session, f"name-{session}", owner, "job")
            self.events.append(event)
            self.feed.publish([event])


EVERYTHING = Selection(None)


async def numbers(follower: AsyncIterator[Sequence[Event]], until: int) -> list[int]:
    """Return the numbers that a follower sees, up to `until`."""
    seen = []
    async for batch in follower:
        seen += [event.number for event in batch]
        if seen and seen[-1] >= until:
            break
    return seen


async def test_a_follower_gets_what_was_before_it_and_what_comes() -> None:
    """The backlog and the live events meet without a gap or a repetition."""
    stored = Stored()
    stored.publish(5)
    follower = stored.feed.follow(EVERYTHING, after=2)
    task = asyncio.create_task(numbers(follower, until=8))
    await asyncio.sleep(0)
    stored.publish(3)
    assert await task == [3, 4, 5, 6, 7, 8]


async def test_events_published_while_the_backlog_is_read_come_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published between the reading of two pages is neither lost nor doubled."""
    monkeypatch.setattr(feed_module, "BATCH", 2)
    stored = Stored()
    stored.publish(3)
    follower = stored.feed.follow(EVERYTHING, after=0)
    seen = []
    async for batch in follower:
        if not batch:
            break
        seen += [event.number for event in batch]
        if 1 in seen and len(stored.events) == 3:
            stored.publish(2)
    assert seen == [1, 2, 3, 4, 5]


async def test_a_slow_follower_reads_what_it_missed_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that falls behind its buffer gets everything, in order, and the buffer stays bounded."""
    monkeypatch.setattr(feed_module, "BUFFERED_EVENTS", 10)
    stored = Stored()
    follower = stored.feed.follow(EVERYTHING, after=0)
    monkeypatch.setattr(feed_module, "BATCH", 4)
    assert not await anext(follower)
    stored.publish(1)
    seen = [event.number for event in await anext(follower)]
    stored.publish(35)
    bursts = iter([1, 20, 1])
    while len(seen) < len(stored.events):
        batch = await anext(follower)
        assert len(batch) <= 4
        seen += [event.number for event in batch]
        stored.publish(next(bursts, 0))
    assert seen == list(range(1, 59))
    assert stored.reads > 0


async def test_a_follower_is_told_when_it_has_caught_up() -> None:
    """An empty batch comes once after everything published, and again after whatever comes later."""
    stored = Stored()
    stored.publish(2)
    follower = stored.feed.follow(EVERYTHING, after=0)
    assert [[e.number for e in await anext(follower)] for _ in range(2)] == [[1, 2], []]
    stored.publish(1)
    assert [[e.number for e in await anext(follower)] for _ in range(2)] == [[3], []]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection("me"), [1, 2]),
        (Selection("me", ("a",)), [1]),
        (Selection("me", (), "name-b"), [2]),
        (Selection(None, (), "", "job"), [1, 2, 3]),
        (Selection(None, (), "", "other"), []),
    ],
)
async def test_only_what_was_asked_for_comes(selection: Selection, expected: list[int]) -> None:
    """Owner, sessions, prefix and job all restrict, in the backlog and live alike."""
    for live in (False, True):
        stored = Stored()
        follower = stored.feed.follow(selection, after=0)
        if live:
            assert not await anext(follower)
        stored.publish(session="a")
        stored.publish(session="b")
        stored.publish(session="c", owner="you")
        if live and not expected:
            waiting = asyncio.ensure_future(anext(follower))
            await asyncio.sleep(0)
            assert not waiting.done()
            waiting.cancel()
        else:
            assert [event.number for event in await anext(follower)] == expected


async def test_a_follower_that_leaves_is_forgotten() -> None:
    """Nothing is kept for a follower that was closed."""
    stored = Stored()
    for selection in (EVERYTHING, Selection(None, ("a", "b"))):
        follower = stored.feed.follow(selection, after=0)
        assert not await anext(follower)
        async with contextlib.aclosing(follower):
            pass
    assert not stored.feed._of_any_session
    assert not stored.feed._by_session


async def test_what_is_published_within_a_moment_comes_together() -> None:
    """Where news waits for company: one batch of what came meanwhile, in order."""
    stored = Stored()
    feed = stored.feed = Feed(0, stored.read, gather_seconds=0.001)
    follower = feed.follow(EVERYTHING, after=0)
    assert not await anext(follower)
    waiting = asyncio.create_task(anext(follower))
    await asyncio.sleep(0)
    stored.publish(1)
    await asyncio.sleep(0)
    assert not waiting.done()
    stored.publish(2)
    assert [event.number for event in await waiting] == [1, 2, 3]
