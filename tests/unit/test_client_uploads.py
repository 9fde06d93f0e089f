"""An upload arrives whole, with its footer, or makes nothing and says why."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

import scorestream
import scorestream.aio
from fake_answers import SCHEMA
from fake_server import FakeServer, abort, fake_server
from scorestream.v1 import model_pb2, session_pb2, table_pb2


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


def test_an_upload_arrives_in_pieces(fake: FakeServer) -> None:
    """Header, schema, batches, footer: in that order, and all rows."""
    got: list[Any] = []

    def upload(requests: Any, _context: Any) -> Any:
        got.extend(requests)
        return table_pb2.Table(name="sessions/s1/tables/t", table_id="t", rows=400_000)

    fake.on["GetSession"] = lambda *_: session_pb2.Session(name="sessions/s1")
    fake.on["UploadTable"] = upload
    with scorestream.connect(fake.address) as client:
        sent = pa.table({"n": pa.array(range(400_000), pa.int64())})
        table = client.get_session("s1").load_table(sent, name="t", replace=True)
    assert table.rows == 400_000
    assert got[0].header.table_id == "t" and got[0].header.replace
    assert [message.WhichOneof("content") for message in got[1:3]] == ["arrow_schema", "arrow_batch"]
    batches = [pa.ipc.read_record_batch(pa.py_buffer(message.arrow_batch), SCHEMA) for message in got[2:-1]]
    assert pa.Table.from_batches(batches).equals(sent)
    assert got[-1].footer.batches == len(batches)


@pytest.mark.parametrize("mode", ["blocking", "asyncio"])
def test_an_upload_whose_source_breaks_makes_nothing(fake: FakeServer, mode: str) -> None:
    """The stream has no footer then, and the user sees what went wrong on their own side."""
    over = threading.Event()
    last: list[Any] = []

    def upload(requests: Any, context: Any) -> Any:
        context.add_callback(over.set)
        with contextlib.suppress(Exception):  # a cancelled call's requests end, or raise
            for request in requests:
                last[:] = [request]
        return table_pb2.Table(name="sessions/s1/tables/t", table_id="t")

    fake.on["GetSession"] = lambda *_: session_pb2.Session(name="sessions/s1")
    fake.on["UploadTable"] = upload

    def source() -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            yield pa.record_batch([pa.array(range(500_000), pa.int64())], schema=SCHEMA)
            raise OSError("the disk is gone")

        return pa.RecordBatchReader.from_batches(SCHEMA, batches())

    async def waiting() -> None:
        async with await scorestream.aio.connect(fake.address) as client:
            await (await client.get_session("s1")).load_table(source(), name="t")

    def blocking() -> None:
        with scorestream.connect(fake.address) as client:
            client.get_session("s1").load_table(source(), name="t")

    with pytest.raises(OSError, match="the disk is gone"):
        blocking() if mode == "blocking" else asyncio.run(waiting())
    assert over.wait(30)
    assert not last or last[0].WhichOneof("content") != "footer"


def test_an_upload_that_is_refused_says_why(fake: FakeServer) -> None:
    """A refusal in the middle of an upload reaches the user as it is."""

    def upload(requests: Any, context: Any) -> Any:
        next(requests)
        abort(context, "ALREADY_EXISTS", "table t is there")

    fake.on["GetSession"] = lambda *_: session_pb2.Session(name="sessions/s1")
    fake.on["UploadTable"] = upload
    with (
        scorestream.connect(fake.address) as client,
        pytest.raises(scorestream.AlreadyExistsError, match="table t is there"),
    ):
        client.get_session("s1").load_table(pa.table({"n": range(3_000_000)}), name="t")


def test_an_upload_is_repeated_where_its_rows_can_be_had_again(fake: FakeServer) -> None:
    """A table is sent again as a whole, under the same request id; a stream, which is used up, is not."""
    attempts: list[list[Any]] = []

    def upload(requests: Any, context: Any) -> Any:
        attempts.append(list(requests))
        if len(attempts) != 2:
            abort(context, "UNAVAILABLE", "gone")
        return table_pb2.Table(name="sessions/s1/tables/t", table_id="t", rows=3)

    fake.on["GetSession"] = lambda *_: session_pb2.Session(name="sessions/s1")
    fake.on["UploadTable"] = upload
    rows = pa.table({"n": [1, 2, 3]})
    with scorestream.connect(fake.address) as client:
        session = client.get_session("s1")
        assert session.load_table(rows, name="t").rows == 3
        with pytest.raises(scorestream.UnavailableError):
            session.load_table(rows.to_reader(), name="t")
    first, second, third = attempts
    assert first == second
    assert len(first) == 4
    assert first[0].header.request_id
    assert first[0].header.request_id != third[0].header.request_id


def test_a_registration_is_repeated_under_the_same_request_id(fake: FakeServer) -> None:
    """Where the answer was lost, the second registration is recognisably the first one."""
    attempts: list[list[Any]] = []

    def register(requests: Any, context: Any) -> Any:
        attempts.append(list(requests))
        if len(attempts) == 1:
            abort(context, "UNAVAILABLE", "gone")
        return model_pb2.Model(name="models/m/versions/1", model_id="m", version=1)

    fake.on["RegisterModel"] = register
    with scorestream.connect(fake.address) as client:
        assert client.register_model("m", source="a AS b").id == "m@1"
    assert attempts[0] == attempts[1]
    assert attempts[0][0].header.request_id
