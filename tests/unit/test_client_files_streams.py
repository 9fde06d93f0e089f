"""Files and rows that are fetched go on after a lost connection: each byte and row once, and of one file or table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import scorestream
from fake_server import FakeServer, abort, fake_server
from scorestream.v1 import (
    data_service_pb2,
    file_pb2,
    file_service_pb2,
    session_pb2,
    table_pb2,
)

CONTENT = bytes(range(200))
SCHEMA = pa.schema([("n", pa.int64())])
ROWS = 10


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        server.on["GetSession"] = lambda *_: session_pb2.Session(name="sessions/s1")
        server.on["GetTable"] = lambda *_: table_pb2.Table(name="sessions/s1/tables/t", table_id="t")
        yield server


def sends_file(fake: FakeServer, piece: int, pieces: int) -> None:
    """Send pieces of the content, and break off after some."""

    def download(request: Any, context: Any) -> Iterator[Any]:
        about = file_pb2.File(path="a.bin", size_bytes=len(CONTENT), etag="one")
        yield file_service_pb2.DownloadFileResponse(file=about, offset=request.offset)
        for offset in range(request.offset, len(CONTENT), piece)[:pieces]:
            yield file_service_pb2.DownloadFileResponse(offset=offset, chunk=CONTENT[offset : offset + piece])
        if request.offset + piece * pieces < len(CONTENT):
            abort(context, "UNAVAILABLE", "gone")

    fake.on["DownloadFile"] = download


def test_a_download_goes_on_where_it_was(fake: FakeServer, tmp_path: Path) -> None:
    """After each break it asks for the bytes behind the last, of the file that it began with."""
    sends_file(fake, 30, 3)
    with scorestream.connect(fake.address) as client:
        files = client.get_session("s1").files
        assert files.download("a.bin", tmp_path / "a.bin").read_bytes() == CONTENT
        assert b"".join(files.stream("a.bin", offset=150)) == CONTENT[150:]
    asked = [(request.offset, request.etag) for request in fake.requests["DownloadFile"]]
    assert asked == [(0, ""), (90, "one"), (180, "one"), (150, "")]


def test_a_download_of_a_file_that_changed_leaves_nothing(fake: FakeServer, tmp_path: Path) -> None:
    """Half of one file and half of another are no file."""
    sends_file(fake, 30, 3)
    first = fake.on["DownloadFile"]

    def download(request: Any, context: Any) -> Any:
        if request.etag:
            abort(context, "FAILED_PRECONDITION", "changed")
        return first(request, context)

    fake.on["DownloadFile"] = download
    with scorestream.connect(fake.address) as client:
        files = client.get_session("s1").files
        with pytest.raises(scorestream.FailedPreconditionError):
            files.download("a.bin", tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [None, 3, 6, 9])
def test_rows_go_on_where_they_were(fake: FakeServer, limit: int | None) -> None:
    """After each break it asks for the rows behind the last, as many as are left, and for no second line of names."""

    def read(request: Any, context: Any) -> Iterator[Any]:
        yield data_service_pb2.ReadRowsResponse(arrow_schema=SCHEMA.serialize().to_pybytes(), etag="one")
        end = min(ROWS, request.start + (request.limit if request.HasField("limit") else ROWS))
        if request.format == data_service_pb2.ROW_FORMAT_CSV and not request.continued:
            yield data_service_pb2.ReadRowsResponse(csv=b"n\n")
        given = 0
        for row in range(request.start, end):
            if given == 3:
                abort(context, "UNAVAILABLE", "gone")
            batch = pa.record_batch([pa.array([row])], schema=SCHEMA)
            if request.format == data_service_pb2.ROW_FORMAT_CSV:
                yield data_service_pb2.ReadRowsResponse(csv=f"{row}\n".encode(), rows=1)
            else:
                yield data_service_pb2.ReadRowsResponse(arrow_batch=batch.serialize().to_pybytes(), rows=1)
            given += 1
        if given == 3:  # also where all was said
            abort(context, "UNAVAILABLE", "gone")

    fake.on["ReadRows"] = read
    wanted = list(range(ROWS))[:limit]
    with scorestream.connect(fake.address) as client:
        table = client.get_session("s1").table("t")
        assert table.read(limit=limit)["n"].to_pylist() == wanted
        text = b"".join(table.csv(limit=limit))
        assert text == b"n\n" + b"".join(f"{row}\n".encode() for row in wanted)
    asked = fake.requests["ReadRows"]
    assert {request.etag for request in asked if request.start} <= {"one"}
    assert [request.start for request in asked][:2] == [0, 3]
