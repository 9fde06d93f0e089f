"""Exactly one result row for each input row, proven by their numbers, while workers and the server are killed."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import scorestream
from scorestream import EventType, OutputOptions
from served import served, workers_of

ROWS = 40_000
ROWS_AT_ONCE = 1_000
"""Small partitions: there is always one in flight to be hit, and some to come."""


def test_d8_each_input_row_has_one_result_row_whoever_dies(
    tmp_path: Path, forest: Path, customers: Path
) -> None:
    """Arrow, Parquet and CSV, whole and filtered, to files, data sets and tables: no number is missing or comes twice."""
    data, out = tmp_path / "data", tmp_path / "out"
    out.mkdir()
    rows = pq.read_table(customers).slice(0, ROWS)
    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=7_000)
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=9_000)
    pacsv.write_csv(rows, tmp_path / "rows.csv")
    wanted: dict[str, Any] = {"row_number": "row", "keep": ["id"], "partition_rows": ROWS_AT_ONCE}
    options = OutputOptions(compression="zstd", row_group_rows=3_000)
    flags = ("--device", "cpu", "--data-root", str(tmp_path))
    with served(data, *flags) as (client, server):
        session = client.create_session("faults")
        model = client.register_model("forest", path=forest)
        tables = {
            kind: session.load_table(tmp_path / f"rows.{kind}", kind) for kind in ("arrow", "parquet", "csv")
        }
        jobs: dict[str, scorestream.Job] = {}
        for kind, table in tables.items():
            jobs[kind] = session.score(
                model, table, out_path=out / kind, output=options, append=True, **wanted
            )
        filtered = session.score(
            model, tables["parquet"], where="id % 3 = 0", out="some", append=True, **wanted
        )
        moved = (
            event
            for event in jobs["csv"].watch()
            if event.type is not EventType.JOB_CREATED and event.rows_done
        )
        assert next(moved).rows_done < ROWS
        for worker in workers_of(server):
            worker.kill()
        assert next(moved).rows_done < ROWS
        server.kill()
        server.wait(30)
    with served(data, *flags) as (client, _):
        session = client.get_session("faults")
        for job in (*jobs.values(), filtered):
            client.get_job(job.id).wait(100)
        for kind in tables:
            found = ds.dataset(out / kind, format="parquet").to_table()
            assert found.column_names == ["row", "id", "score"]
            assert (np.sort(found["row"].to_numpy()) == np.arange(ROWS)).all()
            assert found["row"].equals(found["id"])
        some = client.get_job(filtered.id).to_table()
        assert some["row"].to_pylist() == list(range(0, ROWS, 3))
        assert session.table("some").rows == some.num_rows
