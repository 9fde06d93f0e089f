"""A disk that is full, slow, or refuses: errors say so, nothing is half done, and work goes on when it is well again."""

import contextlib
import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import psutil
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import scorestream
from faults.bad_disk import MAKE, NAME, SYNC, WRITE, BadDisk, build
from faults.left_behind import unknown_files
from scorestream import EventType, State
from scorestream.v1 import job_pb2, job_service_pb2, table_service_pb2
from served import served, workers_of

ROWS = 20_000
ROWS_AT_ONCE = 500
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """A server on a disk that can be made bad, and a session with a table of one's own.

    Attributes:
        csv: a file with the table's rows.
        number: of this place, for names and contents that were never there before.
        out: a folder for outputs.
    """

    client: scorestream.Client
    server: psutil.Process
    disk: BadDisk
    data: Path
    csv: Path
    number: int
    out: Path
    session: scorestream.Session

    @property
    def calls(self) -> dict[str, Callable[[], object]]:
        """Calls that write, by name."""
        name = f"new_{self.number}"
        return {
            "upload": lambda: self.session.load_table(rows(), name),
            "load": lambda: self.session.load_table(self.csv, f"{name}_csv"),
            "register": lambda: self.client.register_model(name, source=f"x + {self.number} AS y"),
            "submit": self.submit,
            "session": lambda: self.client.create_session(name),
            "put": lambda: self.session.files.upload(b"x" * 100_000, f"{name}.bin"),
        }

    def there(self) -> list[set[str]]:
        """Return what there is of that which the calls make."""
        return [
            {session.id for session in self.client.sessions()},
            {model.id for model in self.client.models()},
            {table.name for table in self.session.tables()},
            {job.id for job in self.session.jobs()},
            {file.path for file in self.session.files.list()},
        ]

    def submit(self, **options: object) -> scorestream.Job:
        """Start a job of many partitions."""
        wanted = {"keep": ["id"], "partition_rows": ROWS_AT_ONCE, **options}
        return self.session.score("double", "rows", **wanted)  # type: ignore[arg-type]

    def left(self) -> set[str]:
        """Return what lies in the data directory and beside outputs that nobody knows."""
        return unknown_files(self.data) | {path.name for path in self.out.iterdir() if path.name[0] == "."}

    def goes_on(self) -> None:
        """Everything works, the server is the one that it was, and nothing is left of what failed."""
        self.disk.heal()
        for call in self.calls.values():
            with contextlib.suppress(scorestream.AlreadyExistsError):  # made before
                call()
        job = self.submit(out_path=self.out / "afterwards.parquet").wait(60)
        assert job.rows_scored == ROWS
        assert self.server.is_running()
        self.session.terminate()
        assert self.left() == set()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="module")
def ground(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("ground")
    pacsv.write_csv(rows(), folder / "rows.csv")
    disk, data = BadDisk(library, folder / "rules"), folder / "data"
    flags = ("--device", "cpu", "--data-root", str(folder))
    with served(data, *flags, environment=disk.environment) as (client, server):
        client.register_model("double", source="x * 2 AS score")
        client.register_model("old", source="x * 0 AS score")
        session = client.create_session("ground")
        yield Place(client, server, disk, data, folder / "rows.csv", 0, folder, session)


@pytest.fixture
def place(ground: Place) -> Iterator[Place]:
    number = next(_NUMBERS)
    session = ground.client.create_session(f"place {number}")
    session.load_table(rows(), "rows")
    out = ground.out / f"out {number}"
    out.mkdir()
    yield replace(ground, number=number, out=out, session=session)
    ground.disk.heal()


def rows() -> pa.Table:
    return pa.table({"id": pa.array(range(ROWS), pa.int64()), "x": [number / 4 for number in range(ROWS)]})


def check_whole(found: pa.Table) -> None:
    assert found["id"].to_pylist() == list(range(ROWS))
    assert found["score"].to_pylist() == [number / 2 for number in range(ROWS)]


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


@pytest.mark.parametrize(
    ("calls", "passing"), [(WRITE, 60), (MAKE, 15)], ids=["in the middle of a file", "at its beginning"]
)
def test_a_disk_that_is_full_fails_a_job_which_can_be_resumed(place: Place, calls: int, passing: int) -> None:
    """RESOURCE_EXHAUSTED, with what was committed kept; the rest is done when there is room."""
    place.disk.fail(calls, place.data / "sessions", errno.ENOSPC, passing=passing)
    job = place.submit()
    check_failed(job, "DISK_FULL")
    assert 0 < job.info.partitions_done < job.info.partitions_total
    assert place.left() == set()
    check_resumed(place, job)
    place.goes_on()


def test_a_store_without_room_answers_and_goes_on_when_there_is_some(place: Place) -> None:
    """Reads are answered, writes refused; a job that ran is told of as failed as soon as that can be written."""
    job = place.submit(partition_rows=20)  # so many that it is not done before
    committed = (event for event in job.watch() if event.type is EventType.PARTITION_COMMITTED)
    for _ in range(3):
        next(committed)
    place.disk.fill(place.data)
    before = place.there()
    for call in place.calls.values():
        with pytest.raises(scorestream.ResourceExhaustedError, match="full") as caught:
            call()
        assert caught.value.reason == "DISK_FULL"
    assert place.there() == before
    assert len(place.client.status(place.session.name)) == 1
    assert job.refresh().rows_done < ROWS
    place.disk.heal()
    check_failed(job, "DISK_FULL")
    assert job.rows_scored > 0
    check_resumed(place, job)
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


@pytest.mark.parametrize(
    ("what", "calls"),
    [
        *itertools.product(("upload", "load", "register", "submit", "put"), (WRITE, MAKE)),
        ("session", WRITE),  # it makes no file
    ],
)
def test_a_call_that_finds_no_room_says_so_and_leaves_nothing(place: Place, what: str, calls: int) -> None:
    """It can be made again as soon as there is some."""
    before = place.there()
    place.disk.fail(calls, place.data, errno.ENOSPC)
    with pytest.raises(scorestream.ResourceExhaustedError) as caught:
        place.calls[what]()
    assert caught.value.reason == "DISK_FULL"
    assert place.there() == before
    place.disk.heal()
    assert place.left() == set()
    place.calls[what]()
    place.goes_on()


@pytest.mark.parametrize("again", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("output", ["scores.parquet", "scores"])
@pytest.mark.parametrize("calls", [NAME, SYNC], ids=["rename", "fsync"])
def test_an_output_that_cannot_get_its_name_is_not_there(
    place: Place, output: str, calls: int, again: bool
) -> None:
    """The job fails and says why, what stood there before stands there still, and a resumed job puts it there."""
    path = place.out / output
    if again:
        place.session.score("old", "rows", out_path=path).wait(60)
    before = set(place.out.rglob("*"))
    if calls == NAME:
        place.disk.fail(NAME, str(path), times=1)
    else:
        place.disk.fail(SYNC, place.out)
    job = place.submit(out_path=path, replace=again)
    check_failed(job, "DISK_FAILED", "INTERNAL")
    assert calls == NAME or place.disk.hits() == 1, "a sync that failed is not tried again"
    assert place.left() == set()
    assert set(place.out.rglob("*")) == before
    if again:
        assert set(pq.read_table(path)["score"].to_pylist()) == {0.0}
    check_resumed(place, job)
    check_whole(pq.read_table(path))
    place.goes_on()


@pytest.mark.parametrize("output", ["scores.parquet", "scores"])
@pytest.mark.parametrize("again", [False, True], ids=["new", "replaced"])
def test_an_output_whose_name_may_not_last_is_not_called_published(
    place: Place, output: str, again: bool
) -> None:
    """Its folder cannot be synced: the job fails, and what stood there before does; but for a file, which is gone."""
    path = place.out / output
    if again:
        place.session.score("old", "rows", out_path=path).wait(60)
    place.disk.fail(SYNC, str(place.out))
    job = place.submit(out_path=path, replace=again)
    check_failed(job, "DISK_FAILED", "INTERNAL")
    assert place.disk.hits() == 1
    assert place.left() == set()
    assert path.exists() == again
    stays = path.is_file()
    assert ("a power cut may undo that" in str(job.failure)) == stays
    if stays:
        check_whole(pq.read_table(path))
    elif again:
        assert set(pq.read_table(path)["score"].to_pylist()) == {0.0}
    check_resumed(place, job)
    check_whole(pq.read_table(path))
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
        ("upload", "cache/*"),
        ("register", "models/*"),
        ("register", "models"),
        *((what, "scorestream.db*") for what in ("upload", "load", "register", "submit", "session")),
    ],
)
def test_what_is_not_on_the_disk_is_not_acknowledged(place: Place, what: str, where: str) -> None:
    """A sync that fails is an error for the caller, who may try again; nothing of the first time is there then."""
    before = place.there()
    place.disk.fail(SYNC, f"{place.data}/{where}")
    with pytest.raises(scorestream.InternalError) as caught:
        place.calls[what]()
    assert caught.value.reason == "DISK_FAILED"
    assert place.disk.hits() >= 1
    assert place.there() == before
    place.disk.heal()
    assert place.left() == set()
    place.calls[what]()
    place.goes_on()


def test_a_slow_disk_costs_time_and_nothing_else(place: Place) -> None:
    """A job gives all its rows where each sync takes 200 ms, and a status of another session waits for no sync at all."""
    place.disk.slow(place.data, 0.2)
    place.disk.slow(place.out, 0.2)
    place.submit(out_path=place.out / "scores.parquet").wait(100)
    place.disk.heal()
    place.disk.slow(place.data, 3.0)
    with ThreadPoolExecutor(1) as threads:
        made = threads.submit(place.client.create_session, f"slow {place.number}")
        for _ in range(5):
            assert place.client.status("ground")[0].session == "ground"
        assert not made.done()
        place.disk.heal()
    check_whole(pq.read_table(place.out / "scores.parquet"))
    place.goes_on()


@pytest.mark.parametrize("dies", [False, True], ids=["which is quicker", "whose worker dies"])
def test_a_job_that_is_cancelled_has_its_output_or_nothing(place: Place, dies: bool) -> None:
    """The cancel comes while an output waits for a slow disk: the job says what came of it, and nothing else is left."""
    place.disk.slow(place.out, 20.0 if dies else 1.0)
    job = place.submit(out_path=place.out / "scores.parquet")
    while not place.disk.hits():
        assert not job.refresh().state.final
    job.cancel()
    if dies:
        for worker in workers_of(place.server):
            worker.kill()
        with pytest.raises(scorestream.JobCancelledError):
            job.wait(60)
        assert list(place.out.iterdir()) == []
    else:
        job.wait(60)
        check_whole(pq.read_table(place.out / "scores.parquet"))
    assert place.left() == set()
    place.goes_on()


def test_who_hangs_up_while_a_slow_disk_writes_may_ask_again(place: Place) -> None:
    """The same request finds the table with its rows and the job at work, though nobody waited for them."""
    session, request_id = f"sessions/{place.session.id}", f"late-{place.number}"
    spec = job_pb2.JobSpec(model="models/double", table="late", keep=["id"])
    connection = place.client._connection
    calls = [
        (
            connection.tables.LoadTable,
            table_service_pb2.LoadTableRequest(
                session=session, table_id="late", paths=[str(place.csv)], request_id=f"{request_id}-table"
            ),
        ),
        (
            connection.jobs.CreateJob,
            job_service_pb2.CreateJobRequest(session=session, spec=spec, request_id=f"{request_id}-job"),
        ),
    ]
    for call, request in calls:
        place.disk.slow(place.data, 1.0)
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=0.5)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        place.disk.heal()
        answer = call(request)
    job = place.client.get_job(answer.name.removeprefix("jobs/")).wait(60)
    check_whole(pa.Table.from_batches(job.results()))
    place.goes_on()


@pytest.mark.parametrize(
    ("calls", "number"),
    [(WRITE, errno.ENOSPC), (MAKE, errno.ENOSPC), (SYNC, errno.EIO), (WRITE, errno.EROFS)],
    ids=["no room for bytes", "no room for files", "fsync", "read only"],
)
def test_a_server_that_cannot_write_its_store_says_so_in_one_line(
    tmp_path: Path, library: Path, calls: int, number: int
) -> None:
    """It does not begin, and names the data directory; when the disk is well it does."""
    disk, data = BadDisk(library, tmp_path / "rules"), tmp_path / "data"
    data.mkdir()
    disk.fail(calls, data, number)
    command = [sys.executable, "-m", "scorestream_server", "--port", "0", "--data-dir", str(data)]
    done = subprocess.run(
        [*command, "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **disk.environment},
    )
    assert done.returncode != 0
    # A worker that has not come up when its server goes says so, too.
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("worker ")]
    assert line.startswith("scorestream serve: ")
    assert str(data) in line
    disk.heal()
    with served(data, "--device", "cpu", environment=disk.environment) as (client, server):
        client.create_session("there")
        assert workers_of(server)
