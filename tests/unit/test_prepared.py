"""Prepared statements: what SQLAlchemy means, by the driver's way, and errors that are SQLAlchemy's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorestream_server.store.database import migrate, open_engine
from scorestream_server.store.prepared import Prepared, one_of
from scorestream_server.store.schema import OPTIONS, REQUESTS

INSERT = Prepared(sa.insert(REQUESTS), REQUESTS.c.keys())
BY_OWNER = (
    sa.select(REQUESTS).where(REQUESTS.c.owner == sa.bindparam("owner_")).order_by(REQUESTS.c.request_id)
)
FIND = Prepared(BY_OWNER)
KINDS = ("job", "table")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sa.Connection]:
    engine = open_engine(f"sqlite:///{tmp_path / 'store.db'}")
    migrate(engine)
    with engine.execution_options(writes=True).connect() as opened:
        yield opened
    engine.dispose()


def row(request_id: str, kind: str = "job", owner: str = "me") -> dict[str, object]:
    return {"owner": owner, "request_id": request_id, "kind": kind, "resource_id": "it", "time": 1.5}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.dictionaries(TEXTS, st.tuples(st.sampled_from(KINDS), TEXTS), max_size=5))
def test_rows_are_those_that_sqlalchemy_finds(
    connection: sa.Connection, wanted: dict[str, tuple[str, str]]
) -> None:
    """Whatever text is in them, in the order of the query, with columns as attributes."""
    with connection.begin() as transaction:
        for request_id, (kind, owner) in wanted.items():
            INSERT.insert(connection, row(request_id, kind, owner))
        for owner in {owner for _, owner in wanted.values()} | {"nobody"}:
            found = FIND.rows(connection, {"owner_": owner})
            expected = connection.execute(BY_OWNER, {"owner_": owner}).all()
            assert [(one.request_id, one.kind, one.time) for one in found] == [
                (one.request_id, one.kind, one.time) for one in expected
            ]
            first = FIND.row(connection, {"owner_": owner})
            assert (first is None) == (not expected)
        transaction.rollback()


def test_a_change_says_how_many_rows_it_changed(connection: sa.Connection) -> None:
    """Fixed values and lists of our own names are part of the statement."""
    update = Prepared(
        sa.update(REQUESTS)
        .where(one_of(REQUESTS.c.kind, KINDS), REQUESTS.c.owner == "me")
        .values(time=sa.bindparam("now"))
    )
    with connection.begin():
        for number, kind in enumerate(("job", "table", "model")):
            INSERT.insert(connection, row(str(number), kind))
        assert update.change(connection, {"now": 9.0}) == 2
        assert [one.time for one in FIND.rows(connection, {"owner_": "me"})] == [9.0, 9.0, 1.5]


def test_what_the_store_refuses_is_an_error_of_sqlalchemys(connection: sa.Connection) -> None:
    """So whoever waits for a statement need not know how it was run."""
    with connection.begin():
        INSERT.insert(connection, row("same"))
        with pytest.raises(sa.exc.IntegrityError, match="UNIQUE"):
            INSERT.insert(connection, row("same"))
    orphan = Prepared(sa.insert(OPTIONS), OPTIONS.c.keys())
    with connection.begin(), pytest.raises(sa.exc.IntegrityError, match="FOREIGN KEY"):
        orphan.insert(connection, {"session_id": "none", "name": "a", "value": "b"})
