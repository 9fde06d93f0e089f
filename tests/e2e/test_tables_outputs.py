"""Rows D6 and D8 of the list of features about tables, where outputs are concerned: how they are written, and append."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import scorestream
from scorestream import OutputOptions, State

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def table(session: scorestream.Session, customers_file: Path) -> scorestream.Table:
    return session.load_table(customers_file, name="customers")


def rows_of(directory: Path) -> pa.Table:
    """Return what a reader gets who takes all files of a data set."""
    return ds.dataset(directory, format="parquet", partitioning="hive").to_table()


def batches_of(directory: Path) -> list[tuple[str, int]]:
    manifest = json.loads((directory / "_manifest.json").read_text())
    return [(batch["job"], batch["rows"]) for batch in manifest["batches"]]


def test_d8_outputs_have_the_format_and_the_options_that_were_asked_for(
    session: scorestream.Session, model: scorestream.Model, table: scorestream.Table, tmp_path: Path
) -> None:
    """Compression, row groups, directories by values and endings; the job tells what it was asked for."""
    options = OutputOptions(compression="zstd", row_group_rows=10_000, partition_by=("segment_id",))
    job = session.score(
        model,
        table,
        keep=["customer_id", "segment_id"],
        row_number="row",
        out_path=tmp_path / "parts",
        output=options,
    ).wait()
    assert (job.info.output, job.info.append, job.info.row_number) == (options, False, "row")
    assert job.schema.names == ["row", "customer_id", "segment_id", "p_var1"]
    assert sorted(job.info.outputs) == sorted(map(str, (tmp_path / "parts").rglob("*.parquet")))
    found = rows_of(tmp_path / "parts").sort_by("row")
    assert found["row"].to_pylist() == list(range(60_000))
    assert found.select(job.schema.names).equals(job.to_table().cast(found.select(job.schema.names).schema))
    for segment in (1, 2, 3):
        (part,) = (tmp_path / "parts" / f"segment_id={segment}").iterdir()
        metadata = pq.read_metadata(part)
        assert metadata.num_rows == 20_000
        assert [metadata.row_group(at).num_rows for at in range(2)] == [10_000, 10_000]
        assert metadata.row_group(0).column(0).compression == "ZSTD"

    session.score(model, table, out_path=tmp_path / "scores.csv.gz").wait()
    assert pacsv.read_csv(tmp_path / "scores.csv.gz").num_rows == 60_000
    session.score(
        model, table, out_path=tmp_path / "scores.arrow", output=OutputOptions(compression="lz4")
    ).wait()
    assert session.load_table(tmp_path / "scores.arrow", name="lz4").rows == 60_000


def test_d8_a_data_set_grows_by_batches(
    local: scorestream.Client,
    session: scorestream.Session,
    model: scorestream.Model,
    table: scorestream.Table,
    tmp_path: Path,
) -> None:
    """Jobs that append at once all arrive, each once; a resumed job appends once; replace begins anew."""
    path = tmp_path / "scores"
    options = OutputOptions(partition_by=("segment_id",))
    wanted: dict[str, Any] = {"keep": ["customer_id", "segment_id"], "out_path": path}
    jobs = [
        session.score(model, table, where=f"segment_id = {segment}", append=True, output=options, **wanted)
        for segment in (1, 2, 3)
    ]
    local.wait_all(jobs, timeout=60)
    assert sorted(batches_of(path)) == sorted((job.id, 20_000) for job in jobs)
    assert sorted(rows_of(path)["customer_id"].to_pylist()) == list(range(60_000))

    late = session.score(model, table, append=True, partition_rows=100, **wanted)
    late.cancel()
    with pytest.raises(scorestream.JobCancelledError):
        late.wait(60)
    assert len(batches_of(path)) == 3
    resumed = late.resume().wait(60)
    assert batches_of(path)[3:] == [(late.id, 60_000)]
    assert all("part-a00003" in out for out in resumed.info.outputs)
    assert late.resume().wait(60).info.outputs == resumed.info.outputs
    assert rows_of(path).num_rows == 120_000
    assert session.load_table(path, name="grown").rows == 120_000

    again = session.score(model, table, replace=True, **wanted).wait()
    assert batches_of(path) == [(again.id, 60_000)]
    assert rows_of(path).num_rows == 60_000


def test_d6_a_table_grows_while_who_reads_it_keeps_what_there_was(
    local: scorestream.Client,
    session: scorestream.Session,
    model: scorestream.Model,
    table: scorestream.Table,
) -> None:
    """Each append makes a new version; a job on the old one reads that; jobs that append at once all arrive."""
    wanted: dict[str, Any] = {"keep": ["customer_id"], "out": "scored", "append": True}
    jobs = [session.score(model, table, where=f"segment_id = {n}", **wanted) for n in (1, 2, 3)]
    local.wait_all(jobs, timeout=60)
    scored = session.table("scored")
    assert scored.rows == 60_000
    assert [job.info.outputs for job in jobs] == [("scored",)] * 3

    local.register_model("twice", source="customer_id * 2 AS p_var1")
    reader = session.score("twice", "scored", keep=["customer_id"], partition_rows=500)
    session.score("twice", "scored", **wanted).wait()  # reads the table that it adds to
    assert session.table("scored").rows == 120_000
    assert reader.wait().rows_scored == 60_000
    assert sorted(reader.to_table()["customer_id"].to_pylist()) == list(range(60_000))
    read = session.score("twice", "scored", keep=["customer_id"]).wait().to_table()
    assert sorted(read["customer_id"].to_pylist()) == sorted([*range(60_000), *range(60_000)])

    with pytest.raises(scorestream.InvalidArgumentError) as caught:
        session.score(model, table, out="scored", append=True, keep=["segment_id"])
    assert caught.value.reason == "APPEND_DOES_NOT_MATCH"
    assert "customer_id: it is missing in the result; segment_id: only the result has it" in str(caught.value)
    with pytest.raises(scorestream.InvalidArgumentError, match="ask for one"):
        session.score(model, table, out="scored", append=True, replace=True)
    session.score(model, table, out="scored", replace=True).wait()
    assert session.table("scored").rows == 60_000


def test_d8_what_cannot_be_done_is_refused_at_once_and_wholly(
    session: scorestream.Session, model: scorestream.Model, table: scorestream.Table, tmp_path: Path
) -> None:
    """Format, options, columns and names: all faults in one answer, before anything is scored."""
    with pytest.raises(scorestream.InvalidArgumentError) as caught:
        session.score(
            model,
            table,
            out_path=tmp_path / "scores.parquet",
            append=True,
            row_number="var1",
            output=OutputOptions(compression="lzo", row_group_rows=1, partition_by=["segment_id"]),
        )
    told = str(caught.value)
    for part in (
        "'var1': the table has one",
        "not 'lzo'",
        "row_group_rows",
        "partition_by",
        "append: a Parquet",
    ):
        assert part in told
    with pytest.raises(scorestream.InvalidArgumentError, match=r"partition_by=\['segment_id'\]"):
        session.score(model, table, output=OutputOptions(partition_by="segment_id"))
    with pytest.raises(scorestream.InvalidArgumentError, match="neither an out_path nor an out_table"):
        session.score(model, table, append=True)
    assert list(tmp_path.iterdir()) == []

    many = session.score(
        model,
        table,
        keep=["customer_id"],
        out_path=tmp_path / "many",
        output=OutputOptions(partition_by=["customer_id"]),
    )
    with pytest.raises(scorestream.JobFailedError, match="more than 10,000 different values") as failed:
        many.wait()
    assert failed.value.reason == "TOO_MANY_DIRECTORIES"
    assert many.state is State.FAILED
    assert many.rows_scored == 60_000
    assert list(tmp_path.iterdir()) == []


def test_d8_from_the_command_line(
    local: scorestream.Client,
    session: scorestream.Session,
    model: scorestream.Model,
    table: scorestream.Table,
    ask: Ask,
    run: Run,
    tmp_path: Path,
) -> None:
    """`job submit` and `score` take the same options, and say what does not go."""
    del table
    submit = (
        "job",
        "submit",
        session.id,
        model.id,
        "customers",
        "--keep",
        "segment_id",
        "--row-number",
        "row",
    )
    to_files = (
        "--out-path",
        tmp_path / "set",
        "--partition-by",
        "segment_id",
        "--compression",
        "gzip",
        "--append",
    )
    for _ in range(2):
        told = ask(*submit, *to_files)
        assert told["output"]["partition_by"] == ["segment_id"]
        assert (told["append"], told["row_number"]) == (True, "row")
        local.get_job(told["id"]).wait(60)
    assert rows_of(tmp_path / "set").num_rows == 120_000
    assert len(batches_of(tmp_path / "set")) == 2
    refused = run(*submit, *to_files, "--replace", "--server", local.address, check=2)
    assert "ask for one of them" in refused.stderr

    (tmp_path / "m.sql").write_text("x * 2 AS y")
    (tmp_path / "in.csv").write_text("x,k\n1,a\n2,b\n3,\n")
    score = (
        "score",
        "m.sql",
        "in.csv",
        "-o",
        "out",
        "--row-number",
        "row",
        "--keep",
        "k",
        "--partition-by",
        "k",
    )
    run(*score, "--append", "--row-group-rows", 1000, "--compression", "zstd")
    found = rows_of(tmp_path / "out").sort_by([("row", "ascending")])
    assert found["row"].to_pylist() == [0, 1, 2]
    assert found["y"].to_pylist() == [2.0, 4.0, 6.0]
    refused = run(*score, "--append", "--server", local.address, check=2)
    assert "job submit --out-path" in refused.stderr
    for command in (("score",), ("job", "submit")):
        shown = run(*command, "--help").stdout
        for option in ("--compression", "--row-group-rows", "--partition-by", "--append", "--row-number"):
            assert option in shown
