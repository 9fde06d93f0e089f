"""When tables go: a rule for lifetimes, and who keeps the files of those that were dropped."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.domain.table import FileFormat, Table, TableData
from scorestream_server.domain.table_life import WRITE_SECONDS, Life, expired
from scorestream_server.engine.table_keeper import TableKeeper
from scorestream_server.engine.table_use import TableUse
from scorestream_server.store import sessions as session_store
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import Database
from scorestream_server.store.opening import open_store

SECONDS = st.floats(0, 1e6)
DATA = TableData((), (), (), b"", 0, FileFormat.ARROW, in_place=False)
BEGUN = 1000.0


@given(
    SECONDS.filter(bool),
    SECONDS,
    st.none() | SECONDS,
    SECONDS,
    SECONDS,
    st.booleans(),
    st.floats(0, WRITE_SECONDS),
)
def test_d8_a_table_goes_only_after_its_lifetime_and_never_while_it_is_in_use(
    lifetime: float,
    stored: float,
    seen: float | None,
    started: float,
    now: float,
    used: bool,
    unwritten: float,
) -> None:
    """Whatever a server that was killed could not write down: no access within a lifetime of now is forgotten."""
    accesses = {} if seen is None else {"a": seen}
    gone = expired([Life("a", lifetime, stored)], accesses, {"a"} if used else (), started, now)
    true_last = max(stored, min(stored + unwritten, started), seen or 0.0)
    if used or now - true_last <= lifetime:
        assert not gone
    if not used and now - max(stored, stored + WRITE_SECONDS, seen or 0.0) > lifetime:
        assert gone == ["a"]


@dataclass
class Bench:
    """A keeper with a clock that tests turn, and jobs that they name."""

    database: Database
    directory: DataDirectory
    use: TableUse = field(default_factory=TableUse)
    jobs: set[str] = field(default_factory=set)
    now: float = BEGUN

    def __post_init__(self) -> None:
        self.keeper = TableKeeper(
            self.database, self.directory, self.use, lambda: self.jobs, lambda: None, lambda: self.now
        )

    async def table(self, uid: str, lifetime: float = 0.0, *, replace_: bool = False) -> Table:
        table = Table(uid, "s", "t", DATA, (), 1, 1, self.now, "me", lifetime=lifetime)
        await self.database.write(lambda c: table_store.put(c, table, replace=replace_))
        folder = self.directory.table("s", uid)
        folder.mkdir(parents=True)
        (folder / "rows").touch()
        return table

    async def sweep(self, later: float = 0.0) -> None:
        self.now += later
        await self.keeper.sweep()

    async def names(self) -> list[str]:
        return [table.uid for table in await self.database.read(lambda c: table_store.of_session(c, "s"))]

    def has_files(self, uid: str) -> bool:
        return (self.directory.table("s", uid) / "rows").exists()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    directory = DataDirectory(tmp_path)
    open_store(directory)
    database = Database(directory.database_url, lambda _: None)
    session = Session("s", "s", "me", SessionState.ACTIVE, 100, BEGUN, BEGUN, None, 0, 0.0)
    await database.write(lambda connection: session_store.create(connection, session, ""))
    bench = Bench(database, directory)
    yield bench
    await database.close()


async def test_d8_a_table_goes_with_its_lifetime_and_each_access_begins_it_anew(bench: Bench) -> None:
    await bench.table("short", lifetime=100)
    await bench.sweep(99)
    bench.use.touch("short", bench.now)
    await bench.sweep(99)
    assert await bench.names() == ["short"]
    await bench.sweep(2)
    assert await bench.names() == []
    assert not bench.has_files("short")


async def test_d8_a_job_keeps_its_table_alive(bench: Bench) -> None:
    """The lifetime begins anew when the job is over."""
    await bench.table("scored", lifetime=10)
    bench.jobs.add("scored")
    for _ in range(5):
        await bench.sweep(100)
    bench.jobs.clear()
    await bench.sweep(9)
    assert await bench.names() == ["scored"]
    await bench.sweep(2)
    assert await bench.names() == []


async def test_d8_accesses_are_written_once_a_minute_and_at_the_end(bench: Bench) -> None:
    async def stored() -> float:
        return (await bench.database.read(lambda c: table_store.by_uid(c, "read"))).last_access_time

    await bench.table("read")
    for _ in range(5):
        await bench.sweep(10)
        bench.use.touch("read", bench.now)
        assert await stored() == BEGUN
    await bench.sweep(10)
    assert await stored() == BEGUN + 50
    bench.use.touch("read", bench.now)
    await bench.keeper.close()
    assert await stored() == BEGUN + 60


async def test_d6_readers_keep_the_version_that_they_opened(bench: Bench) -> None:
    """A table that was replaced has its files until the last reader and the last job of before are done."""
    old = await bench.table("old")
    with bench.use.reading() as looking, bench.use.reading() as reading:
        bench.use.found(reading, old, bench.now)
        await bench.table("new", replace_=True)
        await bench.sweep()
        assert bench.has_files("old")
        assert bench.use.readers("old") == 1
        # Who was about to look up a table found another one; who comes now cannot find the old one.
        bench.use.found(looking, replace(old, uid="new"), bench.now)
        with bench.use.reading():
            await bench.sweep()
            assert bench.has_files("old")
    with bench.use.reading():
        await bench.sweep()
    assert not bench.has_files("old")
    assert bench.has_files("new")


async def test_d6_jobs_keep_the_version_that_they_began_on(bench: Bench) -> None:
    await bench.table("old")
    bench.jobs.add("old")
    await bench.table("new", replace_=True)
    await bench.sweep()
    assert bench.has_files("old")
    bench.jobs.clear()
    await bench.sweep()
    assert not bench.has_files("old")


async def test_d6_what_is_cleared_is_looked_at_once(bench: Bench) -> None:
    """The store knows which files are gone, so that old tables cost nothing."""
    await bench.table("old")
    await bench.database.write(lambda c: table_store.drop(c, "old"))
    await bench.sweep()
    count: Callable[[sa.Connection], int] = lambda c: c.exec_driver_sql(  # noqa: E731
        "SELECT count(*) FROM tables WHERE dropped = 1 AND cleared = 0"
    ).scalar_one()
    assert await bench.database.read(count) == 0


def test_d8_files_wait_for_who_may_have_found_their_table_just_before_it_was_dropped() -> None:
    """Who has not said yet which table it is may have found it; who begins later cannot find it by name."""
    use = TableUse()
    with use.reading() as before:
        assert not use.may_go("dropped")
        with use.reading():
            assert not use.may_go("dropped")
        before.uid = "another"
        with use.reading():
            assert use.may_go("dropped")


def test_d8_who_finds_a_dropped_table_by_its_id_has_it_or_learns_that_it_goes() -> None:
    """One of the two looks second, whoever that is: files do not go under a job that is resumed."""
    use = TableUse()
    with use.reading() as reading:
        reading.uid = "dropped"
        assert not use.may_go("dropped")
        assert not use.is_going("dropped")
    assert use.may_go("dropped")
    assert use.is_going("dropped")
    use.forget("dropped")
    assert not use.is_going("dropped")
