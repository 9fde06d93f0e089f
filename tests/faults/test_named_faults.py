"""A disk that is full, slow, or refuses: errors say so, nothing is half done, and work goes on when it is well again."""

import errno
import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream
from faults.bad_disk import MAKE, NAME, SYNC, WRITE, BadDisk
from faults.bad_place import ROWS, Place, check_failed, check_resumed, check_whole
from scorestream import EventType
from scorestream.v1 import job_pb2, job_service_pb2, table_service_pb2
from served import served, workers_of


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
