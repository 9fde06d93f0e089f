"""The log in the store: numbers of lines, positions, filters, and its end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.log import (
    MOST_LINES,
    LineType,
    LogBlock,
    LogLine,
    LogSelection,
    block_before,
    position,
)
from scorestream_server.store import log
from scorestream_server.store.database import Database, migrate, open_engine


def block(
    session: str, job: str, *texts: str, kind: LineType = LineType.NOTE, ends: bool = False
) -> LogBlock:
    return LogBlock(session, job, [LogLine(kind, 1.0, text) for text in texts], ends=ends)


@pytest.fixture
def published() -> list[LogBlock]:
    return []


@pytest_asyncio.fixture
async def database(tmp_path: Path, published: list[LogBlock]) -> AsyncIterator[Database]:
    url = DataDirectory(tmp_path).database_url
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    opened = Database(url, lambda _: None, published.extend)
    yield opened
    await opened.close()


async def write(database: Database, made: LogBlock, *, reset: bool = False) -> LogBlock:
    return await database.write(lambda connection: log.write(connection, made, reset=reset))


async def read(database: Database, selection: LogSelection, after: int = 0) -> list[LogBlock]:
    return await database.read(lambda connection: log.page(connection, selection, after, None, 1000))


async def test_lines_are_numbered_by_session_without_gaps(
    database: Database, published: list[LogBlock]
) -> None:
    """However many writers there are at once: each session counts its own lines, and what is read is what was told."""
    await asyncio.gather(
        *(write(database, block(f"s{place % 3}", f"j{place}", "one", "two")) for place in range(60))
    )
    for session in ("s0", "s1", "s2"):
        found = await read(database, LogSelection(session))
        assert [one.first_line for one in found] == list(range(0, 40, 2))
        live = [one for one in published if one.session_id == session]
        assert [(one.number, one.first_line, list(one.lines)) for one in live] == [
            (one.number, one.first_line, list(one.lines)) for one in found
        ]
    assert [one.number for one in published] == list(range(1, 61))


async def test_a_reset_begins_at_0_and_positions_go_on(database: Database) -> None:
    """Numbers start again from there, for the lines of all jobs; positions only grow, so that pages stand still."""
    await write(database, block("s", "a", "1", "2", "3"))
    await write(database, block("s", "b", "4", "5"), reset=True)
    await write(database, block("s", "a", "6"))
    found = await read(database, LogSelection("s"))
    assert [one.first_line for one in found] == [0, 0, 2]
    places = [position(one, place) for one in found for place in range(len(one.lines))]
    assert places == sorted(set(places))
    for at in places:
        kept = await read(database, LogSelection("s"), block_before(at))
        behind = [position(one, place) for one in kept for place in range(len(one.lines))]
        assert [found for found in behind if found > at] == places[places.index(at) + 1 :]


async def test_a_jobs_log_has_its_lines_and_the_sessions_end(database: Database) -> None:
    """Whoever follows a job to its end is not left waiting when the session ended meanwhile."""
    await write(database, block("s", "", "loaded"))
    await write(database, block("s", "a", "mine"))
    await write(database, block("s", "b", "not mine", ends=True))
    await write(database, block("t", "a", "of another session"))
    mine = LogSelection("s", "a")
    assert [one.lines[0].text for one in await read(database, mine)] == ["mine"]
    await database.write(lambda connection: log.end(connection, "s", [LogLine(LineType.NOTE, 2.0, "over")]))
    for selection in (mine, LogSelection("s"), LogSelection("s", "a", frozenset({LineType.ERROR}))):
        assert [one.lines[0].text for one in await read(database, selection)] == ["over"]
    assert [one.lines[0].text for one in await read(database, LogSelection("t"))] == ["of another session"]


@pytest.mark.parametrize(
    ("types", "expected"),
    [(set(), ["n", "w", "e", "x"]), ({LineType.WARNING}, ["w", "x"]), ({LineType.ERROR, LineType.NOTE}, ["n", "e", "x"])],
)  # fmt: skip
async def test_types_are_filtered_alike_live_and_stored(
    database: Database, published: list[LogBlock], types: set[LineType], expected: list[str]
) -> None:
    """A block without a wanted line is left out, but not the last one, by which followers know the end."""
    await write(database, block("s", "a", "n"))
    await write(database, block("s", "a", "w", kind=LineType.WARNING))
    await write(database, block("s", "a", "e", kind=LineType.ERROR))
    await write(database, block("s", "a", "x", kind=LineType.TITLE, ends=True))
    selection = LogSelection("s", "a", frozenset(types))
    assert [one.lines[0].text for one in await read(database, selection)] == expected
    assert [one.lines[0].text for one in published if selection.matches(one)] == expected


async def test_an_operation_that_fails_tells_nothing(database: Database, published: list[LogBlock]) -> None:
    """A line stands and falls with what it tells of."""

    def fail(connection: sa.Connection) -> None:
        log.write(connection, block("s", "a", "never"))
        raise ValueError("on purpose")

    results = await asyncio.gather(
        write(database, block("s", "a", "first")),
        database.write(fail),
        write(database, block("s", "a", "second")),
        return_exceptions=True,
    )
    assert isinstance(results[1], ValueError)
    assert [one.lines[0].text for one in published] == ["first", "second"]
    assert [one.first_line for one in await read(database, LogSelection("s"))] == [0, 1]


async def test_numbers_are_not_used_again_after_a_sessions_end(database: Database) -> None:
    """A position that a client remembers never means another line."""
    first = await write(database, block("s", "a", "gone"))
    await database.write(lambda connection: log.end(connection, "s", []))
    later = await write(database, block("t", "b", "new"))
    assert later.number > first.number + 1


async def test_a_block_never_runs_into_the_next_ones_positions(database: Database) -> None:
    """What is beyond the most lines of a block is left out."""
    long = await write(database, block("s", "a", *("line",) * (MOST_LINES + 5)))
    after = await write(database, block("s", "a", "next"))
    assert len(long.lines) == MOST_LINES
    assert position(long, MOST_LINES - 1) < position(after, 0)
    assert after.first_line == MOST_LINES
