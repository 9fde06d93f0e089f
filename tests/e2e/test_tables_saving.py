"""Rows D2, D4 and D7 of the list of features: where tables are mapped from, what they share, and saving over a source."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import scorestream
from principals import People, people

Run = Callable[..., subprocess.CompletedProcess[str]]
ROWS = 60_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data root of the server below."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def two(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A server that Alice and Bob use."""
    with people(tmp_path_factory.mktemp("saving") / "data", "--data-root", str(root)) as found:
        yield found


@pytest.fixture
def folder(root: Path, request: pytest.FixtureRequest) -> Path:
    """A folder of one test's own below the data root."""
    found = root / re.sub(r"\W+", "_", request.node.name)
    found.mkdir()
    return found


def customers(value: float) -> pa.Table:
    """Customers whose balance is the same for all."""
    ids = np.arange(ROWS)
    return pa.table({"id": ids, "balance": np.full(ROWS, value), "name": [f"customer {one}" for one in ids]})


def write_arrow(path: Path, table: pa.Table) -> Path:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)
    return path


def read_arrow(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).read_all().combine_chunks()


def changed(session: scorestream.Session, table: scorestream.Table, name: str) -> scorestream.Table:
    """Change a table in its session: the same customers with the balance that a model gives them."""
    session.score(f"balance_{name}", table, keep=["id", "name"], out=name, replace=True).wait(60)
    return session.table(name)


def kept(two: People) -> list[Path]:
    """Return the versions of files that the server keeps."""
    folder = two.data_dir / "kept"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def test_d7_two_sessions_change_one_file_and_neither_hangs_nor_loses(
    two: People, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The story of two users of one file, step by step; both of its bad ends are absent."""
    path = write_arrow(folder / "customers.arrow", customers(1.0))
    for name, value in (("alices", 2.0), ("bobs", 3.0)):
        two.admin.register_model(f"balance_{name}", source=f"id * 0.0 + {value} AS balance")
    two.admin.register_model("twice", source="balance * 2 AS score")
    with two.alice.create_session("alice") as alice, two.bob.create_session("bob") as bob:
        # Both load the table, and map the same file.
        hers, his = alice.load_table(path, "customers"), bob.load_table(path, "customers")
        assert hers.info.backing_store == his.info.backing_store == "IN_PLACE"
        assert hers.source_etag() == his.source_etag() != ""
        # Each makes changes of their own.
        her_change = changed(alice, hers, "alices")
        his_change = changed(bob, his, "bobs")
        # Alice saves hers back to the source, while a job of Bob's goes over what it was.
        job = bob.score("twice", his, keep=["id"], partition_rows=1000)
        etag = her_change.save(path, etag=hers.source_etag())
        saved = read_arrow(path)
        assert set(saved["balance"].to_pylist()) == {2.0}
        assert saved["id"].to_pylist() == list(range(ROWS))
        # First bad end: Bob's session hangs, or reads a mixture. It goes on with what it opened.
        job.wait(60)
        scored = pa.Table.from_batches(job.results())
        assert set(scored["score"].to_pylist()) == {2.0}
        assert scored["id"].to_pylist() == list(range(ROWS))
        assert his.read() == customers(1.0)
        assert his.head(5) == customers(1.0).slice(0, 5)
        assert len(kept(two)) == 1
        # Second bad end: Bob overwrites her changes and nobody knows. He is told who was there before him.
        with pytest.raises(scorestream.AbortedError) as caught:
            his_change.save(path, etag=his.source_etag())
        error = caught.value
        assert error.reason == "SOURCE_CHANGED_SINCE_LOAD"
        assert "'alice' saved over it from session 'alice'" in str(error)
        assert alice.id in str(error)
        assert error.metadata["principal"] == "alice"
        assert error.metadata["session"] == alice.id
        assert error.metadata["etag"] == etag
        assert read_arrow(path) == saved
        # So does the command line, with the exit code of a conflict.
        monkeypatch.setenv("SCORESTREAM_TOKEN", two.bob.token or "")
        words = ("table", "save", bob.id, "customers", "--server", two.address)
        told = run(*words, check=1).stderr
        assert "'alice' saved over it" in told
        # He loads it again, does his changes to that, and saves them.
        again = bob.load_table(path, "customers", replace=True)
        assert again.source_etag() == etag
        assert set(again.read()["balance"].to_pylist()) == {2.0}
        newer = changed(bob, again, "bobs").save(path, etag=again.source_etag())
        assert set(read_arrow(path)["balance"].to_pylist()) == {3.0}
        # Now it is Alice who is told, and her table is what it was.
        with pytest.raises(scorestream.AbortedError, match="'bob' saved over it from session 'bob'"):
            her_change.save(path, etag=etag)
        assert hers.read() == customers(1.0)
        # A change from outside of the server is told as that.
        write_arrow(path, customers(4.0))
        with pytest.raises(scorestream.AbortedError, match=r"outside of this server it was .* at 20"):
            his_change.save(path, etag=newer)
        assert len(kept(two)) == 2
        hers.drop()
        assert len(kept(two)) == 1
    with two.bob.create_session("after") as after:
        after.load_table(path, "customers").drop()
    assert kept(two) == []


def test_d7_a_table_is_saved_back_to_its_source_again_and_again(
    two: People, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a file of any format and to a data set; each save describes what the next one finds."""
    monkeypatch.setenv("SCORESTREAM_TOKEN", two.alice.token or "")
    write_arrow(folder / "t.arrow", customers(1.5))
    pq.write_table(customers(1.5), folder / "t.parquet")
    pacsv.write_csv(customers(1.5), folder / "t.csv")
    with two.alice.create_session("again") as session:
        upload = session.load_table(customers(1.5), "upload")
        assert upload.source_etag() == ""
        with pytest.raises(scorestream.InvalidArgumentError, match="Give a path"):
            upload.save()
        upload.save(folder / "set")
        for name in ("t.arrow", "t.parquet", "t.csv", "set"):
            table = session.load_table(folder / name, "table", replace=True)
            first = table.source_etag()
            second = table.save()
            assert first != second == table.source_etag()
            words = ("table", "save", session.id, "table", "-o", "json", "--server", two.address)
            told = json.loads(run(*words).stdout)
            assert told == {"table": "table", "rows": ROWS, "etag": table.source_etag()}
            assert told["etag"] != second
            again = session.load_table(folder / name, "again", replace=True)
            assert again.source_etag() == told["etag"]
            assert again.read() == table.read() == customers(1.5)
            (folder / name).rename(folder / "gone")
            with pytest.raises(scorestream.AbortedError, match="it is gone"):
                table.save()
            (folder / "gone").rename(folder / name)
        with pytest.raises(scorestream.AlreadyExistsError):
            upload.save(folder / "t.csv")
        upload.save(folder / "t.csv", replace=True)
        upload.save("home:mine.parquet")
        assert session.load_table("home:mine.parquet", "mine").read() == customers(1.5)
        assert [file.path for file in session.files.list()] == ["mine.parquet"]
    assert sorted(path.name for path in folder.iterdir()) == ["set", "t.arrow", "t.csv", "t.parquet"]


def test_d7_of_many_saves_at_once_one_wins_and_the_others_are_told(two: People, folder: Path) -> None:
    """Over a file of which all of them saw the etag; to a path that is new, they come one after the other or lose."""
    path = write_arrow(folder / "t.arrow", customers(0.0))
    with two.alice.create_session("many") as session:
        table = session.load_table(path, "table")
        uploads = [session.load_table(customers(float(one)), f"upload_{one}") for one in range(1, 5)]
        won, lost = at_once([partial(one.save, path, etag=table.source_etag()) for one in uploads])
        assert len(won) == 1
        assert session.load_table(path, "now").source_etag() == won[0]
        assert table.read() == customers(0.0)
        new = folder / "new.arrow"
        won, more = at_once([partial(one.save, new, replace=True) for one in uploads])
        assert won
        assert session.load_table(new, "now", replace=True).source_etag() in won
        for target in (path, new):
            assert len(set(read_arrow(target)["balance"].to_pylist())) == 1
        assert {error.reason for error in lost + more} == {"SOURCE_CHANGED_SINCE_LOAD"}
    assert sorted(one.name for one in folder.iterdir()) == ["new.arrow", "t.arrow"]


def at_once(saves: Sequence[Callable[[], str]]) -> tuple[list[str], list[scorestream.ScorestreamError]]:
    """Do saves at the same time; return the etags of those that won, and the errors of the others."""
    with ThreadPoolExecutor(len(saves)) as threads:
        futures = [threads.submit(save) for save in saves]
        errors = [future.exception() for future in futures]
    assert all(error is None or isinstance(error, scorestream.AbortedError) for error in errors)
    won = [future.result() for future, error in zip(futures, errors, strict=True) if error is None]
    return won, [error for error in errors if isinstance(error, scorestream.AbortedError)]


def test_d7_an_output_that_replaces_a_source_leaves_its_readers_what_they_opened(
    two: People, folder: Path
) -> None:
    """A job's own output, too: here over the very file that it reads."""
    path = write_arrow(folder / "t.arrow", customers(1.0))
    with two.alice.create_session("outputs") as session:
        table = session.load_table(path, "table")
        two.admin.register_model("five", source="balance * 5 AS balance")
        session.score("five", table, keep=["id", "name"], out_path=path, replace=True).wait(60)
        assert set(read_arrow(path)["balance"].to_pylist()) == {5.0}
        assert table.read() == customers(1.0)
        job = session.score("five", table, keep=["id"])
        assert set(pa.Table.from_batches(job.wait(60).results())["balance"].to_pylist()) == {5.0}


def test_d2_what_is_read_in_place_is_what_it_was_or_nothing(two: People, folder: Path) -> None:
    """Arrow and Parquet are read in place, CSV from the cache, so that a change matters to the former alone."""
    write_arrow(folder / "t.arrow", customers(1.0))
    pq.write_table(customers(1.0), folder / "t.parquet")
    pacsv.write_csv(customers(1.0), folder / "t.csv")
    two.admin.register_model("once", source="balance * 1 AS score")
    with two.alice.create_session("in_place") as session:
        tables = [session.load_table(folder / f"t.{form}", form) for form in ("arrow", "parquet", "csv")]
        assert [table.info.backing_store for table in tables] == ["IN_PLACE", "IN_PLACE", "DISK_CACHE"]
        for form, table in zip(("arrow", "parquet", "csv"), tables, strict=True):
            times = (folder / f"t.{form}").stat()
            with (folder / f"t.{form}").open("r+b") as file:  # in place, of the same size, with the same time
                file.seek(times.st_size // 2)
                file.write(b"7")
            os.utime(folder / f"t.{form}", ns=(times.st_atime_ns, times.st_mtime_ns))
            job = session.score("once", table)
            if form == "csv":
                assert set(pa.Table.from_batches(job.wait(60).results())["score"].to_pylist()) == {1.0}
                continue
            with pytest.raises(scorestream.JobFailedError, match="given its old time") as caught:
                job.wait(60)
            assert caught.value.reason == "SOURCE_CHANGED"
            assert f"t.{form}" in str(caught.value)
            with pytest.raises(scorestream.FailedPreconditionError, match="Load the table again"):
                table.head()


def test_d4_many_tables_over_one_file_share_one_map(two: People, folder: Path) -> None:
    """200 tables of ten sessions: each worker maps the file once, and its pages are the file's own."""
    path = write_arrow(folder / "t.arrow", customers(1.0))
    sessions = [two.alice.create_session(f"shares {one}") for one in range(10)]
    for session in sessions:
        tables = [session.load_table(path, f"table_{one}") for one in range(20)]
        assert tables[-1].head(1)["balance"].to_pylist() == [1.0]
    two.admin.register_model("shared", source="balance * 1 AS score")
    jobs = [session.score("shared", f"table_{one}") for session in sessions for one in range(2)]
    assert all(job.wait(60).rows_scored == ROWS for job in jobs)
    maps = [found for worker in _workers() if (found := _maps(worker, path))]
    assert maps
    for found in maps:
        # In parts, because what says where values are has pages of its own; but no part of the file twice.
        places = [line.split()[2] for line in found]
        assert len(places) == len(set(places))
    for session in sessions:
        session.terminate()


def _workers() -> list[int]:
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "scorestream_server.workers.process" in child.cmdline()]


def _maps(pid: int, path: Path) -> list[str]:
    return [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if line.endswith(str(path))]
