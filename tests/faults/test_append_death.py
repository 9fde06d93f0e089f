"""`kill -9` at every single step of appending to a data set: the rows are in it once or not at all, for every reader."""

import contextlib
import itertools
import multiprocessing
import os
import re
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from killing import publish_and_die
from scorestream import State
from scorestream_server.domain.output import OutputOptions
from scorestream_server.domain.table import PartitionFile, Published
from scorestream_server.tables.appending import next_prefix
from scorestream_server.tables.dataset_output import write_dataset
from scorestream_server.tables.manifest import Manifest, read_manifest
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.publication import Note, settle, write_note
from scorestream_server.tables.publish import publish
from scorestream_server.tables.results import attempt_path, commit_partition, write_partition
from served import served

INJECT = Path(__file__).parent / "inject"
WORKER, SERVER = "scorestream_server.workers.process", "scorestream_server"
OLD = pa.table({"segment": ["a", "b"], "score": [8.0, 9.0]})
NEW = pa.table({"segment": ["b", "c", None], "score": [1.0, 2.0, 3.0]})


def partition(folder: Path, table: pa.Table) -> list[PartitionFile]:
    final = folder / f"{table.num_rows}.arrow"
    return [
        commit_partition(write_partition(attempt_path(final, 1), table.to_batches(), table.schema), final)
    ]


def manifest_of(directory: Path) -> Manifest:
    found = read_manifest(directory)
    assert found is not None
    return found


def listed(directory: Path) -> set[float]:
    """Return the scores that a reader gets who goes by the manifest; each file is there, whole."""
    found: list[float] = []
    for file in manifest_of(directory).files:
        part = ds.dataset(directory / file.name, format="parquet").to_table(columns=["score"])
        assert part.num_rows == file.rows
        assert (directory / file.name).stat().st_size == file.bytes
        found += part["score"].to_pylist()
    assert len(found) == len(set(found)), "each row once"
    return set(found)


def seen(directory: Path) -> set[float]:
    """Return the scores that a reader gets who takes all files of the directory, as Spark and pyarrow do."""
    found = ds.dataset(directory, format="parquet", partitioning="hive").to_table(columns=["score"])
    scores = found["score"].to_pylist()
    assert len(scores) == len(set(scores)), "each row once"
    return set(scores)


@pytest.mark.parametrize(
    "every", [pytest.param(3, id="every third"), pytest.param(1, marks=pytest.mark.long, id="every")]
)
@pytest.mark.timeout(300)
def test_d8_rows_that_are_appended_survive_a_kill_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """After the kill the old rows alone are there, or all; who comes next ends with all of them, each once."""
    out, notes = tmp_path / "out", tmp_path / "notes"
    out.mkdir()
    notes.mkdir()
    old, new = partition(tmp_path, OLD), partition(tmp_path, NEW)
    before, after = set(OLD["score"].to_pylist()), {*OLD["score"].to_pylist(), *NEW["score"].to_pylist()}
    target, directory, journal = (
        DataRoots(None).output(str(out / "scores")),
        out / "scores",
        notes / "job.json",
    )
    options = OutputOptions(partition_by=("segment",))
    processes = multiprocessing.get_context("forkserver")
    # Or what it is to preload is not found, and each of its processes imports it anew.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    processes.set_forkserver_preload(["killing"])
    how = {"append": True, "batch": "second", "options": options}
    outcomes, moving = [], 0
    publish(old, OLD.schema, target, notes / "old.json", append=True, batch="first", options=options)
    directory.rename(tmp_path / "begun")
    for step in itertools.count(1, every):
        for folder in (out, notes):
            shutil.rmtree(folder)
            folder.mkdir()
        shutil.copytree(tmp_path / "begun", directory)
        schema = NEW.schema.serialize().to_pybytes()
        process = processes.Process(
            target=publish_and_die, args=(step, [out, notes], new, schema, target, journal, how)
        )
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL

        assert listed(directory) in (before, after), step
        now = seen(directory)
        moving += now not in (before, after)  # all files of a batch that is decided, some of them
        arrived = settle(journal)
        assert now == before or arrived is not None, "nothing is seen of what may still not come"
        assert listed(directory) == seen(directory) == (before if arrived is None else after), step
        assert [path.name for path in out.iterdir()] == ["scores"], step
        outcomes.append(arrived is not None)

        made = publish(new, NEW.schema, target, journal, **how)  # type: ignore[arg-type]
        assert arrived in {None, made}
        assert made.rows == NEW.num_rows
        assert listed(directory) == seen(directory) == after
        assert all(Path(path).is_file() for path in made.paths)
        assert [batch.job for batch in manifest_of(directory).batches] == ["first", "second"]
        assert [path.name for path in out.iterdir()] == ["scores"]
    assert sorted(outcomes) == outcomes, "once decided, it stays so"
    assert set(outcomes) == {False, True}
    assert moving, "several files cannot come at the same moment"
    assert listed(directory) == seen(directory) == after


@pytest.mark.parametrize("moved", [0, 1, 3])
def test_rows_that_cannot_join_any_more_leave_nothing(tmp_path: Path, moved: int) -> None:
    """Where the data set lost its manifest before a batch had all come, the new files go and the old ones stay."""
    out, journal = tmp_path / "out", tmp_path / "notes" / "job.json"
    out.mkdir()
    target, directory = DataRoots(None).output(str(out / "scores")), out / "scores"
    options = OutputOptions(partition_by=("segment",))
    publish(
        partition(tmp_path, OLD), OLD.schema, target, journal, append=True, batch="first", options=options
    )
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    note = Note.begun(directory, "second", joins=True)
    new = write_dataset(
        note.temporary,
        lambda columns: iter(NEW.to_batches() if columns is None else NEW.select(columns).to_batches()),
        NEW.schema,
        options,
        job="second",
        time="",
        prefix=next_prefix(directory, note.token),
    )
    write_note(journal, replace(note, published=Published((), new.rows, new.bytes)))
    for file in new.files[:moved]:
        (directory / file.name).parent.mkdir(exist_ok=True)
        (note.temporary / file.name).rename(directory / file.name)
    (directory / "_manifest.json").write_text("{}")
    theirs = []
    if moved < len(new.files):  # somebody has taken the name of one that did not move
        theirs = [directory / new.files[-1].name]
        theirs[0].parent.mkdir(exist_ok=True)
        theirs[0].write_text("theirs")
    assert settle(journal) is None
    assert all(path.read_text() == "theirs" for path in theirs)
    for path in theirs:
        path.unlink()
        with contextlib.suppress(OSError):  # an old file lies beside it
            path.parent.rmdir()
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before
    assert not journal.exists()


@pytest.mark.parametrize(
    ("where", "step", "who"),
    [
        pytest.param(
            WORKER,
            r"os\.rename {out}/\.scores\.\w+\.tmp/\.merged",
            "itself",
            marks=pytest.mark.long,
            id="worker",
        ),
        pytest.param(WORKER, r"os\.rename {out}/\.scores\.\w+\.tmp/part", "both", id="both"),
        pytest.param(
            SERVER,
            r"os\.remove {data}/publishing/[\w-]+\.json",
            "itself",
            marks=pytest.mark.long,
            id="server",
        ),
    ],
)
def test_d8_a_job_appends_once_whoever_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, step: str, who: str
) -> None:
    """The job ends well, and its rows are in the data set once, also where it was run to its end twice."""
    out, data, killed = tmp_path / "out", tmp_path / "data", tmp_path / "killed"
    out.mkdir()
    rows = pa.table({"a": [1.0, 2.0, 3.0]})
    flags = ("--device", "cpu", "--data-root", str(out))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(INJECT), os.environ.get("PYTHONPATH", "")]))
    with served(data, *flags) as (client, server):
        session = client.create_session("faults")
        session.load_table(rows, name="rows")
        client.register_model("old", source="a + 7 AS score")
        client.register_model("new", source="a * 0.5 AS score")
        session.score("old", "rows", out_path=out / "scores", append=True).wait()
    monkeypatch.setenv("KILL_IN", where)
    monkeypatch.setenv("KILL_AT", step.format(out=re.escape(str(out)), data=re.escape(str(data))))
    monkeypatch.setenv("KILL", who)
    monkeypatch.setenv("KILLED", str(killed))
    with served(data, *flags) as (client, server):
        job = client.get_session("faults").score("new", "rows", out_path=out / "scores", append=True)
        if (where, who) == (WORKER, "itself"):
            assert job.wait().state is State.SUCCEEDED
        else:
            server.wait(30)
    if (where, who) != (WORKER, "itself"):
        with served(data, *flags) as (client, _):
            assert client.get_job(job.id).wait().state is State.SUCCEEDED
    assert killed.exists()
    assert listed(out / "scores") == seen(out / "scores") == {8.0, 9.0, 10.0, 0.5, 1.0, 1.5}
    assert [path.name for path in out.iterdir()] == ["scores"]
    assert list((data / "publishing").iterdir()) == []
