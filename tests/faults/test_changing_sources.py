"""A source that changes while workers score it, and `kill -9` while a table is saved over one."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream
from scorestream import EventType
from served import served, started, workers_of

INJECT = Path(__file__).parent / "inject"
WORKER = "scorestream_server.workers.process"
FEATURES, ROWS = 12, 200_000


def write(path: Path, value: float) -> None:
    columns = {f"f{i}": np.full(ROWS, value + i, np.float32) for i in range(FEATURES)}
    table = pa.table({"id": np.arange(ROWS), "text": [f"text {value}"] * ROWS, **columns})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=50_000)


def cut_short(path: Path) -> None:
    os.truncate(path, 5000)


def written_again(path: Path) -> None:
    write(path, 7.0)


def replaced(path: Path) -> None:
    write(path.with_suffix(".other"), 7.0)
    path.with_suffix(".other").replace(path)


def removed(path: Path) -> None:
    path.unlink()


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[scorestream.Client, psutil.Process, Path]]:
    folder = tmp_path_factory.mktemp("changing")
    with served(folder / "data", "--device", "cpu", "--data-root", str(folder)) as (client, server):
        client.register_model("sum", source=" + ".join(f"f{i}" for i in range(FEATURES)) + " AS score")
        yield client, server, folder


@pytest.mark.parametrize("spoil", [cut_short, written_again, replaced, removed], ids=lambda one: one.__name__)
def test_a_source_that_changes_under_a_job_fails_that_job_and_no_worker(
    running: tuple[scorestream.Client, psutil.Process, Path], spoil: Callable[[Path], None]
) -> None:
    """What was committed before is of the old rows alone, and the session works on, with the same workers."""
    client, server, folder = running
    path = folder / "t.arrow"
    write(path, 1.0)
    workers = {worker.pid for worker in workers_of(server)}
    with client.create_session(f"under {spoil.__name__}") as session:
        table = session.load_table(path, "t")
        job = session.score("sum", table, keep=["id", "text"], partition_rows=500)
        for event in job.watch():
            if event.type is EventType.PARTITION_COMMITTED:
                spoil(path)
                break
        with pytest.raises(scorestream.JobFailedError) as caught:
            job.wait(60)
        assert caught.value.reason == "SOURCE_CHANGED"
        found = pa.Table.from_batches(job.results())
        assert 0 < found.num_rows < ROWS
        assert set(found["text"].to_pylist()) == {"text 1.0"}
        assert len(set(found["score"].to_pylist())) == 1
        write(path, 2.0)
        again = session.load_table(path, "t", replace=True)
        assert session.score("sum", again, where="id < 100").wait(60).rows_scored == 100
    assert {worker.pid for worker in workers_of(server)} == workers


KEEPING = r"os\.link {out}/rows\.parquet {data}/kept/"
RENAMING = r"os\.rename {out}/\.rows\.parquet\.\w+\.tmp {out}/rows\.parquet"
IN_PLACE = r"open {out} "


@pytest.mark.parametrize(
    ("step", "who", "done"),
    [
        pytest.param(KEEPING, "itself", True, id="worker before it keeps the old file"),
        pytest.param(RENAMING, "both", False, marks=pytest.mark.long, id="both before the rename"),
        pytest.param(IN_PLACE, "both", True, id="both behind it"),
    ],
)
def test_a_save_is_done_or_not_whoever_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, who: str, done: bool
) -> None:
    """The next server knows which; readers of the old file have it, and the table can be saved again."""
    out, data, killed = tmp_path / "out", tmp_path / "data", tmp_path / "killed"
    out.mkdir()
    path, old, new = out / "rows.parquet", pa.table({"a": [1.0, 2.0]}), pa.table({"a": [5.0, 6.0, 7.0]})
    pq.write_table(old, path)
    flags = ("--device", "cpu", "--data-root", str(out))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(INJECT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("KILL_IN", WORKER)
    monkeypatch.setenv("KILL_AT", step.format(out=re.escape(str(out)), data=re.escape(str(data))))
    monkeypatch.setenv("KILL", who)
    monkeypatch.setenv("KILLED", str(killed))
    with started(data, *flags) as (address, server), scorestream.connect(address, patience=0.0) as client:
        session = client.create_session("saves")
        reader, saved = session.load_table(path, "reader"), session.load_table(new, "saved")
        first = reader.source_etag()
        if who == "itself":
            assert saved.save(path, etag=first) != first
        else:
            with pytest.raises(scorestream.UnavailableError):
                saved.save(path, etag=first)
            server.wait(30)
    with served(data, *flags) as (client, _):
        session = client.get_session("saves")
        reader, saved = session.table("reader"), session.table("saved")
        assert killed.exists()
        assert pq.read_table(path) == (new if done else old)
        assert reader.read() == old
        # Where it was not done, the second name that the old file had got says that something was changed.
        told = "saved over it from session 'saves'" if done else "got other permissions, owners or links"
        with pytest.raises(scorestream.AbortedError, match=told) as caught:
            saved.save(path, etag=first)
        saved.save(path, etag=caught.value.metadata["etag"])
        assert pq.read_table(path) == new
        assert reader.read() == old
        reader.drop()
        assert list((data / "kept").iterdir()) == []
    assert [one.name for one in out.iterdir()] == ["rows.parquet"]
    assert list((data / "publishing").iterdir()) == []
    assert [one for one in data.rglob("*") if one.suffix == ".tmp"] == []
