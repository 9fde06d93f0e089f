"""One test for each row of the list of features about sessions and asynchronous actions, A1 to A9.

Each drives the public client and, where a person would, the command line, against the same server.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream
from nightly import SEGMENTS, expected_scores
from scorestream import SessionState, State

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def night(
    local: scorestream.Client, prefix: str, model: scorestream.Model, customers_file: Path
) -> Iterator[list[scorestream.Job]]:
    """Three sessions with an asynchronous job in each, as the nightly script starts them."""
    sessions = [local.create_session(f"{prefix}Seg{segment}") for segment in SEGMENTS]
    yield [
        session.score(
            model,
            session.load_table(customers_file, name="customer_segments"),
            where=f"segment_id = {segment}",
            keep=["customer_id"],
            out=f"scored_seg{segment}",
            replace=True,
            name=f"job_seg{segment}",
        )
        for segment, session in zip(SEGMENTS, sessions, strict=True)
    ]
    for session in sessions:
        session.terminate(cancel=True)


def test_a1_sessions_are_named_and_listed(
    local: scorestream.Client, ask: Ask, prefix: str, night: list[scorestream.Job]
) -> None:
    """Name, id, state, owner, times and running jobs of the sessions that a prefix matches, and of no others."""
    local.wait_all(night)
    found = local.sessions(prefix=prefix)
    assert [session.name for session in found] == [f"{prefix}Seg{segment}" for segment in SEGMENTS]
    assert [session.id for session in found] == [job.session_id for job in night]
    for session in found:
        assert session.state is SessionState.ACTIVE
        assert session.owner
        assert session.running_jobs == 0
        assert session.info.created <= session.info.last_active
        assert local.get_session(session.name).id == local.get_session(session.id).id == session.id
    listed = ask("session", "list", "--prefix", prefix)
    assert [(row["id"], row["name"], row["owner"]) for row in listed] == [
        (session.id, session.name, session.owner) for session in found
    ]
    assert not local.sessions(prefix=prefix + "Seg4")
    assert ask("session", "list", "--prefix", prefix + "Seg4") == []


def test_a2_status_of_all_from_another_session(
    local: scorestream.Client, ask: Ask, prefix: str, night: list[scorestream.Job]
) -> None:
    """One call from a fourth session gives a row for each job, while they run and after; each session its own."""
    with scorestream.connect(local.address) as master, master.create_session("Master") as main:
        early = master.status(prefix=prefix)
        local.wait_all(night)
        rows = master.status(prefix=prefix)
        own = [master.get_session(job.session_id).action_status() for job in night]
        assert [row.job for row in main.action_status()] == [""]
    names = [
        (f"{prefix}Seg{segment}", job.session_id, f"job_seg{segment}", job.id)
        for segment, job in zip(SEGMENTS, night, strict=True)
    ]
    for found in (early, rows):
        assert [(row.session, row.session_id, row.job, row.job_id) for row in found] == names
    assert all(0 <= row.rows_done <= row.rows_total == 60_000 for row in early)
    assert [[row.job_id for row in found] for found in own] == [[job.id] for job in night]
    for row in rows:
        assert row.action == "score"
        assert row.state is State.SUCCEEDED
        assert (row.rows_done, row.rows_total, row.rows_scored) == (60_000, 60_000, 20_000)
        assert row.percent == 100
        assert row.rows_per_second > 0
        assert row.elapsed > 0
        assert row.remaining == 0
        assert row.device
    told = ask("session", "status", "--prefix", prefix)
    assert [(row["job_id"], row["state"], row["percent"]) for row in told] == [
        (job.id, "SUCCEEDED", 100.0) for job in night
    ]
    assert ask("session", "status", f"{prefix}Seg2") == told[1:2]


def test_a3_one_subscription_for_all(
    local: scorestream.Client, run: Run, prefix: str, night: list[scorestream.Job]
) -> None:
    """Numbered events of all sessions in order; the stream ends by itself, and resumes from any number."""
    events = list(local.watch(prefix=prefix, until_final=True))
    numbers = [event.number for event in events]
    assert numbers == sorted(set(numbers))
    assert {event.session for event in events} == {f"{prefix}Seg{segment}" for segment in SEGMENTS}
    for job in night:
        mine = [event for event in events if event.job_id == job.id]
        done = [event.rows_done for event in mine]
        assert done == sorted(done)
        assert mine[-1].state is State.SUCCEEDED
        assert mine[-1].rows_done == mine[-1].rows_total == 60_000
        assert list(job.watch()) == mine
        assert list(job.watch(after=mine[2].number)) == mine[3:]
    middle = len(events) // 2
    assert list(local.watch(prefix=prefix, after=numbers[middle], until_final=True)) == events[middle + 1 :]
    watch = ("session", "status", "--prefix", prefix, "--watch", "-o", "json", "--server", local.address)
    lines = [json.loads(line) for line in run(*watch).stdout.splitlines()]
    assert [line["number"] for line in lines] == numbers


def test_a4_jobs_are_collected_later(
    local: scorestream.Client,
    session: scorestream.Session,
    night: list[scorestream.Job],
    customers: pa.Table,
    tmp_path: Path,
) -> None:
    """Any, all, or one after the other as they end; a job that failed is named when all have ended."""
    assert local.wait_any(night, timeout=60).state.final
    assert {job.id for job in local.as_completed(night, timeout=60)} == {job.id for job in night}
    assert [job.name for job in local.wait_all(night, timeout=60)] == ["job_seg1", "job_seg2", "job_seg3"]
    pq.write_table(customers, tmp_path / "changing.parquet")
    table = session.load_table(tmp_path / "changing.parquet")
    pq.write_table(customers.slice(1), tmp_path / "changing.parquet")
    bad = session.score("dummy_scorer", table, name="reads a changed file")
    with pytest.raises(
        scorestream.JobFailedError, match=r"reads a changed file.*changing\.parquet"
    ) as caught:
        local.wait_all([*night, bad], timeout=60)
    assert caught.value.job_id == bad.id
    assert caught.value.reason == "SOURCE_CHANGED"


def test_a5_each_job_scores_its_segment(
    local: scorestream.Client, ask: Ask, night: list[scorestream.Job], customers: pa.Table
) -> None:
    """`where`, `keep`, `out` and `replace` do what they say, and the scores are NumPy's."""
    for segment, job in zip(SEGMENTS, local.wait_all(night), strict=True):
        result = job.to_table()
        assert result.column_names == ["customer_id", "p_var1"]
        np.testing.assert_allclose(result["p_var1"], expected_scores(customers, segment), rtol=1e-12)
        assert result["customer_id"].to_pylist() == list(range((segment - 1) * 20_000, segment * 20_000))
        assert list(job.to_pandas().columns) == ["customer_id", "p_var1"]
        session = local.get_session(job.session_id)
        out = session.table(f"scored_seg{segment}")
        assert out.rows == 20_000
        assert out.head(3).equals(result.slice(0, 3))
        assert ask("table", "head", session.id, out.name, "--rows", 3) == result.slice(0, 3).to_pylist()
        assert {table.name for table in session.tables()} == {"customer_segments", out.name}
        with pytest.raises(scorestream.AlreadyExistsError):
            session.score("dummy_scorer", "customer_segments", out=out.name)
        again = session.score("dummy_scorer", "customer_segments", where="FALSE", out=out.name, replace=True)
        again.wait()
        assert session.table(out.name).rows == 0


@pytest.mark.parametrize(
    ("flags", "ends"),
    [
        ([], {State.SUCCEEDED}),
        (["--cancel"], {State.CANCELLED, State.SUCCEEDED}),
        (["--force"], {State.CANCELLED, State.SUCCEEDED}),
    ],
)
@pytest.mark.parametrize("way", ["client", "command line"])
def test_a7_terminating_waits_or_cancels(
    local: scorestream.Client,
    ask: Ask,
    prefix: str,
    model: scorestream.Model,
    customers_file: Path,
    flags: list[str],
    ends: set[State],
    way: str,
) -> None:
    """Unasked, the jobs end well first; with `cancel` or `force` they are stopped; the tables go either way."""
    session = local.create_session(f"{prefix}end")
    job = session.score(model, session.load_table(customers_file))
    if way == "client":
        session.terminate(**{flag.removeprefix("--"): True for flag in flags})
        assert session.state is SessionState.ENDED
    else:
        assert ask("session", "terminate", session.id, *flags)["state"] == "ENDED"
    assert job.refresh().state in ends
    assert session.terminate().state is SessionState.ENDED
    with pytest.raises(scorestream.ScorestreamError):
        session.load_table(customers_file)
    assert not local.sessions(prefix=prefix)
    assert [ended.id for ended in local.sessions(prefix, include_ended=True)] == [session.id]


def test_a9_a_job_outlives_its_client(
    local: scorestream.Client,
    ask: Ask,
    session: scorestream.Session,
    model: scorestream.Model,
    customers: pa.Table,
    tmp_path: Path,
) -> None:
    """A client that leaves finds its job, and all of its result, by the id; so does any other of its owner."""
    with scorestream.connect(local.address) as gone:
        left = [gone.get_session(session.id).score(model.id, customers, name="left behind").id]
    left.append(ask("job", "submit", session.id, model.id, session.tables()[0].name)["id"])
    for job_id in left:
        found = local.get_job(job_id)
        np.testing.assert_allclose(found.to_table()["p_var1"], expected_scores(customers), rtol=1e-12)
    assert local.get_job(left[0]).name == "left behind"
    assert set(left) <= {job.id for job in local.jobs(limit=100)}
    assert [job.id for job in session.jobs()] == left[::-1]
    assert ask("job", "results", left[0], "--to", "scores.parquet")["rows"] == 60_000
    np.testing.assert_allclose(
        pq.read_table(tmp_path / "scores.parquet")["p_var1"], expected_scores(customers), rtol=1e-12
    )
