"""A disk that is full, slow, or refuses: errors say so, nothing is half done, and work goes on when it is well again."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import scorestream
from faults.bad_disk import MAKE, NAME, SYNC, WRITE, BadDisk, build
from faults.random_kills import unknown_files
from scorestream import EventType, State
from served import served, workers_of

ROWS = 20_000
ROWS_AT_ONCE = 500
SOURCE = "x * 2 AS score"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("disk"))


@pytest.fixture
def disk(library: Path, tmp_path: Path) -> BadDisk:
    return BadDisk(library, tmp_path / "rules")


@dataclass(frozen=True, slots=True)
class Place:
    """A server on a disk that can be made bad, with a session, a model and a table in it."""

    client: scorestream.Client
    server: psutil.Process
    disk: BadDisk
    data: Path
    out: Path
    csv: Path
    session: scorestream.Session

    def submit(self, **options: object) -> scorestream.Job:
        """Start a job of many partitions."""
        return self.session.score("double", "rows", keep=["id"], partition_rows=ROWS_AT_ONCE, **options)  # type: ignore[arg-type]

    def left(self) -> set[str]:
        """Return what lies in the data directory and beside outputs that nobody knows."""
        return unknown_files(self.data) | {path.name for path in self.out.iterdir() if path.name[0] == "."}

    def goes_on(self) -> None:
        """Everything works, the server is the one that it was, and nothing is left of what failed."""
        self.disk.heal()
        session = self.client.create_session("afterwards")
        session.load_table(rows(), "rows")
        session.load_table(self.csv, "csv")
        self.client.register_model("another", source="x + 1 AS y")
        job = session.score("double", "rows", out_path=self.out / "afterwards.parquet").wait(60)
        assert job.rows_scored == ROWS
        assert self.server.is_running()
        assert self.left() == set()


@pytest.fixture
def place(tmp_path: Path, disk: BadDisk) -> Iterator[Place]:
    data, out, csv = tmp_path / "data", tmp_path / "out", tmp_path / "rows.csv"
    out.mkdir()
    pacsv.write_csv(rows(), csv)
    flags = ("--device", "cpu", "--data-root", str(tmp_path))
    with served(data, *flags, environment=disk.environment) as (client, server):
        session = client.create_session("faults")
        session.load_table(rows(), "rows")
        client.register_model("double", source=SOURCE)
        yield Place(client, server, disk, data, out, csv, session)
        disk.heal()


def rows() -> pa.Table:
    return pa.table({"id": pa.array(range(ROWS), pa.int64()), "x": [number / 4 for number in range(ROWS)]})


def check_whole(found: pa.Table) -> None:
    assert found["id"].to_pylist() == list(range(ROWS))
    assert found["score"].to_pylist() == [number / 2 for number in range(ROWS)]


def committed(job: scorestream.Job, partitions: int) -> None:
    """Return when so many partitions are committed."""
    seen = 0
    for event in job.watch():
        seen += event.type is EventType.PARTITION_COMMITTED
        if seen == partitions:
            return
    pytest.fail("the job ended before")


def check_failed(job: scorestream.Job, reason: str, code: str = "RESOURCE_EXHAUSTED") -> None:
    """A job ends with this reason, and what it has committed is readable."""
    with pytest.raises(scorestream.JobFailedError) as caught:
        job.wait(60)
    assert (caught.value.reason, caught.value.code) == (reason, code), caught.value
    assert "Errno" not in str(caught.value)
    assert job.state is State.FAILED
    assert pa.Table.from_batches(job.results(), job.schema).num_rows == job.rows_scored


def check_resumed(place: Place, job: scorestream.Job) -> scorestream.Job:
    """What failed goes on from what it has committed, and gives everything."""
    place.disk.heal()
    resumed = job.resume()
    assert resumed.info.partitions_done == job.info.partitions_done
    resumed.wait(60)
    check_whole(pa.Table.from_batches(resumed.results()))
    return resumed


@pytest.mark.parametrize("calls", [WRITE, MAKE], ids=["in the middle of a file", "at its beginning"])
def test_a_disk_that_is_full_fails_a_job_which_can_be_resumed(place: Place, calls: int) -> None:
    """RESOURCE_EXHAUSTED, with what was committed kept; the rest is done when there is room."""
    place.disk.fail(calls, place.data / "sessions", errno.ENOSPC, passing=60)
    job = place.submit()
    check_failed(job, "DISK_FULL")
    assert 0 < job.info.partitions_done < job.info.partitions_total
    assert place.left() == set()
    check_resumed(place, job)
    place.goes_on()


def test_a_store_without_room_answers_and_goes_on_when_there_is_some(place: Place, tmp_path: Path) -> None:
    """Nothing can be written at all: reads are answered, writes refused; the job says so as soon as it can be written."""
    job = place.submit()
    committed(job, 3)
    place.disk.fill(place.data)
    for write in (
        lambda: place.client.create_session("more"),
        lambda: place.client.register_model("more", source="x AS y"),
        lambda: place.session.load_table(rows(), "more"),
        lambda: place.session.load_table(place.csv, "more"),
        place.submit,
    ):
        with pytest.raises(scorestream.ResourceExhaustedError, match="full") as caught:
            write()
        assert caught.value.reason == "DISK_FULL"
    assert [found.name for found in place.client.sessions()] == ["faults"]
    assert len(place.client.status()) == 1
    assert job.refresh().rows_done < ROWS
    place.disk.heal()
    check_failed(job, "DISK_FULL")
    check_resumed(place, job)
    assert {table.name for table in place.session.tables()} == {"rows"}
    assert [model.name for model in place.client.models()] == ["double"]
    place.goes_on()


@pytest.mark.parametrize("output", ["scores.parquet", "scores.arrow", "scores.csv", "scores"])
def test_a_full_disk_leaves_nothing_of_an_output(place: Place, output: str) -> None:
    """The job fails; when there is room, one that resumes it only writes the output."""
    place.disk.fill(place.out, passing=2)
    job = place.submit(out_path=place.out / output)
    check_failed(job, "DISK_FULL")
    assert place.disk.hits()
    assert list(place.out.iterdir()) == []
    assert place.left() == set()
    resumed = check_resumed(place, job)
    assert not any(event.type is EventType.PARTITION_COMMITTED for event in resumed.watch())
    assert (place.out / output).exists()
    place.goes_on()


@pytest.mark.parametrize("calls", [WRITE, MAKE], ids=["bytes", "names"])
@pytest.mark.parametrize("what", ["upload", "load", "register", "submit", "session"])
def test_a_call_that_finds_no_room_says_so_and_leaves_nothing(place: Place, what: str, calls: int) -> None:
    """It can be made again as soon as there is some."""
    makes: dict[str, Callable[[], object]] = {
        "upload": lambda: place.session.load_table(rows(), "more"),
        "load": lambda: place.session.load_table(place.csv, "more"),
        "register": lambda: place.client.register_model("more", source="x AS y"),
        "submit": lambda: place.submit(out="scored").wait(60),
        "session": lambda: place.client.create_session("more"),
    }
    place.disk.fail(calls, place.data, errno.ENOSPC)
    if (what, calls) == ("session", MAKE):
        makes[what]()  # a row in the store
        return
    with pytest.raises(scorestream.ResourceExhaustedError) as caught:
        makes[what]()
    assert caught.value.reason == "DISK_FULL"
    place.disk.heal()
    assert place.left() == set()
    makes[what]()
    place.goes_on()


@pytest.mark.parametrize("replace", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("output", ["scores.parquet", "scores"])
@pytest.mark.parametrize("calls", [NAME, SYNC], ids=["rename", "fsync"])
def test_an_output_that_cannot_get_its_name_is_not_there(
    place: Place, output: str, calls: int, replace: bool
) -> None:
    """The job fails and says why, what stood there before stands there still, and a resumed job puts it there."""
    path = place.out / output
    if replace:
        place.client.register_model("old", source="x * 0 AS score")
        place.session.score("old", "rows", out_path=path).wait(60)
    before = set(path.rglob("*")) | {path} if replace else set()
    place.disk.fail(calls, f"{place.out}/{output}" if calls == NAME else place.out, times=int(calls == NAME))
    job = place.submit(out_path=path, replace=replace)
    check_failed(job, "DISK_FAILED", "INTERNAL")
    if calls == SYNC:
        assert place.disk.hits() == 1, "a sync that failed is not tried again"
    assert place.left() == set()
    assert set(place.out.rglob("*")) == before
    if replace:
        assert set(pq.read_table(path)["score"].to_pylist()) == {0.0}
    check_resumed(place, job)
    assert pq.read_table(path)["score"].to_pylist() == [number / 2 for number in range(ROWS)]
    place.goes_on()


@pytest.mark.parametrize("output", ["scores.parquet", "scores"])
@pytest.mark.parametrize("replace", [False, True], ids=["new", "replaced"])
def test_an_output_whose_name_may_not_last_is_not_called_published(
    place: Place, output: str, replace: bool
) -> None:
    """The folder cannot be synced: the job fails. Nothing new stands there, but where a file was replaced the new one."""
    path = place.out / output
    if replace:
        place.client.register_model("old", source="x * 0 AS score")
        place.session.score("old", "rows", out_path=path).wait(60)
    place.disk.fail(SYNC, str(place.out))
    job = place.submit(out_path=path, replace=replace)
    check_failed(job, "DISK_FAILED", "INTERNAL")
    assert place.disk.hits() == 1
    assert place.left() == set()
    assert path.exists() == replace
    if replace:
        kept = path.is_file()  # what it replaced is gone
        assert (pq.read_table(path)["score"].to_pylist()[4] == 2.0) == kept
        assert ("a power cut may undo that" in str(job.failure)) == kept
    check_resumed(place, job)
    assert pq.read_table(path)["score"].to_pylist() == [number / 2 for number in range(ROWS)]
    place.goes_on()


def test_a_result_that_cannot_get_its_name_fails_the_job(place: Place) -> None:
    """The partition is not committed, and the resumed job scores it."""
    place.disk.fail(NAME, place.data / "sessions", passing=5)
    job = place.submit()
    check_failed(job, "DISK_FAILED", "INTERNAL")
    assert 0 < job.info.partitions_done < job.info.partitions_total
    assert place.left() == set()
    check_resumed(place, job)
    place.goes_on()


@pytest.mark.parametrize(
    ("what", "where"),
    [
        ("upload", "sessions"),
        ("register", "models"),
        ("upload", "scorestream.db*"),
        ("register", "scorestream.db*"),
        ("session", "scorestream.db*"),
        ("load", "scorestream.db*"),
        ("submit", "scorestream.db*"),
    ],
)
def test_what_is_not_on_the_disk_is_not_acknowledged(place: Place, what: str, where: str) -> None:
    """A sync that fails is an error for the caller, who may try again; nothing of the first time is there then."""
    makes: dict[str, Callable[[], object]] = {
        "upload": lambda: place.session.load_table(rows(), "more"),
        "load": lambda: place.session.load_table(place.csv, "more"),
        "register": lambda: place.client.register_model("more", source="x AS y"),
        "submit": lambda: place.submit(out="scored"),
        "session": lambda: place.client.create_session("more"),
    }
    place.disk.fail(
        SYNC, f"{place.data}/{where}" + ("*" if where == "models" else "/*" if where == "sessions" else "")
    )
    with pytest.raises(scorestream.InternalError) as caught:
        makes[what]()
    assert caught.value.reason == "DISK_FAILED"
    assert place.disk.hits() >= 1
    assert [found.name for found in place.client.sessions()] == ["faults"]
    assert [table.name for table in place.session.tables()] == ["rows"]
    assert [model.name for model in place.client.models()] == ["double"]
    assert place.session.jobs() == []
    place.disk.heal()
    assert place.left() == set()
    made = makes[what]()
    if isinstance(made, scorestream.Job):
        made.wait(60)
    place.goes_on()


def test_a_slow_disk_costs_time_and_nothing_else(place: Place) -> None:
    """Syncs of 200 ms: a job gives all its rows, and who asks for the status of another session has it at once."""
    place.disk.slow(place.data, 0.2)
    place.disk.slow(place.out, 0.2)
    other = place.client.create_session("other")
    with ThreadPoolExecutor(1) as threads:
        job = place.submit(out_path=place.out / "scores.parquet")
        # Each write takes at least two syncs' time when another is before it; a status takes none.
        made = threads.submit(place.client.create_session, "slow")
        asked = 0
        while not made.done():
            assert place.client.status("other")[0].job == ""
            asked += 1
        made.result()
    assert asked > 3
    assert other.refresh().state is scorestream.SessionState.ACTIVE
    job.wait(100)
    check_whole(pq.read_table(place.out / "scores.parquet"))
    place.goes_on()


@pytest.mark.parametrize(
    ("calls", "number"),
    [(WRITE, errno.ENOSPC), (MAKE, errno.ENOSPC), (SYNC, errno.EIO), (WRITE, errno.EROFS)],
)
def test_a_server_that_cannot_write_its_store_says_so_in_one_line(
    tmp_path: Path, disk: BadDisk, calls: int, number: int
) -> None:
    """It does not begin, with the data directory's name and the disk's reason; when there is room it does."""
    data = tmp_path / "data"
    data.mkdir()
    disk.fail(calls, f"{data}/*", number)
    command = [
        sys.executable,
        "-m",
        "scorestream_server",
        "--port",
        "0",
        "--data-dir",
        str(data),
        "--device",
        "cpu",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **disk.environment},
    )
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("worker ")]
    assert line.startswith("scorestream serve: ")
    assert str(data) in line
    disk.heal()
    with served(data, "--device", "cpu", environment=disk.environment) as (client, server):
        client.create_session("there")
        assert workers_of(server)
