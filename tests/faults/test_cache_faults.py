"""`kill -9` and a full disk while tables come into the cache and go from it: nothing is lost, and nothing stays."""

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

import scorestream
from faults.left_behind import unknown_files
from scorestream import State
from scorestream.errors import ResourceExhaustedError, ScorestreamError
from served import started

INJECT = Path(__file__).parent / "inject"
WORKER, SERVER = "scorestream_server.workers.process", "scorestream_server"
ROWS = pa.table({"a": np.arange(100_000), "b": np.arange(100_000) / 2})


def check(session: scorestream.Session, name: str) -> None:
    """See that every row of a table is there, and can be scored."""
    assert session.table(name).read() == ROWS
    assert session.score("half", name).wait().state is State.SUCCEEDED


@contextlib.contextmanager
def serving(
    data: Path, root: Path, *caches: Path
) -> Iterator[tuple[scorestream.Client, scorestream.Session, psutil.Process]]:
    """Run a server with a session that stays from one to the next; calls are not tried again."""
    flags = ["--device", "cpu", f"--data-root={root}", *(f"--cache-dir={path}" for path in caches)]
    with (
        started(data, *flags) as (address, server),
        scorestream.connect(address, patience=0) as client,
    ):
        client.register_model("half", source="b / 2 AS half")
        found = client.sessions(prefix="kept")
        yield client, found[0] if found else client.create_session("kept"), server


Act = Callable[[scorestream.Client, scorestream.Session], object]


@pytest.mark.timeout(300)
def test_tables_survive_a_kill_while_they_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a client was told of is there after each kill, and no file that the store does not know."""
    root, data, other = tmp_path / "in", tmp_path / "data", tmp_path / "other"
    caches = (data / "cache", other)
    root.mkdir()
    pacsv.write_csv(ROWS, root / "rows.csv")
    folder = rf"(?:{re.escape(str(data / 'cache'))}|{re.escape(str(other))})/[\w-]+"
    steps: list[tuple[str, str, str, Act]] = [
        # The copy of a load, which is the second file that is written.
        (
            WORKER,
            rf"os\.rename {folder}/\.table-\w+\.arrow\.\w+\.tmp {re.escape(str(other))}",
            "both",
            lambda _, session: session.load_table("rows.csv", name="new"),
        ),
        (
            SERVER,
            rf"os\.rename {folder}/\.upload",
            "itself",
            lambda _, session: session.load_table(ROWS, name="new"),
        ),
        (
            SERVER,
            rf"os\.remove {folder}/table",
            "itself",
            lambda client, session: client.cache.evict(session.table("rows")),
        ),
        (
            WORKER,
            rf"os\.rename {folder}/\.table-\w+\.arrow\.\w+\.tmp {folder}/table",
            "both",
            lambda _, session: session.table("rows").head(),
        ),
    ]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(INJECT), os.environ.get("PYTHONPATH", "")]))
    for number, (where, step, who, act) in enumerate(steps):
        killed = tmp_path / f"killed{number}"
        words = {"KILL_IN": where, "KILL_AT": step, "KILL": who, "KILLED": str(killed)}
        for name, value in words.items():
            monkeypatch.setenv(name, value)
        killed.touch()  # not yet: either directory may get the tables that are made first
        with serving(data, root, *caches) as (client, session, server):
            if number == 0:
                session.load_table(ROWS, name="sent", copies=0)
                session.load_table("rows.csv", name="rows", copies=0)
                # As large as it is, a table is in one directory or in the other.
            assert unknown_files(data) == set()
            assert {table.name for table in session.tables()} == {"rows", "sent"}
            check(session, "sent")
            killed.unlink()
            with pytest.raises(ScorestreamError):
                act(client, session)
            server.wait(30)
            assert killed.exists()
    monkeypatch.setenv("KILL_IN", "nothing")
    with serving(data, root, *caches) as (_, session, _):
        assert unknown_files(data) == set()
        assert session.table("rows").info.evicted
        for name in ("rows", "sent"):
            check(session, name)
        assert not any(list(path.glob("*/.*")) for path in caches)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "scorestream-test", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a file system")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_disk_that_fills_has_idle_tables_evicted_and_then_says_so(small_disk: Path, tmp_path: Path) -> None:
    """Also by what others write there; the server and its other tables go on."""
    root = tmp_path / "in"
    root.mkdir()
    for number in range(12):
        pacsv.write_csv(ROWS, root / f"t{number}.csv")
    with serving(tmp_path / "data", root, small_disk / "cache") as (client, session, _):
        session.load_table(ROWS, name="sent")
        for number in range(12):
            session.load_table(f"t{number}.csv")
        states = [one.state for one in client.cache.info().tables]
        assert states.count("EVICTED") >= 2
        assert states.count("CACHED") >= 5
        (small_disk / "of others").write_bytes(bytes(small_disk_free(small_disk)))
        # One goes for the other, and for the reserve that was taken.
        session.load_table("t0.csv", name="again", replace=True)
        (small_disk / "more of others").write_bytes(bytes(small_disk_free(small_disk)))
        with pytest.raises(ResourceExhaustedError) as caught:
            session.load_table(pa.concat_tables([ROWS] * 12), name="too_large")
        assert caught.value.reason in {"CACHE_FULL", "DISK_FULL"}
        # Neither what was written of it, nor what it evicted, keeps others from being loaded.
        session.load_table("t3.csv", name="after")
        (small_disk / "of others").unlink()
        (small_disk / "more of others").unlink()
        for name in ("sent", "t11", "again", "after"):
            check(session, name)
        assert list(small_disk.glob("cache/*/.*")) == []


def small_disk_free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
