"""The data directory as an operator meets it: its owner, its leftovers, its backup, its move."""

import hashlib
import shutil
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream
from scorestream import EventType, State
from scorestream.arrow import reader_of, upload_messages
from scorestream.v1 import (
    model_service_pb2,
    model_service_pb2_grpc,
    table_service_pb2,
    table_service_pb2_grpc,
)
from served import raw_channel, served

ROWS = pa.table({"a": [1.0, 2.0, 3.0]})


def start(data: Path) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to refuse."""
    command = [sys.executable, "-m", "scorestream_server", "--port", "0", "--data-dir", str(data)]
    return subprocess.run(
        [*command, "--device", "cpu"], capture_output=True, text=True, timeout=60, check=False
    )


def back_up(data: Path, to: Path, check: int = 0) -> str:
    """Run `scorestream backup` and return what it says."""
    program = "from scorestream.cli import main; main()"
    command = [sys.executable, "-c", program, "backup", "--data-dir", str(data), "--to", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == check, done.stderr
    return done.stdout + done.stderr


def test_a_second_server_is_told_who_has_the_directory(tmp_path: Path) -> None:
    """It ends with a code of its own and one sentence; the first goes on. So does a private one."""
    data = tmp_path / "data"
    with served(data, "--device", "cpu") as (client, server):
        second = start(data)
        assert second.returncode == 3
        assert second.stdout == ""
        assert second.stderr == (
            f"scorestream serve: The data directory {data} is in use by the server of process {server.pid} at "
            f"{client.address}. Stop that one first, or give another --data-dir.\n"
        )
        with pytest.raises(scorestream.FailedPreconditionError, match=f"process {server.pid} at") as refused:
            scorestream.local(data_dir=data)
        assert refused.value.reason == "DATA_DIRECTORY_UNUSABLE"
        assert client.create_session("still here").id


def test_a_store_that_cannot_be_trusted_is_not_served(tmp_path: Path) -> None:
    """A newer version is named and nothing is changed; the same for damage."""
    data = tmp_path / "data"
    with served(data, "--device", "cpu") as (client, _):
        client.create_session("s")
    store = data / "scorestream.db"
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.close()
    before = store.read_bytes()
    refused = start(data)
    assert refused.returncode == 3
    assert "is of version 0999; this program knows versions up to" in refused.stderr
    assert store.read_bytes() == before
    store.write_bytes(before[:4096])
    refused = start(data)
    assert refused.returncode == 3
    assert "put a backup in its place (README, Operations)" in refused.stderr
    assert store.read_bytes() == before[:4096]


@pytest.fixture
def work(tmp_path: Path) -> Iterator[tuple[scorestream.Client, Path]]:
    """A server with a session, a model, an uploaded table, a job's result and a table made of one."""
    data = tmp_path / "data"
    with served(data, "--device", "cpu") as (client, _):
        session = client.create_session("kept")
        session.load_table(ROWS, name="rows")
        client.register_model("twice", source="a * 2 AS b")
        session.score("twice", "rows", out="scored", name="job").wait()
        session.files.make_directory("in")
        session.files.upload(b"a\n5\n", "in/rows.tmp")
        pq.write_table(ROWS, tmp_path / "rows.parquet")
        session.files.upload(tmp_path / "rows.parquet", "in/rows.parquet")
        session.filerefs.assign("of_home", "home:in/rows.parquet")
        session.load_table("fileref:of_home")
        yield client, data


def check(client: scorestream.Client) -> None:
    """See that everything of `work` is there and works."""
    session = client.get_session("kept")
    (job,) = session.jobs()
    assert pa.Table.from_batches(job.results())["b"].to_pylist() == [2.0, 4.0, 6.0]
    client.register_model("four", source="b * 2 AS c")
    again = session.score("four", "scored")
    assert again.wait().state is State.SUCCEEDED
    assert pa.Table.from_batches(again.results())["c"].to_pylist() == [4.0, 8.0, 12.0]
    third = session.score("twice", "rows")
    assert pa.Table.from_batches(third.results())["b"].to_pylist() == [2.0, 4.0, 6.0]
    assert session.files.read("in/rows.tmp") == b"a\n5\n"
    assert session.files.info("fileref:of_home").path == "in/rows.parquet"
    assert session.load_table("fileref:of_home", name="again", replace=True).rows == ROWS.num_rows
    out = session.score("twice", "rows", out_path="home:out.csv", replace=True).wait()
    assert out.info.outputs == ("home:out.csv",)
    session.files.delete("out.csv")


def test_a_backup_of_a_running_server_is_whole_wherever_it_lies(
    work: tuple[scorestream.Client, Path], tmp_path: Path
) -> None:
    """The copy has a life of its own, in another folder, without the original."""
    client, data = work
    said = back_up(data, tmp_path / "backup")
    assert "the store and 5 files" in said
    assert "not empty" in back_up(data, tmp_path / "backup", check=1)
    assert "lies in the data directory itself" in back_up(data, data / "backup", check=1)
    assert "There is no data directory" in back_up(tmp_path / "nothing", tmp_path / "other", check=1)
    check(client)
    shutil.move(data, tmp_path / "gone")
    with served(tmp_path / "backup", "--device", "cpu") as (restored, _):
        check(restored)


def test_a_directory_that_was_moved_is_served_from_where_it_is(
    work: tuple[scorestream.Client, Path], tmp_path: Path
) -> None:
    """`stop, cp -a, start` anywhere: no path into the old place is followed."""
    _, data = work
    back_up(data, tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    shutil.rmtree(tmp_path / "first" / "sessions")
    shutil.rmtree(tmp_path / "first" / "cache")
    with served(tmp_path / "second", "--device", "cpu") as (client, _):
        check(client)


def test_leftovers_are_removed_at_the_start_and_nothing_else(
    work: tuple[scorestream.Client, Path], tmp_path: Path
) -> None:
    """Half-made uploads, models without a row, results of nobody, attempts: gone. What the store knows: there."""
    _, running = work
    data = tmp_path / "copy"
    back_up(running, data)
    kept = {path for path in data.rglob("*") if path.is_file() and path.parent != data}
    (session,) = (data / "sessions").iterdir()
    (job,) = (session / "jobs").iterdir()
    (table,) = (path for path in (data / "cache").iterdir() if path.is_dir())
    left = [
        data / "models" / "0123.ubj",
        data / "models" / "incoming-1" / "model.ubj",
        data / "sessions" / "ended" / "jobs" / "x" / "part-00000.arrow",
        data / "cache" / str(uuid.uuid4()) / ".upload.arrow.0123.tmp",
        table / ".table-01.arrow.0123.tmp",
        session / "jobs" / "never-recorded" / "part-00000.arrow",
        job / "part-00000.arrow.7.tmp",
        job / "part-00001.arrow",
        data / "publishing" / "job.tmp",
        session / "home" / ".scorestream" / "0123.tmp",
        session / "reads" / "0123.tmp",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("left")
    (data / "notes-of-the-operator.txt").write_text("stays")
    with served(data, "--device", "cpu") as (client, _):
        there = {path for path in data.rglob("*") if path.is_file() and path.parent != data}
        assert there == kept
        assert (data / "notes-of-the-operator.txt").exists()
        check(client)


def test_a_repeated_create_makes_nothing_twice(
    client: scorestream.Client, session: scorestream.Session, tmp_path: Path
) -> None:
    """Upload, load of a table and registration answer the second time with what the first time made."""
    header = table_service_pb2.UploadTableHeader(
        session=f"sessions/{session.id}", table_id="t", request_id=f"upload-{session.id[:8]}"
    )
    schema, *batches = upload_messages(reader_of(ROWS))
    upload = [
        table_service_pb2.UploadTableRequest(header=header),
        table_service_pb2.UploadTableRequest(arrow_schema=schema),
        *(table_service_pb2.UploadTableRequest(arrow_batch=batch) for batch in batches),
        table_service_pb2.UploadTableRequest(
            footer=table_service_pb2.UploadTableFooter(batches=len(batches))
        ),
    ]
    code = b"a * 3 AS b"
    about = model_service_pb2.RegisterModelHeader(
        model_id="thrice", file_name="model.sql", request_id=f"model-{session.id[:8]}"
    )
    footer = model_service_pb2.RegisterModelFooter(digest=hashlib.sha256(code).hexdigest())
    registration = [
        model_service_pb2.RegisterModelRequest(header=about),
        model_service_pb2.RegisterModelRequest(chunk=code),
        model_service_pb2.RegisterModelRequest(footer=footer),
    ]
    pq.write_table(ROWS, tmp_path / "rows.parquet")
    load = table_service_pb2.LoadTableRequest(
        session=f"sessions/{session.id}",
        table_id="loaded",
        paths=[str(tmp_path / "rows.parquet")],
        request_id=f"load-{session.id[:8]}",
    )
    with raw_channel(client) as channel:
        tables = table_service_pb2_grpc.TableServiceStub(channel)
        first = tables.UploadTable(iter(upload))
        assert tables.UploadTable(iter(upload)) == first
        # The header is enough: the rows need not come again.
        assert tables.UploadTable(iter(upload[:1])) == first
        loaded = tables.LoadTable(load)
        assert tables.LoadTable(load) == loaded
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        model = models.RegisterModel(iter(registration))
        assert models.RegisterModel(iter(registration[:1])) == model
        load.request_id = f"model-{session.id[:8]}"
        with pytest.raises(grpc.RpcError) as reused:
            tables.LoadTable(load)
        assert reused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert sorted(table.name for table in session.tables()) == ["loaded", "t"]


def test_the_same_upload_twice_at_once_makes_one_table(
    client: scorestream.Client, session: scorestream.Session
) -> None:
    """Where a client tries again while the first request still goes on, both get the one table."""
    with raw_channel(client) as channel:
        tables = table_service_pb2_grpc.TableServiceStub(channel)
        both_there = threading.Barrier(2)

        def upload() -> Iterator[table_service_pb2.UploadTableRequest]:
            header = table_service_pb2.UploadTableHeader(
                session=f"sessions/{session.id}",
                table_id="t",
                replace=True,
                request_id=f"at-once-{session.id[:8]}",
            )
            schema, *batches = upload_messages(reader_of(ROWS))
            yield table_service_pb2.UploadTableRequest(header=header)
            yield table_service_pb2.UploadTableRequest(arrow_schema=schema)
            for batch in batches:
                yield table_service_pb2.UploadTableRequest(arrow_batch=batch)
            both_there.wait(20)
            footer = table_service_pb2.UploadTableFooter(batches=len(batches))
            yield table_service_pb2.UploadTableRequest(footer=footer)

        calls = [tables.UploadTable.future(upload()) for _ in range(2)]
        first, second = [call.result(30) for call in calls]
    assert first == second
    assert [table.name for table in session.tables()] == ["t"]


def test_a_backup_in_the_middle_of_a_job_goes_on_from_there(tmp_path: Path) -> None:
    """What was committed when the copy was made is in it; the copy's server scores the rest."""
    rows = 300
    with served(tmp_path / "data", "--device", "cpu") as (client, _):
        session = client.create_session("kept")
        session.load_table(pa.table({"a": pa.array(range(rows), pa.float64())}), name="rows")
        model = client.register_model("twice", source="a * 2 AS b")
        job = session.score(model, "rows", partition_rows=1)
        assert any(event.type is EventType.PARTITION_COMMITTED for event in job.watch())
        back_up(tmp_path / "data", tmp_path / "backup")
    with served(tmp_path / "backup", "--device", "cpu") as (client, _):
        again = client.get_job(job.id).wait()
        assert again.state is State.SUCCEEDED
        assert pa.Table.from_batches(again.results())["b"].to_pylist() == [2.0 * row for row in range(rows)]
