"""What scripts do with the client beside the nightly batch: results, rows of any kind, versions, asyncio."""

import asyncio
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream
import scorestream.aio
from nightly import SCORE_CODE, SEGMENTS, expected_scores
from scorestream import State


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
