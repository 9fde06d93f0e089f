"""Request ids: each create happens once, for a day."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.model import Model, ModelKind, ModelSchema
from scorestream_server.domain.save import Save
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.domain.table import FileFormat, Table, TableData
from scorestream_server.engine.housekeeping import keep_house
from scorestream_server.store import models, requests, saves, sessions, tables
from scorestream_server.store.database import Database, migrate, open_engine
from scorestream_server.store.schema import REQUESTS

DAY = 24 * 3600.0
DATA = TableData((), (), (), b"", 0, FileFormat.ARROW, in_place=True)
TABLE = Table("uid-1", "session", "rows", DATA, (), 0, 0, 5.0)
MODEL = Model(
    "m", 0, "digest", 1, "digest.sql", ModelSchema(ModelKind.EXPRESSION, (), (), 1.0, "w"), "me", 5.0
)


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    opened = Database(url, lambda _: None)
    session = Session(
        "session", "s", "me", SessionState.ACTIVE, 100, 1.0, 1.0, None, running_jobs=0, inactive_timeout=0.0
    )
    await opened.write(lambda connection: sessions.create(connection, session, "of-session"))
    yield opened
    await opened.close()


async def ids(database: Database) -> set[str]:
    found = sa.select(REQUESTS.c.request_id)
    return await database.read(lambda connection: set(connection.execute(found).scalars()))


async def test_an_id_is_kept_for_a_day_and_then_forgotten(database: Database) -> None:
    await database.write(lambda connection: requests.record(connection, "me", "late", "job", "j", 1.5))
    assert await database.write(lambda connection: requests.forget_old(connection, 0.9 + DAY)) == 0
    assert await database.write(lambda connection: requests.forget_old(connection, 1.0 + DAY)) == 1
    assert await ids(database) == {"late"}
    assert await database.write(lambda connection: requests.forget_old(connection, 1e12)) == 1
    assert await ids(database) == set()


async def test_the_house_is_kept_at_the_start_and_every_hour(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look forgets nothing that is young, the look after the day has passed does."""
    times = iter([2.0, 2.0 + DAY])
    pauses: list[float] = []
    looked: list[set[str]] = []
    seen_twice = asyncio.Event()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        looked.append(await ids(database))
        if len(looked) == 2:
            seen_twice.set()
            await asyncio.Event().wait()

    monkeypatch.setattr("scorestream_server.engine.housekeeping.asyncio.sleep", pause)
    keeper = asyncio.create_task(keep_house(database, lambda: next(times)))
    await asyncio.wait_for(seen_twice.wait(), 20)
    keeper.cancel()
    assert looked == [{"of-session"}, set()]
    assert pauses == [3600.0, 3600.0]


async def test_a_table_is_made_once(database: Database) -> None:
    """Also with `replace`, also after it was dropped: the second answer is the first one's."""

    def create(uid: str, request_id: str) -> Table:
        table = replace(TABLE, uid=uid)
        return tables.create(connection_of["it"], table, "me", request_id, replace=True)

    connection_of: dict[str, sa.Connection] = {}

    def run(connection: sa.Connection) -> list[str]:
        connection_of["it"] = connection
        made = [create("uid-1", "a").uid, create("uid-2", "a").uid, create("uid-3", "b").uid]
        tables.drop(connection, "uid-3")
        return [*made, create("uid-4", "b").uid, create("uid-5", "").uid]

    assert await database.write(run) == ["uid-1", "uid-1", "uid-3", "uid-3", "uid-5"]


async def test_a_save_is_done_though_its_request_id_was_taken_meanwhile(database: Database) -> None:
    """The file has its rows by then; the id stays with what came first."""
    save = Save(
        "save", "/out.arrow", "out.arrow", "uid", "session", "me", own_source=False, etag="new", time=5.0
    )

    def run(connection: sa.Connection) -> tuple[list[Save], str | None]:
        saves.begin(connection, save)
        requests.record(connection, "me", "same", "table", "uid", 4.0)
        saves.finish(connection, save, "same")
        return saves.unfinished(connection), requests.find(connection, "me", "same", "table")

    assert await database.write(run) == ([], "uid")


async def test_a_model_is_registered_once(database: Database) -> None:
    """The same request gives the same version, whatever was registered in between."""

    def run(connection: sa.Connection) -> list[int]:
        other = replace(MODEL, digest="other")
        return [
            models.register(connection, model, request_id).version
            for model, request_id in [(MODEL, "a"), (other, "b"), (other, "a"), (MODEL, ""), (MODEL, "b")]
        ]

    assert await database.write(run) == [1, 2, 1, 1, 2]
    await database.write(lambda connection: models.remove(connection, "m", 1, None))
    with pytest.raises(ScorestreamError) as gone:
        await database.write(lambda connection: models.register(connection, MODEL, "a"))
    assert gone.value.reason == "MODEL_NOT_FOUND"


async def test_an_id_is_of_one_kind(database: Database) -> None:
    with pytest.raises(ScorestreamError, match="was used to create a session; take a new one for a table"):
        await database.write(
            lambda connection: tables.create(connection, TABLE, "me", "of-session", replace=False)
        )
