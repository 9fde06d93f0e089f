"""Limits: how they are written, what they count, and whom they hold back."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.__main__ import parse
from scorestream_server.api.traffic import Traffic
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.job import Priority
from scorestream_server.domain.limits import Limits, parse_limits
from scorestream_server.domain.model import Model, ModelKind, ModelSchema
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.domain.table import FileFormat, Table, TableData
from scorestream_server.scheduler import ReadyJob, Shares, WorkerLoad, schedule
from scorestream_server.store import models, sessions, tables
from scorestream_server.store.database import Database, migrate, open_engine
from scorestream_server.store.usage import KNOWN_SECONDS, Usage, stored_bytes

SESSION = Session("s1", "s", "me", SessionState.ACTIVE, 100, 1.0, 1.0, None, 0, 0.0)
DATA = TableData((), (), (), b"", 0, FileFormat.ARROW, in_place=True)
SCHEMA = ModelSchema(ModelKind.EXPRESSION, (), (), 1.0, "w")


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    opened = Database(url, lambda _: None)
    yield opened
    await opened.close()


def test_limits_are_read_with_their_units() -> None:
    """What is not named keeps its default."""
    limits = parse_limits(["sessions=7", "stored_bytes = 3 GiB", "upload_bytes=100", "model_bytes=2KiB"])
    assert limits == replace(Limits(), sessions=7, stored_bytes=3 << 30, upload_bytes=100, model_bytes=2048)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("session=7", "did you mean sessions?"),
        ("nonsense=7", "there is no limit 'nonsense': sessions, open_jobs"),
        ("sessions", "'' is no amount; write for example sessions=200"),
        ("sessions=7GiB", "is no amount"),
        ("sessions=-1", "is no amount"),
        ("stored_bytes=1.5GiB", "is no amount; write for example stored_bytes=50GiB"),
        ("calls=0", "calls must be at least 1"),
    ],
)
def test_a_limit_that_is_none_is_refused_by_name(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_limits([text])


def test_calls_are_counted_by_principal_and_end_with_their_block() -> None:
    """One who has as many as it may takes nothing from another."""
    traffic = Traffic(replace(Limits(), calls=1, streams=1))
    for stream, reason in ((False, "TOO_MANY_CALLS"), (True, "TOO_MANY_STREAMS")):
        with traffic.counted("ann", stream=stream), traffic.counted("bob", stream=stream):
            with pytest.raises(ScorestreamError) as caught, traffic.counted("ann", stream=stream):
                pass
            assert caught.value.reason == reason
            assert caught.value.retry_seconds > 0
        with pytest.raises(KeyError), traffic.counted("ann", stream=stream):
            raise KeyError
        with traffic.counted("ann", stream=stream):
            pass


async def test_only_what_is_in_the_data_directory_and_not_over_counts(database: Database) -> None:
    """Tables in place and dropped ones, ended sessions, removed models and others' things do not."""

    def put(connection: sa.Connection, session: str, table: str, stored: int) -> None:
        made = Table(f"{session}-{table}", session, table, DATA, (), stored, stored, 1.0)
        tables.put(connection, made, replace=False)

    def fill(connection: sa.Connection) -> list[int]:
        found = [stored_bytes(connection, "me")]
        for session in (SESSION, replace(SESSION, id="s2"), replace(SESSION, id="s3", owner="you")):
            sessions.create(connection, session, "")
            put(connection, session.id, "a", 100)
            put(connection, session.id, "b", 10)
        found.append(stored_bytes(connection, "me"))
        tables.drop(connection, "s1-a")
        found.append(stored_bytes(connection, "me"))
        sessions.set_state(connection, "s2", "me", SessionState.ENDED, 5.0)
        found.append(stored_bytes(connection, "me"))
        for owner in ("me", "you"):
            model = Model(f"of_{owner}", 0, owner, 1000, owner, SCHEMA, owner, 1.0)
            models.register(connection, model, "")
        found.append(stored_bytes(connection, "me"))
        models.remove(connection, "of_me", 1, None)
        return [*found, stored_bytes(connection, "me"), stored_bytes(connection, "nobody")]

    assert await database.write(fill) == [0, 220, 120, 10, 1010, 10, 0]


async def test_a_job_may_go_by_an_old_figure_but_is_not_refused_by_one(database: Database) -> None:
    """A figure is good for some seconds; who has made room since is not held back by it."""
    now = 0.0
    usage = Usage(100, clock=lambda: now)

    def put(connection: sa.Connection, name: str, stored: int) -> None:
        tables.put(connection, Table(name, "s1", name, DATA, (), stored, stored, 1.0), replace=False)

    def job(connection: sa.Connection) -> None:
        usage.require_room(connection, "me")

    await database.write(lambda connection: sessions.create(connection, SESSION, ""))
    await database.read(job)
    await database.write(lambda connection: put(connection, "a", 60))
    assert await database.read(lambda connection: usage.room(connection, "me")) == 40
    await database.write(lambda connection: put(connection, "b", 60))
    await database.read(job)
    now += KNOWN_SECONDS + 1
    with pytest.raises(ScorestreamError) as caught:
        await database.read(job)
    assert caught.value.reason == "TOO_MUCH_STORED"
    assert "120 bytes" in caught.value.message
    await database.write(lambda connection: tables.drop(connection, "b"))
    await database.read(job)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(1, 4)), max_size=12),
    st.dictionaries(st.sampled_from("ab"), st.integers(-1, 3)),
    st.integers(1, 8),
)
def test_no_owner_begins_more_jobs_than_it_may_and_no_lane_stays_idle_for_it(
    wanted: list[tuple[str, bool, int]], may_start: dict[str, int], lanes: int
) -> None:
    """Jobs that run go on; others' jobs take the lanes of those that must wait."""
    ready = [
        ReadyJob(str(order), owner, Priority.NORMAL, 100, order, 1.0, partitions, 0.0, False, owner, started)
        for order, (owner, started, partitions) in enumerate(wanted)
    ]
    assignments, _ = schedule(ready, [WorkerLoad(0, lanes, 0)], Shares(), 0.0, may_start)
    given_to = {assignment.job_id for assignment in assignments}
    begun = [job for job in ready if not job.started and job.job_id in given_to]
    for owner, most in may_start.items():
        assert sum(job.owner == owner for job in begun) <= max(most, 0)
    held_back = {
        job.job_id
        for job in ready
        if not job.started and job.owner in may_start and job.job_id not in given_to
    }
    could = sum(job.partitions for job in ready if job.job_id not in held_back)
    assert len(assignments) == min(could, lanes + 1)


def test_a_server_says_which_limit_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is opened."""
    with pytest.raises(SystemExit) as end:
        parse(["--limit", "sesions=3"])
    assert end.value.code == 2
    assert "--limit: there is no limit 'sesions'; did you mean sessions?" in capsys.readouterr().err
    assert parse(["--limit", "sessions=3", "--limit", "calls=2"]).limits == replace(
        Limits(), sessions=3, calls=2
    )
