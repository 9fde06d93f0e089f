"""Outputs on a disk that is full, slow, or refuses: they are there whole and called so, or not there."""

import pyarrow.parquet as pq
import pytest

import scorestream
from faults.bad_disk import NAME, SYNC
from faults.bad_place import ROWS, Place, check_failed, check_resumed, check_whole
from scorestream import EventType
from served import workers_of


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


@pytest.mark.parametrize("passing", [0, 1], ids=["before they are listed", "behind that"])
def test_d8_rows_whose_batch_may_not_last_are_not_called_appended(place: Place, passing: int) -> None:
    """The data set cannot be synced: the job fails, and who resumes it ends with each row once, whatever had come."""
    path = place.out / "scores"
    place.session.score("old", "rows", out_path=path, append=True).wait(60)
    place.disk.fail(SYNC, str(path), passing=passing)
    job = place.submit(out_path=path, append=True, keep=[])
    check_failed(job, "DISK_FAILED", "INTERNAL")
    assert place.left() == set()
    assert ("a power cut may undo that" in str(job.failure)) == bool(passing)
    assert pq.read_table(path).num_rows == (2 * ROWS if passing else ROWS)
    place.disk.heal()
    job.resume().wait(60)
    scores = pq.read_table(path)["score"].to_pylist()
    assert sorted(scores) == sorted([0.0] * ROWS + [number / 2 for number in range(ROWS)])
    place.goes_on()
