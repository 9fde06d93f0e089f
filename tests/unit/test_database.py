"""The database: durable in groups, events in order, and nobody's fault is another's."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.event import Event
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.store import events, sessions
from scorestream_server.store.database import Database, migrate, open_engine
from scorestream_server.store.schema import METADATA, SESSIONS
from scorestream_server.store.upgrade import upgrade


def session(number: int, name: str = "s", owner: str = "me") -> Session:
    return Session(
        f"id-{number}",
        name,
        owner,
        SessionState.ACTIVE,
        100,
        1.0,
        1.0,
        None,
        running_jobs=0,
        inactive_timeout=0.0,
    )


class Published:
    """Collects what the database publishes."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, more: Sequence[Event]) -> None:
        self.events += more


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def url(tmp_path: Path) -> str:
    found = f"sqlite:///{tmp_path / 'test.db'}"
    engine = open_engine(found)
    migrate(engine)
    engine.dispose()
    return found


@pytest_asyncio.fixture
async def database(url: str, published: Published) -> AsyncIterator[Database]:
    opened = Database(url, published)
    yield opened
    await opened.close()


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    """The schema in the code and the one that the migrations lead to are the same."""
    engine = open_engine(f"sqlite:///{tmp_path / 'test.db'}")
    with engine.execution_options(writes=True).begin() as connection:
        upgrade(connection, "head")
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


async def test_what_was_written_is_there_after_a_reopening(url: str, published: Published) -> None:
    """A write that returned is on the disk."""
    first = Database(url, published)
    await first.write(lambda connection: sessions.create(connection, session(1), ""))
    await first.close()
    second = Database(url, published)
    found = await second.read(lambda connection: sessions.get(connection, "id-1", "me"))
    await second.close()
    assert found.name == "s"


async def test_events_are_published_in_order_and_before_the_writer_goes_on(
    database: Database, published: Published
) -> None:
    """Numbers grow without gaps over concurrent writers, and each finds its own event published."""

    async def create(number: int) -> None:
        await database.write(lambda connection: sessions.create(connection, session(number), ""))
        assert any(event.session_id == f"id-{number}" for event in published.events)

    await asyncio.gather(*map(create, range(300)))
    assert [event.number for event in published.events] == list(range(1, 301))


async def test_a_failing_write_leaves_nothing_and_disturbs_nobody(
    database: Database, published: Published
) -> None:
    """An operation that raises is undone alone; its neighbours in the batch are kept."""

    def fail(connection: sa.Connection) -> None:
        sessions.create(connection, session(2), "")
        raise ScorestreamError(ErrorCode.ABORTED, "TEST", "on purpose")

    results = await asyncio.gather(
        database.write(lambda connection: sessions.create(connection, session(1), "")),
        database.write(fail),
        database.write(lambda connection: sessions.create(connection, session(3), "")),
        return_exceptions=True,
    )
    assert isinstance(results[1], ScorestreamError)
    kept = await database.read(
        lambda connection: connection.execute(sa.select(SESSIONS.c.id)).scalars().all()
    )
    assert kept == ["id-1", "id-3"]
    assert [event.session_id for event in published.events] == ["id-1", "id-3"]
    assert [event.number for event in published.events] == [1, 2]


async def test_a_writer_that_leaves_does_not_stop_the_others(database: Database) -> None:
    """Cancelling whoever waits for a write does not undo or block it."""
    waiting = asyncio.ensure_future(
        database.write(lambda connection: sessions.create(connection, session(1), ""))
    )
    await asyncio.sleep(0)
    waiting.cancel()
    await database.write(lambda connection: sessions.create(connection, session(2), ""))
    found = await database.read(
        lambda connection: sessions.page(
            connection, "me", prefix="", labels={}, include_ended=False, after=0, limit=9
        )
    )
    assert [one.id for one in found[0]] == ["id-1", "id-2"]


async def test_a_repeated_request_creates_nothing(database: Database) -> None:
    """The second request with an id gets what the first one made; the id cannot be used for another kind."""
    first = await database.write(lambda connection: sessions.create(connection, session(1), "request"))
    second = await database.write(lambda connection: sessions.create(connection, session(2), "request"))
    assert second.id == first.id == "id-1"
    other = await database.write(
        lambda connection: sessions.create(connection, session(3, owner="you"), "request")
    )
    assert other.id == "id-3"


async def test_sessions_are_listed_in_pages_by_prefix_and_owner(database: Database) -> None:
    """Pages follow on one another; `_` and `%` in a prefix are letters, not wildcards."""
    for number, name in enumerate(["a_1", "a_2", "ab3", "a_4", "a%5"]):
        await database.write(partial(sessions.create, session=session(number, name), request_id=""))
    await database.write(lambda connection: sessions.create(connection, session(9, "a_9", "you"), ""))

    async def page(prefix: str, after: int) -> tuple[list[Session], int]:
        return await database.read(
            lambda connection: sessions.page(
                connection, "me", prefix=prefix, labels={}, include_ended=False, after=after, limit=2
            )
        )

    first, more = await page("a_", 0)
    second, end = await page("a_", more)
    assert [one.name for one in first + second] == ["a_1", "a_2", "a_4"]
    assert end == 0
    assert [one.name for one in (await page("a%", 0))[0]] == ["a%5"]


async def test_a_session_of_somebody_else_is_not_found(database: Database) -> None:
    """Whoever asks for another's session learns nothing, not even that there is one."""
    await database.write(lambda connection: sessions.create(connection, session(1, owner="you"), ""))
    with pytest.raises(ScorestreamError) as caught:
        await database.read(lambda connection: sessions.get(connection, "id-1", "me"))
    assert caught.value.code is ErrorCode.NOT_FOUND


async def test_stored_events_are_read_from_a_number_on(database: Database) -> None:
    """A page holds what lies between two numbers and matches."""
    for number in range(6):
        made = session(number, f"n{number % 2}")
        await database.write(partial(sessions.create, session=made, request_id=""))
    found = await database.read(
        lambda connection: events.page(
            connection, after=1, up_to=5, limit=10, owner="me", session_name_prefix="n1"
        )
    )
    assert [event.number for event in found] == [2, 4]
