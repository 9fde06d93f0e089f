"""Models in the store: which content is the same, and aliases that move in one step."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.model import Feature, Model, ModelKind, ModelSchema
from scorestream_server.store import model_aliases, models
from scorestream_server.store.database import Database, migrate, open_engine

SCHEMA = ModelSchema(ModelKind.EXPRESSION, (Feature("a"),), (), 1.0, "w")
MODEL = Model("m", 0, "digest", 1, "digest.sql", SCHEMA, "me", 5.0)


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    opened = Database(url, lambda _: None)
    yield opened
    await opened.close()


async def test_the_same_file_with_other_words_of_its_origin_is_another_version(database: Database) -> None:
    """So is one whose inputs have other names; without words of its origin, the newest of those is meant."""
    named = replace(SCHEMA, features=(Feature("b"),))

    def register(connection: sa.Connection, **other: object) -> int:
        return models.register(connection, replace(MODEL, **other), "").version  # type: ignore[arg-type]

    def every(connection: sa.Connection) -> list[int]:
        return [
            register(connection),
            register(connection, metadata={"run": "1"}),
            register(connection, metadata={"run": "2"}),
            register(connection, metadata={"run": "1"}),
            register(connection),
            register(connection, schema=named),
            register(connection, digest="other"),
        ]

    assert await database.write(every) == [1, 2, 3, 2, 3, 4, 5]


async def test_what_is_said_of_anothers_version_is_refused(database: Database) -> None:
    """To register it again is nobody's harm; to say something of it is its owner's, or an admin's."""

    def change(connection: sa.Connection) -> str:
        models.register(connection, MODEL, "")
        other = replace(MODEL, owner="you", comment="mine now")
        assert models.register(connection, replace(other, comment=""), "").owner == "me"
        with pytest.raises(ScorestreamError) as caught:
            models.register(connection, other, "")
        assert caught.value.code is ErrorCode.PERMISSION_DENIED
        with pytest.raises(ScorestreamError, match="somebody else's"):
            models.check_may_name(connection, "m", "you")
        models.check_may_name(connection, "m", None)
        return models.register(connection, other, "", admin=True).comment

    assert await database.write(change) == "mine now"


async def test_an_alias_moves_where_it_was_expected_and_outlives_no_version(database: Database) -> None:
    """Who expected it elsewhere changes nothing; a version that it points to is not removed."""

    def move(connection: sa.Connection, version: int, expected: int | None) -> str:
        model = models.get(connection, "m", version)
        try:
            model_aliases.put(
                connection, model, "champion", expected=expected, owner="me", request_id="", now=1.0
            )
        except ScorestreamError as error:
            return error.reason
        return "moved"

    def steps(connection: sa.Connection) -> list[object]:
        for digest in ("1", "2"):
            models.register(connection, replace(MODEL, digest=digest), "")
        told: list[object] = [move(connection, 1, 2), move(connection, 1, 0), move(connection, 2, 0)]
        told.append(models.get(connection, "m", 0, "champion").version)
        told += [move(connection, 2, 1), move(connection, 2, 0), move(connection, 1, None)]
        with pytest.raises(ScorestreamError, match="alias drop m@champion"):
            models.remove(connection, "m", 1, "me")
        models.remove(connection, "m", 2, "me")
        model_aliases.delete(connection, "m", "champion", 1)
        with pytest.raises(ScorestreamError) as caught:
            models.get(connection, "m", 0, "champion")
        told.append(caught.value.reason)
        return told

    assert await database.write(steps) == [
        "ALIAS_MOVED",
        "moved",
        "ALIAS_MOVED",
        1,
        "moved",
        "moved",
        "moved",
        "ALIAS_NOT_FOUND",
    ]
