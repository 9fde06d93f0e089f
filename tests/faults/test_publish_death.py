"""`kill -9` at every single step of writing an output: it is whole or not there, and nothing else stays."""

import itertools
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from killing import publish_and_die
from scorestream_server.domain.table import PartitionFile
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.publication import Note, read_note, settle, write_note
from scorestream_server.tables.publish import publish
from scorestream_server.tables.results import attempt_path, commit_partition, write_partition

NEW = pa.table({"score": [1.0, 2.0, 3.0]})
OLD = pa.table({"score": [9.0]})


def partition(folder: Path, table: pa.Table) -> list[PartitionFile]:
    final = folder / f"{table.num_rows}.arrow"
    return [
        commit_partition(write_partition(attempt_path(final, 1), table.to_batches(), table.schema), final)
    ]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("replaced", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("name", ["scores.parquet", "scores"])
@pytest.mark.timeout(300)
def test_an_output_survives_a_kill_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, replaced: bool
) -> None:
    """After the kill the old output or the new one stands there; the next attempt ends with the new one."""
    out, notes = tmp_path / "out", tmp_path / "notes"
    out.mkdir()
    notes.mkdir()
    old, new = partition(tmp_path, OLD), partition(tmp_path, NEW)
    destination = DataRoots(None).output(str(out / name))
    journal = notes / "job.json"
    processes = multiprocessing.get_context("forkserver")
    # Or what it is to preload is not found, and each of its processes imports it anew.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    processes.set_forkserver_preload(["killing"])
    outcomes = []
    for step in itertools.count(1):
        for folder in (out, notes):
            shutil.rmtree(folder)
            folder.mkdir()
        if replaced:
            publish(old, OLD.schema, destination, notes / "old.json", replace=False)
        before = OLD if replaced else None
        schema = NEW.schema.serialize().to_pybytes()
        arguments = (step, [out, notes], new, schema, destination, journal, {"replace": replaced})
        process = processes.Process(target=publish_and_die, args=arguments)
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL

        arrived = settle(journal)
        there = pq.read_table(out / name) if (out / name).exists() else None
        assert there == (before if arrived is None else NEW), step
        assert names(out) == ([] if there is None else [name]), step
        outcomes.append(arrived is not None)

        made = publish(new, NEW.schema, destination, journal, replace=replaced)
        assert arrived in {None, made}
        assert made.rows == NEW.num_rows
        assert [Path(path).exists() for path in made.paths] == [True]
        assert pq.read_table(out / name) == NEW
        assert names(out) == [name]
    assert sorted(outcomes) == outcomes, "once it has its name, it keeps it"
    assert set(outcomes) == {False, True}
    assert names(out) == [name]
    assert pq.read_table(out / name) == NEW


def test_what_took_the_place_meanwhile_is_not_touched(tmp_path: Path) -> None:
    """Neither somebody else's output of that name, nor the directory that was moved aside for ours."""
    note = Note.begun(tmp_path / "scores")
    note.aside.mkdir()
    (note.aside / "old").touch()
    note.temporary.mkdir()
    note.final.mkdir()
    (note.final / "theirs").touch()
    write_note(tmp_path / "notes" / "job.json", note)
    assert settle(tmp_path / "notes" / "job.json") is None
    assert names(note.final) == ["theirs"]
    assert names(note.aside) == ["old"]
    assert not note.temporary.exists()
    assert names(tmp_path / "notes") == []


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"final": "/a", "token": "../../etc", "identity": null, "published": null}'],
)
def test_a_note_that_says_nothing_removes_nothing(tmp_path: Path, text: str) -> None:
    """One that is damaged, or that somebody made up, names no file."""
    (tmp_path / "keep").touch()
    journal = tmp_path / "job.json"
    journal.write_text(text)
    assert read_note(journal) is None
    assert settle(journal) is None
    assert names(tmp_path) == ["keep"]
