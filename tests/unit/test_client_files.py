"""Files on the client's side: read with types that all values fit, written whole or not at all."""

import gzip
import json
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq
import pytest

import scorestream
from scorestream import result_file
from scorestream.input_files import open_files
from scorestream.result_file import ResultFile, check_output

TABLE = pa.table({"id": [1, 2, 3], "score": [0.25, None, 0.75]})


def read_back(path: Path) -> pa.Table:
    """Return the rows of an output of any format."""
    if path.suffix == ".arrow":
        with pa.ipc.open_file(path) as reader:
            return reader.read_all()
    if path.suffix == ".csv":
        return pa_csv.read_csv(path)
    return pa_dataset.dataset(path, format="parquet").to_table()


@pytest.mark.parametrize("name", ["out.parquet", "out.arrow", "out.csv", "out"])
def test_each_format_holds_all_rows(tmp_path: Path, name: str) -> None:
    """What is written is read back, and nothing else lies beside it."""
    with ResultFile(tmp_path / name, TABLE.schema, replace=False) as file:
        for _ in range(2):
            file.write(TABLE.to_batches()[0])
        assert not (tmp_path / name).exists()
    assert file.rows == 6
    assert read_back(tmp_path / name).equals(pa.concat_tables([TABLE, TABLE]))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["out.parquet", "out.arrow", "out.csv", "out"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    """An exception in the middle leaves no trace of the new and the whole of the old."""
    with ResultFile(tmp_path / name, TABLE.schema, replace=False) as file:
        file.write(TABLE.to_batches()[0])
    other = ResultFile(tmp_path / name, TABLE.schema, replace=True)

    def broken_off() -> None:
        with other:
            other.write(TABLE.slice(0, 1).to_batches()[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert read_back(tmp_path / name).equals(TABLE)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with ResultFile(tmp_path / name, TABLE.schema, replace=True) as file:
        file.write(TABLE.slice(2).to_batches()[0])
    assert read_back(tmp_path / name).equals(TABLE.slice(2))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_directory_has_parts_a_manifest_and_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest lists each part with rows, bytes and checksum; `_SUCCESS` says that it is complete."""
    monkeypatch.setattr(result_file, "PART_ROWS", 3)
    with ResultFile(tmp_path / "out", TABLE.schema, replace=False) as file:
        for _ in range(3):
            file.write(TABLE.to_batches()[0])
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["rows"] == 9
    assert [part["rows"] for part in manifest["files"]] == [3, 3, 3]
    for part in manifest["files"]:
        content = (tmp_path / "out" / part["name"]).read_bytes()
        assert (part["bytes"], part["crc32"]) == (len(content), f"{zlib.crc32(content):08x}")
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert pq.read_table(tmp_path / "out").num_rows == 9


def test_outputs_that_cannot_be_are_refused_before_any_work(tmp_path: Path) -> None:
    """A wrong ending, a missing directory, an existing file, somebody else's directory."""
    (tmp_path / "there.csv").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    (tmp_path / "plain").touch()
    with pytest.raises(scorestream.InvalidArgumentError, match="says no format"):
        check_output(tmp_path / "out.xlsx", replace=False)
    with pytest.raises(scorestream.InvalidArgumentError, match="no directory"):
        check_output(tmp_path / "nowhere" / "out.csv", replace=False)
    with pytest.raises(scorestream.AlreadyExistsError, match="--replace"):
        check_output(tmp_path / "there.csv", replace=False)
    check_output(tmp_path / "there.csv", replace=True)
    with pytest.raises(scorestream.FailedPreconditionError, match="not written by scorestream"):
        check_output(tmp_path / "photos", replace=True)
    with pytest.raises(scorestream.FailedPreconditionError, match="is a file"):
        check_output(tmp_path / "plain", replace=True)
    assert (tmp_path / "photos" / "cat.jpg").exists()


def test_csv_types_are_settled_by_all_values(tmp_path: Path) -> None:
    """A value far down decides a column's type: `1e+05` makes it a number with a point, `x` a text."""
    rows = [f"{n},{n},,2024-01-01,{n}" for n in range(80_000)]
    rows[65_000] = "65000,1e+05,,2024-01-02,x"
    rows[70_000] = "70000,,,,"
    file = tmp_path / "t.csv"
    file.write_text("whole,late,empty,day,text\n" + "\n".join(rows) + "\n")
    table = open_files([file, file]).read_all()
    assert table.schema.types == [pa.int64(), pa.float64(), pa.float64(), pa.date32(), pa.string()]
    assert table.num_rows == 160_000
    assert table["late"][65_000].as_py() == 1e5
    assert table["late"].null_count == 2
    assert table["empty"].null_count == 160_000


def test_directories_and_compressed_files_are_read(tmp_path: Path) -> None:
    """A directory stands for its tables; marks and manifests in it are passed over."""
    with ResultFile(tmp_path / "data", TABLE.schema, replace=False) as file:
        file.write(TABLE.to_batches()[0])
    assert open_files([tmp_path / "data"]).read_all().equals(TABLE)
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(b"a\tb\n1\t2\n"))
    assert open_files([tmp_path / "t.tsv.gz"]).read_all().to_pylist() == [{"a": 1, "b": 2}]


def test_inputs_that_cannot_be_read_say_which_and_why(tmp_path: Path) -> None:
    """Missing, unknown, mixed, broken and empty inputs each have their sentence."""
    pq.write_table(TABLE, tmp_path / "t.parquet")
    (tmp_path / "broken.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "broken.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-30])
    (tmp_path / "t.xlsx").touch()
    (tmp_path / "empty").mkdir()
    for name, reason in {
        "nothing.csv": "INPUT_NOT_FOUND",
        "empty": "INPUT_NOT_FOUND",
        "t.xlsx": "BAD_INPUT_FORMAT",
        "broken.csv": "BAD_INPUT",
        "broken.parquet": "BAD_INPUT",
    }.items():
        with pytest.raises(scorestream.ScorestreamError, match=name) as caught:
            open_files([tmp_path / name]).read_all()
        assert caught.value.reason == reason
    with pytest.raises(scorestream.InvalidArgumentError, match="csv, parquet"):
        open_files([tmp_path / "t.parquet", tmp_path / "broken.csv"])
