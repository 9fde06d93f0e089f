"""Row D2 of the list of features, inputs: directories, patterns and text of all kinds, through client and command line."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream

Ask = Callable[..., Any]


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Twelve months in directories of Hive's, a Parquet file each."""
    for year in (2023, 2024):
        for month in range(1, 7):
            folder = tmp_path / f"s/year={year}/month={month:02}"
            folder.mkdir(parents=True)
            pq.write_table(
                pa.table({"id": [year * 100 + month], "a": [float(month)]}), folder / "part-0.parquet"
            )
    return tmp_path / "s"


def test_d2_hive_directories_and_patterns(session: scorestream.Session, scores: Path, ask: Ask) -> None:
    """Values of directories are columns, in place, and `where` passes over files by them; patterns choose files."""
    table = session.load_table(scores, name="all")
    assert (table.rows, table.info.backing_store) == (12, "IN_PLACE")
    assert table.schema == pa.schema(
        [("id", pa.int64()), ("a", pa.float64()), ("year", pa.int64()), ("month", pa.int64())]
    )
    rows = table.read(where="year = 2024 AND month <= 2")
    assert rows.to_pylist() == [
        {"id": 202401, "a": 1.0, "year": 2024, "month": 1},
        {"id": 202402, "a": 2.0, "year": 2024, "month": 2},
    ]
    told = ask("table", "load", session.id, f"{scores}/year=2024/*/part-*.parquet", "--name", "late")
    assert (told["rows"], [column["name"] for column in told["columns"]]) == (6, ["id", "a", "month"])
    with pytest.raises(scorestream.NotFoundError, match=r"No data file .* matches .*2025"):
        session.load_table(f"{scores}/year=2025*", name="none")


def test_d2_jobs_see_the_columns_of_directories(
    local: scorestream.Client, session: scorestream.Session, scores: Path
) -> None:
    """As features, in `where` and in `keep`, like columns of the files."""
    model = local.register_model("hive_sum", source="year * 100 + month - id AS nothing")
    job = session.score(model, session.load_table(scores), where="year = 2023", keep=["id", "month"]).wait()
    found = job.to_table()
    assert found.column("month").to_pylist() == [1, 2, 3, 4, 5, 6]
    assert found.column("nothing").to_pylist() == [0.0] * 6


def test_d2_text_of_all_kinds_goes_to_the_cache(
    session: scorestream.Session, tmp_path: Path, ask: Ask
) -> None:
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(b"a,b\n1,x\n2,y\n"))
    (tmp_path / "rows.jsonl").write_text('{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n')
    with pa.CompressedOutputStream(str(tmp_path / "rows.tsv.zst"), "zstd") as stream:
        stream.write(b"a\tb\n1\tx\n2\ty\n")
    for name, form in {"rows.csv.gz": "csv", "rows.jsonl": "json", "rows.tsv.zst": "csv"}.items():
        told = ask("table", "load", session.id, tmp_path / name, "--name", "rows", "--replace")
        assert told["format"] == form
        table = session.table("rows")
        assert (table.info.format, table.info.backing_store) == (form, "DISK_CACHE")
        assert table.read().to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    (tmp_path / "bad.jsonl").write_text(json.dumps({"a": [1]}) + "\n")
    with pytest.raises(scorestream.InvalidArgumentError, match=r"objects or lists .*'a' \(list"):
        session.load_table(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(scorestream.InvalidArgumentError, match=r"Line 2 of 'bad.jsonl' is no JSON"):
        session.load_table(tmp_path / "bad.jsonl")
