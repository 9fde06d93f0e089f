"""The disk cache: rows D1, D5 and D9, with real servers, real files and real damage."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

import scorestream
from principals import people
from scorestream import State
from scorestream.errors import (
    FailedPreconditionError,
    JobFailedError,
    NotFoundError,
    ResourceExhaustedError,
    ScorestreamError,
)
from served import served

ROWS = 200_000
SOURCE = pa.table({"a": np.arange(ROWS), "b": np.arange(ROWS) / 2, "c": pa.array(["some text"] * ROWS)})
Ask = Callable[..., Any]


@dataclass(frozen=True)
class Site:
    """A server with two cache directories.

    Attributes:
        csv: a source of about 4 MB; `more` of them can be made.
    """

    client: scorestream.Client
    server: psutil.Process
    folder: Path
    csv: Path

    @property
    def caches(self) -> tuple[Path, Path]:
        return self.folder / "fast", self.folder / "slow"

    def more(self, name: str) -> Path:
        path = self.csv.with_name(name)
        shutil.copyfile(self.csv, path)
        return path

    def place(self, table: scorestream.Table) -> tuple[Path, ...]:
        """Return where a table's file is, and its copies, as the store has it."""
        return places(self.folder / "data", table)

    def score(self, session: scorestream.Session, table: scorestream.Table) -> scorestream.Job:
        """Score all rows, and see that each is right."""
        job = session.score("half", table).wait()
        found = pa.Table.from_batches(job.results())["half"]
        assert np.array_equal(found.to_numpy(), np.arange(ROWS) / 4)
        return job


def places(data: Path, table: scorestream.Table) -> tuple[Path, ...]:
    with contextlib.closing(sqlite3.connect(data / "scorestream.db")) as store:
        query = "SELECT data FROM tables WHERE session_id = ? AND table_id = ? AND NOT dropped"
        ((found,),) = store.execute(query, (table.session_id, table.name))
    (cached,) = json.loads(found)["cached"]
    return tuple(map(Path, (cached["path"], *cached["copies"])))


def files(*folders: Path) -> list[Path]:
    """Return the files of tables in cache directories."""
    return sorted(path for folder in folders for path in folder.glob("*/*"))


def flip(path: Path, at: int) -> None:
    """Change one bit and nothing else, as a disk does."""
    seen = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def logged(job: scorestream.Job) -> str:
    return "\n".join(line.text for line in job.log())


@pytest.fixture(autouse=True)
def identified() -> None:
    """These servers ask nobody who they are."""


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sources") / "rows.csv"
    pacsv.write_csv(SOURCE, path)
    return path


@contextlib.contextmanager
def running(folder: Path, csv: Path, *flags: str) -> Iterator[Site]:
    """Run a server in a folder with two cache directories."""
    root = folder / "in"
    if not root.exists():
        root.mkdir(parents=True)
        shutil.copyfile(csv, root / "rows.csv")
    caches = [f"--cache-dir={folder / name}" for name in ("fast", "slow")]
    with served(folder / "data", "--device", "cpu", f"--data-root={root}", *(flags or caches)) as (
        client,
        server,
    ):
        client.register_model("half", source="b / 2 AS half")
        client.register_model("as_it_is", source="b * 1 AS b")
        yield Site(client, server, folder, root / "rows.csv")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, csv: Path) -> Iterator[Site]:
    """A server for the tests that break nothing for others."""
    with running(tmp_path_factory.mktemp("site"), csv) as site:
        yield site


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    yield shared
    for session in shared.client.sessions():
        session.terminate(cancel=True)


@pytest.fixture
def ask(site: Site, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs a command against the server and returns what it prints as JSON."""

    def command(*arguments: object) -> Any:
        words = ["scorestream", *map(str, arguments), "-o", "json", "--server", site.client.address]
        monkeypatch.setattr(sys, "argv", words)
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            scorestream_main()
        out, err = capfd.readouterr()
        assert not end.value.code, err
        return json.loads(out)

    return command


def scorestream_main() -> None:
    from scorestream.cli import main  # noqa: PLC0415 - as the command does

    main()


def test_d1_converted_and_uploaded_tables_lie_in_cache_directories(site: Site) -> None:
    """Each in a folder of its own, mapped from there, with a copy in the other directory; gone when it is dropped."""
    session = site.client.create_session("d1")
    loaded = session.load_table("rows.csv", name="loaded")
    sent = session.load_table(SOURCE, name="sent")
    for table in (loaded, sent):
        assert table.info.backing_store == "DISK_CACHE" or not table.info.source_paths
        assert table.info.copies == 1
        found = site.place(table)
        assert {path.parent.parent for path in found} == set(site.caches)
        assert len({path.parent.name for path in found}) == 1
        assert len({path.read_bytes() for path in found}) == 1
        site.score(session, table)
    assert files(*site.caches) == sorted((*site.place(loaded), *site.place(sent)))
    assert loaded.read(limit=3)["a"].to_pylist() == [0, 1, 2]
    session.load_table("rows.csv", name="plain", copies=0)
    assert session.table("plain").info.copies == 0
    assert session.load_table(SOURCE.slice(0, 5), name="few", copies=5).info.copies == 1
    assert any("Copies asked for: 5; made: 1" in line.text for line in session.log())
    with pytest.raises(ScorestreamError, match="copies: 17 is not from 0 to 16"):
        session.load_table("rows.csv", name="many", copies=17)


def test_d1_the_same_sources_share_bytes_and_nothing_else(site: Site) -> None:
    """Two sessions have one table's bytes once; each its own name for them; changed sources are another table."""
    first, second = (site.client.create_session(f"share{number}") for number in range(2))
    path = site.more("shared.csv")
    one, two = (session.load_table("shared.csv", name="t") for session in (first, second))
    for here, there in zip(site.place(one), site.place(two), strict=True):
        assert here != there
        assert here.samefile(there)
    info = site.client.cache.info()
    assert info.used == sum(path.stat().st_size for path in site.place(one))
    assert [table.bytes for table in info.tables] == [info.used, info.used]
    with path.open("a") as file:
        file.write("7,8.5,more\n")
    three = second.load_table("shared.csv", name="longer")
    assert (two.rows, three.rows) == (ROWS, ROWS + 1)
    one.drop()
    first.terminate()
    site.score(second, two)
    assert second.table("longer").read(ROWS)["b"].to_pylist() == [8.5]


@pytest.mark.parametrize("damage", ["flipped", "cut", "deleted"])
def test_d5_a_block_that_is_lost_is_read_from_its_copy_and_restored(site: Site, damage: str) -> None:
    """The job succeeds with a warning that names block and table, and the file is whole again."""
    session = site.client.create_session("d5")
    table = session.load_table("rows.csv", name="t")
    path, copy = site.place(table)
    whole = path.read_bytes()
    match damage:
        case "flipped":
            flip(path, 50_000)
            told = (
                f"Table 't': Block 0 of the cached file '{path}' is damaged. It was restored from its copy."
            )
        case "cut":
            os.truncate(path, len(whole) // 2)
            told = f"Table 't': The cached file '{path}' has {len(whole) // 2:,} bytes instead of {len(whole):,}."
        case _:
            path.unlink()
            told = f"Table 't': The cached file '{path}' is gone. It was restored from its copy."
    job = site.score(session, table)
    assert job.state is State.SUCCEEDED_WITH_WARNINGS
    assert any(warning.startswith(told) for warning in job.info.warnings)
    assert told in logged(job)
    assert path.read_bytes() == whole == copy.read_bytes()
    assert site.score(session, table).state is State.SUCCEEDED
    # A copy is not looked at until it is needed, and then it helps to mend no more than it can.
    copy.unlink()
    assert table.head(1)["a"].to_pylist() == [0]


def test_d5_without_a_copy_it_is_made_again_of_sources_that_are_the_same(site: Site) -> None:
    """And where they are not, the job fails and says which block is damaged, and what can be done."""
    session = site.client.create_session("again")
    source = site.more("again.csv")
    table = session.load_table("again.csv", name="t", copies=0)
    (path,) = site.place(table)
    whole = path.read_bytes()
    flip(path, 50_000)
    job = site.score(session, table)
    assert job.state is State.SUCCEEDED_WITH_WARNINGS
    (warning,) = job.info.warnings
    assert f"Block 0 of the cached file '{path}' is damaged" in warning
    assert "Table 't' was loaded again from its sources." in warning
    (path,) = site.place(table)
    assert path.read_bytes() == whole
    assert len(files(*site.caches)) == 1
    flip(path, 50_000)
    path.touch()  # else a worker that saw it whole trusts it
    source.touch()
    with pytest.raises(JobFailedError) as caught:
        session.score("half", table).wait()
    assert (caught.value.code, caught.value.reason) == ("DATA_LOSS", "BLOCK_LOST")
    assert f"Block 0 of the cached file '{path}' is damaged, and it has no copy" in caught.value.message
    assert f"its source '{source}' was written again at " in caught.value.message


def test_d5_an_upload_without_a_copy_is_lost_and_says_so(site: Site) -> None:
    session = site.client.create_session("lost")
    table = session.load_table(SOURCE, name="sent", copies=0)
    (path,) = site.place(table)
    path.unlink()
    for attempt in (lambda: session.score("half", table).wait(), table.head, table.read):
        with pytest.raises(ScorestreamError) as caught:
            attempt()
        assert (caught.value.code, caught.value.reason) == ("DATA_LOSS", "BLOCK_LOST")
        assert f"The cached file '{path}' is gone, and it has no copy" in caught.value.message
        assert "it has no source that the server could read again" in caught.value.message


def test_d5_a_whole_directory_that_goes_is_survived(tmp_path: Path, csv: Path) -> None:
    """At run time and at a start: copies are read, sources loaded again, and what is lost is named, nothing hangs."""
    with running(tmp_path / "site", csv) as site:
        session = site.client.create_session("kept")
        loaded = session.load_table("rows.csv", name="loaded")
        sent = session.load_table(SOURCE, name="sent")
        alone = session.load_table(SOURCE.slice(0, 10), name="alone", copies=0)
        first = site.place(loaded)[0].parent.parent
        # All of this server's first choices lie together, for the disk is the same.
        assert {site.place(table)[0].parent.parent for table in (sent, alone)} == {first}
        first.rename(tmp_path / "away")
        for table in (loaded, sent):
            job = site.score(session, table)
            assert job.state is State.SUCCEEDED_WITH_WARNINGS
            assert "It was read from its copy" in job.info.warnings[0]
        with pytest.raises(ScorestreamError, match="is gone, and it has no copy"):
            alone.head()
        assert not first.exists()
        assert [one.available for one in site.client.cache.info().directories].count(False) == 1
        assert session.load_table(SOURCE, name="new").info.copies == 0
    # The next start is without that directory, and with the other one under another name.
    other = next(path for path in site.caches if path != first).rename(tmp_path / "moved")
    with running(tmp_path / "site", csv, f"--cache-dir={other}") as site:
        session = site.client.get_session("kept")
        for name in ("loaded", "sent"):
            assert site.score(session, session.table(name)).state is State.SUCCEEDED
            assert site.place(session.table(name))[0].parent.parent == other
        with pytest.raises(ScorestreamError, match="is gone, and it has no copy"):
            session.table("alone").head()
        info = site.client.cache.info()
        assert [one.path for one in info.directories] == [str(other)]


def test_d9_evicted_tables_come_back_when_they_are_used(site: Site, ask: Ask) -> None:
    """By a job, a head and a read; the list says that they are evicted; uploads never are."""
    session = site.client.create_session("d9")
    table = session.load_table("rows.csv", name="t")
    sent = session.load_table(SOURCE.slice(0, 100), name="sent")
    size = sum(path.stat().st_size for path in site.place(table))
    for use in (
        lambda: site.score(session, table),
        table.head,
        lambda: table.read(limit=1),
        lambda: next(table.batches()),
    ):
        assert site.client.cache.evict(table).bytes == size
        assert files(*site.caches) == sorted(site.place(sent))
        assert session.table("t").info.evicted
        (listed,) = [one for one in ask("cache", "info")["tables"] if one["name"] == "t"]
        assert (listed["state"], listed["bytes"], listed["reloadable"]) == ("EVICTED", 0, True)
        use()
        assert not session.table("t").info.evicted
        assert session.table("t").info.copies == 1
    assert session.score("half", table).wait().state is State.SUCCEEDED
    assert ask("cache", "evict", "d9", "t") == {
        "tables": [f"sessions/{session.id}/tables/t"],
        "bytes": size,
    }
    assert site.client.cache.evict(table).tables == ()
    with pytest.raises(FailedPreconditionError, match="it was uploaded"):
        site.client.cache.evict(sent)
    with pytest.raises(NotFoundError):
        site.client.cache.evict(f"sessions/{session.id}/tables/none")
    site.score(session, table)
    assert set(ask("cache", "evict", "--all-idle")["tables"]) == {f"sessions/{session.id}/tables/t"}


def test_d9_an_evicted_table_whose_source_changed_says_so(site: Site) -> None:
    session = site.client.create_session("changed")
    source = site.more("changed.csv")
    table = session.load_table("changed.csv", name="t")
    site.client.cache.evict(table)
    source.write_text("a,b,c\n1,2.5,x\n")
    with pytest.raises(FailedPreconditionError) as caught:
        table.head()
    assert caught.value.reason == "TABLE_EVICTED"
    assert f"its source '{source}' was cut short at " in caught.value.message
    with pytest.raises(JobFailedError, match="was evicted from the cache to make room"):
        session.score("half", table).wait()
    assert session.table("t").info.evicted
    assert session.load_table("changed.csv", name="t", replace=True).rows == 1
    source.write_text("a,b,c\n1,2.5,x\n2,3.5,y\n")
    with pytest.raises(FailedPreconditionError, match="its sources are not what they were"):
        site.client.cache.evict(session.table("t"))


def test_d9_the_information_adds_up(site: Site, ask: Ask) -> None:
    """Directories, tables and sessions; what several share is counted once."""
    sessions = [site.client.create_session(f"sum{number}") for number in range(2)]
    for session in sessions:
        session.load_table("rows.csv", name="same")
        session.load_table(SOURCE.slice(0, 1000), name="own")
    info = site.client.cache.info()
    there = {path.stat().st_ino: path.stat().st_size for path in files(*site.caches)}
    assert info.used == info.own == sum(there.values())
    assert [one.used for one in info.directories] == [
        sum({path.stat().st_ino: path.stat().st_size for path in files(folder)}.values())
        for folder in site.caches
    ]
    assert [one.path for one in info.directories] == [str(path) for path in site.caches]
    assert {(one.name, one.session, one.copies, one.state, one.in_use) for one in info.tables} == {
        (name, session.name, 1, "CACHED", False) for name in ("same", "own") for session in sessions
    }
    assert {one.session: one.bytes for one in info.sessions} == {
        session.name: sum(one.bytes for one in info.tables if one.session_id == session.id)
        for session in sessions
    }
    told = ask("cache", "info")
    assert (told["used"], told["most"] > told["used"], told["own"]) == (info.used, True, info.used)
    assert [one["name"] for one in told["tables"]] == [one.name for one in info.tables]


def test_d9_a_full_cache_evicts_the_least_recently_used_and_then_says_who_has_the_space(
    tmp_path: Path, csv: Path
) -> None:
    """Loads go on as long as something can go; uploads stay; the error names what holds the space, others' as a sum."""
    root = tmp_path / "in"
    root.mkdir()
    size = SOURCE.nbytes
    limits = (f"--cache-size={4.5 * size / 1024:.0f}KiB", f"--limit=cache_bytes={int(3.3 * size)}")
    with people(tmp_path / "data", f"--data-root={root}", *limits) as known:
        session, bobs = known.alice.create_session("full"), known.bob.create_session("bobs")
        tables = []
        for number in range(4):
            shutil.copyfile(csv, root / f"t{number}.csv")
            tables.append(session.load_table(f"t{number}.csv", name=f"t{number}"))
            tables[0].head(1)  # the oldest, and always the last that was used
        assert {one.name: one.state for one in known.alice.cache.info().tables} == {
            "t0": "CACHED",
            "t1": "EVICTED",
            "t2": "CACHED",
            "t3": "CACHED",
        }
        assert tables[1].head(1)["a"].to_pylist() == [0]
        assert session.table("t2").info.evicted
        sent = [session.load_table(SOURCE, name=f"sent{number}") for number in range(2)]
        with pytest.raises(ResourceExhaustedError) as caught:
            session.load_table(pa.concat_tables([SOURCE, SOURCE]), name="beyond")
        assert caught.value.reason == "TOO_MUCH_CACHED"
        for told in ("'sent0' in session 'full'", "Your tables may take", "--limit cache_bytes="):
            assert told in caught.value.message

        bobs.load_table(SOURCE, name="hers_go_first")
        bobs.load_table(SOURCE.slice(0, ROWS // 3), name="small")
        with pytest.raises(ResourceExhaustedError) as caught:
            bobs.load_table(pa.concat_tables([SOURCE, SOURCE]), name="beyond")
        assert caught.value.reason == "CACHE_FULL"
        mine = sum(one.bytes for one in known.alice.cache.info().tables)
        for told in ("'hers_go_first' in session 'bobs'", f"Those of others take {mine:,}.", "--cache-size"):
            assert told in caught.value.message
        assert "sent" not in caught.value.message
        # What was evicted for uploads, which stay, has no room to come back until one of them goes.
        bobs.load_table(SOURCE, name="all")
        with pytest.raises(ResourceExhaustedError, match="The cache is full"):
            tables[0].head()
        sent[0].drop()
        sent[1].drop()
        assert tables[0].head(1)["a"].to_pylist() == [0]

        seen = [client.cache.info() for client in (known.alice, known.bob, known.admin)]
        assert [{one.owner for one in info.tables} for info in seen] == [{"alice"}, {"bob"}, {"alice", "bob"}]
        assert len({info.used for info in seen}) == 1
        assert [bool(info.directories[0].path) for info in seen] == [False, False, True]
        assert known.bob.cache.evict(all_idle=True).tables == ()
        with pytest.raises(NotFoundError):
            known.bob.cache.evict(tables[0])
        assert known.admin.cache.evict(tables[0]).tables == (f"sessions/{session.id}/tables/t0",)


def test_a_backup_has_the_tables_of_every_cache_directory(site: Site, tmp_path: Path) -> None:
    """In its own cache, without copies: it needs neither the directories nor the data directory that it came from."""
    session = site.client.create_session("backup")
    source = site.more("backup.csv")
    session.load_table("rows.csv", name="loaded")
    sent = session.load_table(SOURCE, name="sent")
    site.client.cache.evict(session.load_table("backup.csv", name="evicted"))
    site.place(sent)[0].unlink()
    command = [sys.executable, "-m", "scorestream_server.backup", f"--data-dir={site.folder / 'data'}"]
    subprocess.run([*command, f"--to={tmp_path / 'data'}"], check=True, capture_output=True)
    source.unlink()
    session.terminate()
    with served(tmp_path / "data", "--device", "cpu", "--cache-size=0.9") as (client, server):
        copy = Site(client, server, tmp_path, source)
        session = client.get_session("backup")
        for name in ("loaded", "sent"):
            assert session.table(name).info.copies == 0
            assert copy.score(session, session.table(name)).state is State.SUCCEEDED
            assert copy.place(session.table(name))[0].is_relative_to(tmp_path)
        with pytest.raises(FailedPreconditionError, match=f"its source '{source}' is gone"):
            session.table("evicted").head()


def test_two_servers_on_one_cache_directory_are_refused(site: Site, tmp_path: Path) -> None:
    """The second one says who has it, and what to do."""
    flags = ["--port=0", f"--data-dir={tmp_path / 'data'}", f"--cache-dir={site.caches[0]}"]
    command = [sys.executable, "-m", "scorestream_server", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    told = f"The cache directory {site.caches[0]} is in use by the server of process {site.server.pid}. Stop that one"
    assert told in done.stderr


def test_d5_rows_appended_to_a_cached_table_share_its_blocks(site: Site) -> None:
    """Which are checked, and mended, as before; the version before reads on until the last job of it is done."""
    session = site.client.create_session("append")
    site.more("appended.csv")
    table = session.load_table("appended.csv", name="t")
    before = site.place(table)
    session.score("as_it_is", table, keep=["a", "c"], out="t", append=True).wait()
    assert session.table("t").rows == 2 * ROWS
    assert site.place(table) == before
    flip(before[0], 50_000)
    before[0].touch()  # else a worker that saw it whole trusts it
    job = session.score("half", table).wait()
    assert job.state is State.SUCCEEDED_WITH_WARNINGS
    assert "It was restored from its copy." in job.info.warnings[0]
    found = pa.Table.from_batches(job.results())["half"]
    assert np.array_equal(found.to_numpy(), np.tile(np.arange(ROWS) / 4, 2))
    assert files(*site.caches) == sorted(before)


def test_d9_a_table_with_appended_rows_comes_back_whole(site: Site) -> None:
    """Its sources give the rows in the cache, the job those behind them; and nobody else gets the appended ones."""
    session = site.client.create_session("whole")
    source = site.more("whole.csv")
    table = session.load_table("whole.csv", name="t")
    session.score("as_it_is", table, keep=["a", "c"], out="t", append=True).wait()
    assert site.client.cache.evict(table).bytes > 0
    assert files(*site.caches) == []
    session.load_table(SOURCE.slice(0, 5), name="few")
    session.score("as_it_is", "few", keep=["a", "c"], out="t", append=True).wait()
    assert session.table("t").info.evicted
    assert session.table("t").read().equals(pa.concat_tables([SOURCE, SOURCE, SOURCE.slice(0, 5)]))
    assert not session.table("t").info.evicted
    alone = session.load_table("whole.csv", name="alone")
    assert alone.rows == ROWS
    assert session.table("alone").read().equals(SOURCE)
    site.client.cache.evict(session.table("t"))
    source.touch()
    with pytest.raises(FailedPreconditionError, match=r"whole\.csv' was written again at") as caught:
        session.table("t").read()
    assert caught.value.reason == "TABLE_EVICTED"
    assert session.table("alone").read().equals(SOURCE)


def test_d9_a_version_with_appended_rows_takes_no_file_from_a_job_on_the_one_before(site: Site) -> None:
    """Not when it is evicted, nor when it is dropped."""
    session = site.client.create_session("versions")
    site.more("versions.csv")
    table = session.load_table("versions.csv", name="t")
    job = session.score("half", table, partition_rows=500)
    few = session.load_table(SOURCE.slice(0, 5), name="few")
    session.score("as_it_is", few, keep=["a", "c"], out="t", append=True, priority="high").wait()
    site.client.cache.evict(session.table("t"))
    session.table("t").drop()
    assert job.refresh().info.partitions_done < job.info.partitions_total
    assert job.wait().state is State.SUCCEEDED


def test_d4_a_save_over_the_source_of_a_cached_table_leaves_the_table_as_it_is(site: Site) -> None:
    """Evicted, it says that its source was replaced; a save of one that is evicted brings it back first."""
    first, second = (site.client.create_session(f"save{number}") for number in range(2))
    site.more("saved.csv")
    site.more("other.csv")
    table = first.load_table("saved.csv", name="t")
    other = second.load_table("other.csv", name="other")
    site.client.cache.evict(other)
    other.save("saved.csv", replace=True)
    site.score(first, table)
    with pytest.raises(FailedPreconditionError, match="source"):
        site.client.cache.evict(table)
    assert second.load_table("saved.csv", name="now").read().num_rows == ROWS
    source = site.more("later.csv")
    late = first.load_table("later.csv", name="late")
    site.client.cache.evict(late)
    second.score("as_it_is", "other", keep=["a"], out_path="later.csv", replace=True).wait()
    with pytest.raises(FailedPreconditionError, match="was replaced by another file") as caught:
        late.head()
    assert (caught.value.reason, str(source) in caught.value.message) == ("TABLE_EVICTED", True)
