"""Files of sessions on a real server: hostile names, uploads that stop half-way, killed servers, restarts."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import scorestream
from scorestream.v1 import data_service_pb2, file_service_pb2
from scorestream.v1.data_service_pb2_grpc import DataServiceStub
from scorestream.v1.file_service_pb2_grpc import FileServiceStub
from served import raw_channel, served, workers_of

MIB = 1 << 20
NAMES = st.lists(
    st.one_of(
        st.sampled_from(
            ["..", ".", "", "link", "in", "a.csv", "secret.csv", "%2e%2e", "fileref:out", "home:", "\\"]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    ),
    max_size=5,
).map("/".join)


def data_dir(client: scorestream.Client) -> Path:
    assert client._server is not None
    return client._server.data_dir


def home(client: scorestream.Client, session: scorestream.Session) -> Path:
    return data_dir(client) / "sessions" / session.id / "home"


def messages(
    session: scorestream.Session, path: str, *chunks: bytes, digest: str | None = None, request_id: str = ""
) -> list[file_service_pb2.UploadFileRequest]:
    """Return an upload as it goes over the wire; without a footer where the digest is empty."""
    name = f"sessions/{session.id}/files/{path}"
    header = file_service_pb2.UploadFileHeader(name=name, request_id=request_id)
    content = b"".join(chunks)
    digest = hashlib.sha256(content).hexdigest() if digest is None else digest
    footer = file_service_pb2.UploadFileFooter(size_bytes=len(content), digest=digest)
    return [
        file_service_pb2.UploadFileRequest(header=header),
        *(file_service_pb2.UploadFileRequest(chunk=chunk) for chunk in chunks),
        *([file_service_pb2.UploadFileRequest(footer=footer)] if digest else []),
    ]


def outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    """Make a call; return the code of its error, if it has one, and what it gave."""
    try:
        return "", call()
    except scorestream.ScorestreamError as error:
        return error.code, None


def beside(client: scorestream.Client, session: scorestream.Session) -> set[Path]:
    """Return what there is beside a session's home; its tables, which the calls replace, are left out."""
    own = (home(client, session), home(client, session).parent / "tables", data_dir(client) / "cache")
    return {found for found in data_dir(client).rglob("*") if not any(map(found.is_relative_to, own))}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES)
@example("link/secret.csv")
@example("../../../models")
@example("link")
def test_no_name_reaches_beyond_the_home(
    client: scorestream.Client, session: scorestream.Session, tmp_path: Path, path: str
) -> None:
    """Every call with every name leaves what lies outside as it was, and answers with one of our errors at most."""
    outside, secret = tmp_path / "outside", tmp_path / "outside" / "secret.csv"
    outside.mkdir(exist_ok=True)
    secret.write_bytes(b"secret")
    files = session.files
    files.make_directory("in")
    with suppress(FileExistsError):
        (home(client, session) / "link").symlink_to(outside)
    model = client.register_model("double", source="a * 2 AS twice")
    if "rows" not in {table.name for table in session.tables()}:
        session.load_table(pa.table({"a": [1.0]}), name="rows")
    rows = session.table("rows")
    there = beside(client, session)
    for call in (
        lambda: files.upload(b"mine", path, replace=True),
        lambda: files.read(path),
        lambda: files.list(path),
        lambda: files.info(path),
        lambda: files.make_directory(path),
        lambda: files.copy("in/a.csv", path, replace=True),
        lambda: files.move(path, "moved", replace=True),
        lambda: files.move("moved", path, replace=True),
        lambda: session.load_table(f"home:{path}", name="of_home", replace=True),
        lambda: session.score(model, rows, out_path=f"home:{path}", replace=True).wait(),
        lambda: session.filerefs.assign("out", f"home:{path}"),
        lambda: files.upload(b"mine", "fileref:out", replace=True),
        lambda: files.delete(path, recursive=True),
    ):
        code, found = outcome(call)
        assert code not in {"INTERNAL", "UNKNOWN"}
        assert found != b"secret"
    assert {found.name for found in outside.iterdir()} == {"secret.csv"}
    assert secret.read_bytes() == b"secret"
    still = beside(client, session)
    assert there - still == set()


@pytest.mark.parametrize("how", ["no footer", "wrong digest", "no header", "header twice", "wrong size"])
def test_an_upload_that_stops_half_way_leaves_nothing(
    client: scorestream.Client, session: scorestream.Session, how: str
) -> None:
    """However it stops; and what was there before stays."""
    session.files.upload(b"before", "a.txt")
    sent = messages(session, "b.txt", b"x" * MIB, b"y", digest="" if how == "no footer" else None)
    match how:
        case "wrong digest":
            sent[-1].footer.digest = hashlib.sha256(b"other").hexdigest()
        case "wrong size":
            sent[-1].footer.size_bytes -= 1
        case "no header":
            del sent[0]
        case "header twice":
            sent.insert(1, sent[0])
    for name in ("b.txt", "a.txt"):
        for message in sent:
            if message.WhichOneof("content") == "header":
                message.header.name = f"sessions/{session.id}/files/{name}"
                message.header.replace = True
        with raw_channel(client) as channel, pytest.raises(grpc.RpcError) as caught:
            FileServiceStub(channel).UploadFile(iter(sent))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [file.path for file in session.files.list()] == ["a.txt"]
    assert session.files.read("a.txt") == b"before"
    assert [path.name for path in home(client, session).rglob("*.tmp")] == []


def test_an_upload_that_is_sent_twice_is_made_once(
    client: scorestream.Client, session: scorestream.Session
) -> None:
    """A client that heard no answer gets the one of the first time."""
    sent = messages(session, "a.txt", b"content", request_id=f"once-{session.id[:8]}")
    with raw_channel(client) as channel:
        stub = FileServiceStub(channel)
        assert stub.UploadFile(iter(sent)) == stub.UploadFile(iter(sent))
    assert session.files.read("a.txt") == b"content"


def test_a_download_goes_on_with_the_same_file_alone(
    client: scorestream.Client, session: scorestream.Session
) -> None:
    """From any byte on; not once the file is another."""
    content = bytes(range(256)) * 20_000
    session.files.upload(content, "a.bin")
    request = file_service_pb2.DownloadFileRequest(name=f"sessions/{session.id}/files/a.bin")
    with raw_channel(client) as channel:
        stream = FileServiceStub(channel).DownloadFile(request)
        first, second = next(stream), next(stream)
        assert (first.file.size_bytes, first.chunk, second.offset) == (len(content), b"", 0)
        # What is being sent stays what it was, though somebody replaces it.
        session.files.upload(b"other", "a.bin", replace=True)
        rest = b"".join(message.chunk for message in stream)
        assert second.chunk + rest == content
        request.offset, request.etag = len(second.chunk), first.file.etag
        with pytest.raises(grpc.RpcError) as caught:
            next(FileServiceStub(channel).DownloadFile(request))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_rows_of_a_table_that_was_replaced_are_not_mixed(
    client: scorestream.Client, session: scorestream.Session
) -> None:
    """A reader that goes on learns that the table is another one."""
    session.load_table(pa.table({"a": [1, 2, 3]}), name="t")
    request = data_service_pb2.ReadRowsRequest(name=f"sessions/{session.id}/tables/t")
    with raw_channel(client) as channel:
        first, rows = DataServiceStub(channel).ReadRows(request)
        assert (rows.rows, bool(rows.arrow_batch)) == (3, True)
        session.load_table(pa.table({"a": [4]}), name="t", replace=True)
        request.start, request.etag = 2, first.etag
        with pytest.raises(grpc.RpcError) as caught:
            list(DataServiceStub(channel).ReadRows(request))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert list((data_dir(client) / "sessions" / session.id / "reads").iterdir()) == []


def test_a_killed_server_leaves_nothing_of_an_upload_and_all_that_was_there(tmp_path: Path) -> None:
    """Files, filerefs and tables of the home are there after a kill; of what was on its way there is nothing."""
    data, half, killed = tmp_path / "data", threading.Event(), threading.Event()
    with served(data, "--device", "cpu", "--limit", "session_files=3") as (client, server):
        session = client.create_session("kept")
        pq.write_table(pa.table({"a": [1.0, 2.0]}), tmp_path / "rows.parquet")
        session.files.upload(tmp_path / "rows.parquet", "rows.parquet")
        session.files.upload(b"a * 2 AS b", "twice.sql")
        session.filerefs.assign("rows", "home:rows.parquet")
        session.load_table("fileref:rows", name="rows")

        def stopping() -> Iterator[file_service_pb2.UploadFileRequest]:
            header, *chunks = messages(session, "half.bin", *[b"x" * MIB] * 48, digest="")
            yield header
            yield from chunks  # more than lies on the way: the server has written some
            half.set()
            killed.wait(60)

        with raw_channel(client) as channel:
            upload = FileServiceStub(channel).UploadFile.future(stopping())
            assert half.wait(60)
            assert [path.suffix for path in (data / "sessions").rglob(".scorestream/*")] == [".tmp"]
            processes = [server, *workers_of(server)]
            for process in processes:
                process.kill()
            psutil.wait_procs(processes)
            killed.set()
            with pytest.raises(grpc.RpcError):
                upload.result()
    with served(data, "--device", "cpu", "--limit", "session_files=3") as (client, _):
        session = client.get_session("kept")
        assert list((data / "sessions").rglob("*.tmp")) == []
        assert [file.path for file in session.files.list()] == ["rows.parquet", "twice.sql"]
        assert session.filerefs.get("rows").exists
        assert session.table("rows").read()["a"].to_pylist() == [1.0, 2.0]
        model = session.files.register_model("twice.sql")
        assert session.score(model, "rows", out_path="home:out.csv").wait().rows_scored == 2
        with pytest.raises(scorestream.ResourceExhaustedError, match="session_files"):
            session.files.upload(b"", "one_more")
        session.terminate()
        assert list((data / "sessions").iterdir()) == []
