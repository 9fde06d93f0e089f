"""The nightly batch, end to end: sessions, asynchronous jobs, one view of all of them, results, clean-up.

Names say which row of the list of features a test drives.
"""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream
import scorestream.aio
from nightly import SCORE_CODE, expected_scores
from scorestream import State

SEGMENTS = (1, 2, 3)


@pytest.fixture
def prefix() -> str:
    """A prefix of session names that no other test has."""
    return f"ScoringJob_{uuid.uuid4().hex[:8]}_"


@pytest.fixture
def session(local: scorestream.Client, prefix: str) -> Iterator[scorestream.Session]:
    with local.create_session(f"{prefix}one") as session:
        yield session


@pytest.fixture
def model(local: scorestream.Client) -> scorestream.Model:
    return local.register_model("dummy_scorer", source=SCORE_CODE)


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
    local: scorestream.Client, prefix: str, night: list[scorestream.Job]
) -> None:
    """Name, id, state, owner and times of the sessions that a prefix matches, and of no others."""
    found = local.sessions(prefix=prefix)
    assert [session.name for session in found] == [f"{prefix}Seg{segment}" for segment in SEGMENTS]
    assert [session.id for session in found] == [job.session_id for job in night]
    for session in found:
        assert session.state is scorestream.SessionState.ACTIVE
        assert session.owner
        assert session.info.created <= session.info.last_active
        assert local.get_session(session.name).id == local.get_session(session.id).id == session.id
    assert not local.sessions(prefix=prefix + "Seg4")


def test_a2_status_of_all_from_another_client(
    local: scorestream.Client, prefix: str, night: list[scorestream.Job]
) -> None:
    """One call from a fourth session gives a row for each job; each session gives its own."""
    local.wait_all(night)
    with scorestream.connect(local.address) as master, master.create_session("Master") as main:
        rows = master.status(prefix=prefix)
        own = [master.get_session(job.session_id).action_status() for job in night]
        assert [row.job for row in main.action_status()] == [""]
    assert [(row.session, row.session_id, row.job, row.job_id) for row in rows] == [
        (f"{prefix}Seg{segment}", job.session_id, f"job_seg{segment}", job.id)
        for segment, job in zip(SEGMENTS, night, strict=True)
    ]
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


def test_a3_one_subscription_for_all(
    local: scorestream.Client, prefix: str, night: list[scorestream.Job]
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


def test_a4_jobs_are_collected_later(local: scorestream.Client, night: list[scorestream.Job]) -> None:
    """Any, all, or one after the other as they end."""
    assert local.wait_any(night, timeout=60).state.final
    assert {job.id for job in local.as_completed(night, timeout=60)} == {job.id for job in night}
    assert [job.name for job in local.wait_all(night, timeout=60)] == ["job_seg1", "job_seg2", "job_seg3"]


def test_a5_each_job_scores_its_segment(
    local: scorestream.Client, night: list[scorestream.Job], customers: pa.Table
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
        assert {table.name for table in session.tables()} == {"customer_segments", out.name}
        with pytest.raises(scorestream.AlreadyExistsError):
            session.score("dummy_scorer", "customer_segments", out=out.name)
        again = session.score("dummy_scorer", "customer_segments", where="FALSE", out=out.name, replace=True)
        again.wait()
        assert session.table(out.name).rows == 0


def test_a7_terminating_waits_or_cancels(
    local: scorestream.Client, prefix: str, model: scorestream.Model, customers_file: Path
) -> None:
    """Without `cancel` the jobs end well first; with it they end cancelled; either way the tables are gone."""
    for cancel, ends in ((False, {State.SUCCEEDED}), (True, {State.CANCELLED, State.SUCCEEDED})):
        session = local.create_session(f"{prefix}end")
        job = session.score(model, session.load_table(customers_file))
        assert session.terminate(cancel=cancel).state is scorestream.SessionState.ENDED
        assert job.refresh().state in ends
        assert session.terminate().state is scorestream.SessionState.ENDED
        with pytest.raises(scorestream.ScorestreamError):
            session.load_table(customers_file)
    assert not local.sessions(prefix=prefix)
    assert len(local.sessions(prefix, include_ended=True)) == 2


def test_a9_a_job_outlives_its_client(
    local: scorestream.Client, session: scorestream.Session, model: scorestream.Model, customers: pa.Table
) -> None:
    """A client that leaves finds its job, and all of its result, by the id."""
    with scorestream.connect(local.address) as gone:
        job_id = gone.get_session(session.id).score(model.id, customers, name="left behind").id
    found = local.get_job(job_id)
    np.testing.assert_allclose(found.to_table()["p_var1"], expected_scores(customers), rtol=1e-12)
    assert found.name == "left behind"
    assert job_id in [job.id for job in local.jobs(limit=100)]
    assert [job.id for job in session.jobs()] == [job_id]


def test_results_resume_at_any_row(
    session: scorestream.Session, model: scorestream.Model, customers: pa.Table
) -> None:
    """Whatever the offset, what was read before and after it is the whole."""
    job = session.score(model, customers, keep=["customer_id"])
    whole = job.to_table()
    assert whole.num_rows == 60_000
    for offset in (1, 20_000, 59_999):
        assert pa.Table.from_batches(job.results(offset)).equals(whole.slice(offset))
    assert not list(job.results(60_000))
    with pytest.raises(scorestream.OutOfRangeError):
        list(job.results(60_001))


@pytest.mark.parametrize("kind", ["pyarrow", "reader", "pandas"])
def test_rows_of_any_kind_can_be_scored(
    session: scorestream.Session, model: scorestream.Model, customers: pa.Table, kind: str
) -> None:
    """Anything that speaks Arrow is a table, with whatever encodings."""
    labelled = customers.append_column("label", pa.chunked_array([["a", "b"] * 30_000]).dictionary_encode())
    source: object = {
        "pyarrow": labelled,
        "reader": labelled.to_reader(max_chunksize=1000),
        "pandas": pd.DataFrame({name: labelled[name].to_numpy() for name in customers.column_names}),
    }[kind]
    job = session.score(model, session.load_table(source, name="rows"))
    np.testing.assert_allclose(job.to_table()["p_var1"], expected_scores(customers), rtol=1e-12)


def test_an_output_file_is_there_whole(
    session: scorestream.Session, model: scorestream.Model, customers_file: Path, tmp_path: Path
) -> None:
    """`out_path` writes all rows to a file of ours, and refuses to replace one unasked."""
    session.load_table(customers_file, name="customers")
    out = tmp_path / "scores.parquet"
    job = session.score(model, "customers", out_path=out).wait()
    assert pq.read_table(out).equals(job.to_table())
    assert job.outputs == (str(out),)
    with pytest.raises(scorestream.AlreadyExistsError):
        session.score(model, "customers", out_path=out)


def test_what_is_wrong_is_said_at_once(
    local: scorestream.Client, session: scorestream.Session, model: scorestream.Model, customers: pa.Table
) -> None:
    """Unknown things, missing columns and bad predicates are refused before a job starts."""
    table = session.load_table(customers, name="customers")
    with pytest.raises(scorestream.NotFoundError):
        local.get_job("nothing")
    with pytest.raises(scorestream.NotFoundError):
        session.score("no_such_model", table)
    with pytest.raises(scorestream.NotFoundError):
        session.score(model, "no_such_table")
    with pytest.raises(scorestream.AlreadyExistsError):
        session.load_table(customers, name="customers")
    with pytest.raises(scorestream.InvalidArgumentError):
        session.score(model, table, where="segment_id = (")
    with pytest.raises(scorestream.InvalidArgumentError) as caught:
        session.score(model, customers.drop_columns(["var1", "var3"]))
    told = str(caught.value)
    assert "var1" in told and "var3" in told
    assert not session.jobs()


def test_models_have_versions(local: scorestream.Client, prefix: str) -> None:
    """The same content keeps its version; other content under the name is the next one."""
    name = prefix.strip("_")
    first = local.register_model(name, source="var1 AS a")
    assert local.register_model(name, source="var1 AS a").version == first.version == 1
    second = local.register_model(name, source="var1 * 2 AS a")
    assert second.version == 2
    assert local.get_model(name).id == second.id == f"{name}@2"
    assert local.get_model(first.id).info == first.info
    assert [feature.name for feature in first.features] == ["var1"]
    assert [model.version for model in local.models(name)] == [1, 2]
    first.remove()
    assert [model.version for model in local.models(name)] == [2]


def test_cancelling_keeps_what_was_committed(
    session: scorestream.Session, model: scorestream.Model, customers: pa.Table
) -> None:
    """A cancelled job is final, and its rows so far can be read; a final one stays as it is."""
    table = session.load_table(pa.concat_tables([customers] * 20), name="many")
    job = session.score(model, table).cancel()
    for _ in job.watch():
        pass
    assert job.refresh().state in {State.CANCELLED, State.SUCCEEDED}
    kept = sum(batch.num_rows for batch in job.results())
    assert kept == job.rows_scored
    if job.state is State.CANCELLED:
        with pytest.raises(scorestream.JobCancelledError):
            job.wait()
    assert job.cancel().state is job.refresh().state


def test_the_asyncio_client_runs_the_same_night(
    local: scorestream.Client, prefix: str, customers: pa.Table
) -> None:
    """Three jobs at once from one event loop, collected as they end."""

    async def night() -> list[np.ndarray]:
        async with await scorestream.aio.connect(local.address) as client:
            model = await client.register_model("dummy_scorer", source=SCORE_CODE)
            jobs = []
            for segment in SEGMENTS:
                session = await client.create_session(f"{prefix}{segment}")
                jobs.append(await session.score(model, customers, where=f"segment_id = {segment}"))
            events = [event async for event in client.watch(prefix, until_final=True)]
            assert {event.job_id for event in events if event.job_id} == {job.id for job in jobs}
            assert {job.id async for job in client.as_completed(jobs)} == {job.id for job in jobs}
            tables = await asyncio.gather(*(job.to_table() for job in jobs))
            for found in await client.sessions(prefix):
                await found.terminate()
            return [table["p_var1"].to_numpy() for table in tables]

    for segment, scores in zip(SEGMENTS, asyncio.run(night()), strict=True):
        np.testing.assert_allclose(scores, expected_scores(customers, segment), rtol=1e-12)
