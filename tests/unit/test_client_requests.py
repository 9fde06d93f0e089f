"""A request is repeated only where that does no harm, and finds what is meant."""

from collections.abc import Iterator
from typing import Any

import pytest

import scorestream
from fake_answers import job
from fake_server import FakeServer, abort, fake_server
from scorestream.retry import Patience
from scorestream.v1 import job_pb2, model_pb2, session_pb2, session_service_pb2, table_pb2


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


def test_a_create_is_repeated_under_the_same_request_id(fake: FakeServer) -> None:
    """Where the answer was lost, the second request is recognisably the first one."""
    answers = iter(["lost", "lost", "there"] * 3)

    def create(made: Any) -> Any:
        return lambda _request, context: (
            made if next(answers) == "there" else abort(context, "UNAVAILABLE", "gone")
        )

    fake.on["CreateSession"] = create(session_pb2.Session(name="sessions/s1", display_name="S"))
    fake.on["CreateJob"] = create(job("PENDING"))
    fake.on["LoadTable"] = create(table_pb2.Table(name="sessions/s1/tables/a", table_id="a"))
    with scorestream.connect(fake.address) as client:
        session = client.create_session("S")
        session.score("m@3", "t", where="a > 1", out="o", keep=["k"], replace=True, name="n", priority="high")
        session.load_table("a.csv")
    for method in ("CreateSession", "CreateJob", "LoadTable"):
        ids = [request.request_id for request in fake.requests[method]]
        assert len(ids) == 3
        assert len(set(ids)) == 1
        assert len(ids[0]) >= 32
    assert fake.requests["CreateSession"][0].request_id != fake.requests["CreateJob"][0].request_id
    spec = fake.requests["CreateJob"][0].spec
    assert spec == job_pb2.JobSpec(
        model="models/m/versions/3",
        table="t",
        where="a > 1",
        keep=["k"],
        out_table="o",
        replace=True,
        priority=job_pb2.PRIORITY_HIGH,
    )


def test_what_must_not_happen_twice_is_not_repeated(fake: FakeServer) -> None:
    """Dropping and removing are asked for once."""
    fake.on["GetSession"] = lambda *_: session_pb2.Session(name="sessions/s1")
    fake.on["GetModel"] = lambda *_: model_pb2.Model(name="models/m/versions/1", model_id="m", version=1)
    fake.on["GetTable"] = lambda *_: table_pb2.Table(name="sessions/s1/tables/t", table_id="t")
    for method in ("DropTable", "DeleteModel"):
        fake.on[method] = lambda _request, context: abort(context, "UNAVAILABLE", "gone")
    with scorestream.connect(fake.address) as client:
        session = client.get_session("s1")
        for attempt in (session.table("t").drop, client.get_model("m").remove):
            with pytest.raises(scorestream.UnavailableError):
                attempt()
    assert [len(fake.requests[method]) for method in ("DropTable", "DeleteModel")] == [1, 1]


def test_patience_is_bounded_and_begins_again() -> None:
    """Pauses grow to a second, end after the time given, and start small again after a success."""
    now = 0.0
    patience = Patience(10.0, clock=lambda: now)
    pauses = []
    while (pause := patience.pause(0.0)) is not None:
        pauses.append(pause)
        now += pause
    assert 10.0 <= now < 10.0 + 1e-6
    assert max(pauses) <= 1.0
    assert pauses[0] <= 0.05
    assert 10 < len(pauses) < 40
    assert patience.pause(None) is None
    patience.succeeded()
    assert (patience.pause(0.0) or 1.0) <= 0.05


def test_a_session_is_found_by_id_or_by_name(fake: FakeServer) -> None:
    """The id is tried first; a name must be unique among the open sessions."""
    known = [("1", "Seg1"), ("2", "Seg2"), ("3", "Seg2"), ("4", "Seg10")]
    sessions = [session_pb2.Session(name=f"sessions/{i}", display_name=name) for i, name in known]

    def get(request: Any, context: Any) -> Any:
        found = [session for session in sessions if session.name == request.name]
        return found[0] if found else abort(context, "NOT_FOUND", "no such session")

    def listed(request: Any, _context: Any) -> Any:
        wanted = [s for s in sessions if s.display_name.startswith(request.display_name_prefix)]
        # Pages of one, so that the client has to turn them.
        page = int(request.page_token or 0)
        return session_service_pb2.ListSessionsResponse(
            sessions=wanted[page : page + 1], next_page_token=str(page + 1) if page + 1 < len(wanted) else ""
        )

    fake.on["GetSession"] = get
    fake.on["ListSessions"] = listed
    with scorestream.connect(fake.address) as client:
        assert client.get_session("4").name == "Seg10"
        assert client.get_session("Seg1").id == "1"
        assert [found.id for found in client.sessions("Seg")] == ["1", "2", "3", "4"]
        with pytest.raises(scorestream.FailedPreconditionError, match="use an id: 2, 3"):
            client.get_session("Seg2")
        with pytest.raises(scorestream.NotFoundError, match="neither by id nor by name"):
            client.get_session("Seg3")
