"""How outputs are written: compression, row groups, directories by values, and rows that join what is there."""

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.job import JobSpec
from scorestream_server.domain.output import AS_USUAL, OutputOptions
from scorestream_server.domain.table import OutputFormat, PartitionFile
from scorestream_server.tables import partitioned
from scorestream_server.tables.appending import column_faults
from scorestream_server.tables.dataset_output import write_dataset
from scorestream_server.tables.manifest import decoded, read_manifest
from scorestream_server.tables.output_options import check_options
from scorestream_server.tables.partitioned import Rows, directory_name
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.publication import read_note
from scorestream_server.tables.publish import publish
from scorestream_server.tables.results import attempt_path, commit_partition, write_partition

ROWS = 10_000
TABLE = pa.table(
    {
        "segment": pa.array([None if n % 5 == 0 else f"s{n % 3}" for n in range(ROWS)]),
        "year": pa.array([2020 + n % 2 for n in range(ROWS)]),
        "score": pa.array([float(n) for n in range(ROWS)]),
    }
)


@pytest.fixture
def files(tmp_path: Path) -> list[PartitionFile]:
    final = tmp_path / "0.arrow"
    batches = TABLE.to_batches(max_chunksize=3000)
    return [commit_partition(write_partition(attempt_path(final, 1), batches, TABLE.schema), final)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def written(files: list[PartitionFile], path: Path, options: OutputOptions = AS_USUAL, **how: Any) -> Path:
    target, journal = DataRoots(None).output(str(path)), path.parent.parent / "notes" / "job.json"
    publish(files, TABLE.schema, target, journal, options=options, **how)
    journal.unlink(missing_ok=True)
    return path


def rows_of(table: pa.Table) -> Rows:
    def rows(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        return iter((table if columns is None else table.select(list(columns))).to_batches())

    return rows


@pytest.mark.parametrize("name", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
@pytest.mark.parametrize("output", ["o.parquet", "o"])
def test_parquet_has_the_compression_and_the_row_groups_that_were_asked_for(
    files: list[PartitionFile], out: Path, name: str, output: str
) -> None:
    path = written(files, out / output, OutputOptions(compression=name, row_group_rows=4000))
    assert pq.read_table(path).equals(TABLE)
    metadata = pq.read_metadata(path if path.is_file() else path / "part-00000.parquet")
    assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == [4000, 4000, 2000]
    found = {"none": "UNCOMPRESSED"}.get(name, name.upper())
    assert metadata.row_group(0).column(2).compression == found


@pytest.mark.parametrize("name", ["", "none", "lz4", "zstd"])
def test_arrow_is_mapped_unless_compression_was_asked_for(
    files: list[PartitionFile], out: Path, name: str
) -> None:
    path = written(files, out / "o.arrow", OutputOptions(compression=name))
    before = pa.total_allocated_bytes()
    with pa.memory_map(str(path)) as mapped:
        found = pa.ipc.open_file(mapped).read_all()
        assert found.equals(TABLE)
        assert (pa.total_allocated_bytes() - before < 1000) == (name in {"", "none"})


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.zst"])
def test_the_ending_of_a_csv_file_says_how_it_is_compressed(
    files: list[PartitionFile], out: Path, ending: str
) -> None:
    path = written(files, out / f"o.{ending}")
    with pa.input_stream(path, compression={"csv.gz": "gzip", "csv.zst": "zstd"}.get(ending)) as text:
        found = pacsv.read_csv(text, convert_options=pacsv.ConvertOptions(column_types=TABLE.schema))
    assert found["score"].equals(TABLE["score"])
    assert path.read_bytes()[:2] == {"csv": b'"s', "csv.gz": b"\x1f\x8b", "csv.zst": b"\x28\xb5"}[ending]


@pytest.mark.parametrize(
    ("options", "form", "append", "faults"),
    [
        (OutputOptions("snappy"), OutputFormat.ARROW, False, ["compression"]),
        (OutputOptions("gzip", 5000), OutputFormat.CSV, False, ["compression", "row_group_rows"]),
        (OutputOptions("lzo", 999), OutputFormat.PARQUET, False, ["compression", "row_group_rows"]),
        (OutputOptions(partition_by=("year",)), OutputFormat.PARQUET, True, ["partition_by", "append"]),
        (OutputOptions("gzip"), None, False, ["compression"]),
        (AS_USUAL, None, True, ["append"]),
        (
            OutputOptions(partition_by=("year", "year", "score", "no", "_x")),
            OutputFormat.DATASET,
            False,
            ["partition_by 'year'", "partition_by 'score'", "partition_by 'no'", "partition_by '_x'"],
        ),
        (OutputOptions(partition_by=("a",) * 17), OutputFormat.DATASET, False, ["partition_by"]),
    ],
)
def test_d8_options_that_do_not_fit_are_refused_all_at_once(
    options: OutputOptions, form: OutputFormat | None, append: bool, faults: list[str]
) -> None:
    schema = pa.schema([*TABLE.schema, pa.field("_x", pa.string())])
    with pytest.raises(ScorestreamError) as caught:
        check_options(options, form, schema, append=append, to_table=False)
    assert caught.value.reason == "OUTPUT_OPTIONS_DO_NOT_FIT"
    assert [fault.field for fault in caught.value.faults] == faults
    assert all(fault.description in caught.value.message for fault in caught.value.faults)


def test_some_column_is_left_for_the_files() -> None:
    schema = pa.schema({"a": pa.string(), "b": pa.int8()})
    with pytest.raises(ScorestreamError, match="no column would be left"):
        check_options(
            OutputOptions(partition_by=("b", "a")), OutputFormat.DATASET, schema, append=False, to_table=False
        )


def test_directories_are_named_after_values_and_hold_the_rest(files: list[PartitionFile], out: Path) -> None:
    """Rows keep their order in each, the manifest lists every file, and readers get all columns back."""
    path = written(files, out / "o", OutputOptions(partition_by=("segment", "year")), batch="job")
    manifest = read_manifest(path)
    assert manifest is not None
    assert {Path(file.name).parent.as_posix() for file in manifest.files} == {
        f"segment={segment}/year={year}"
        for segment in ("s0", "s1", "s2", "__HIVE_DEFAULT_PARTITION__")
        for year in (2020, 2021)
    }
    found = {path.relative_to(out / "o").as_posix() for path in (out / "o").rglob("*.parquet")}
    assert found == {file.name for file in manifest.files}
    for file in manifest.files:
        part = pq.read_table(out / "o" / file.name, partitioning=None)
        assert part.column_names == ["score"]
        assert part["score"].to_pylist() == sorted(part["score"].to_pylist())
        assert part.num_rows == file.rows
    kinds = pa.schema({"segment": pa.string(), "year": pa.int64()})
    whole = ds.dataset(path, partitioning=ds.partitioning(kinds, flavor="hive")).to_table()
    assert whole.select(TABLE.column_names).sort_by("score").equals(TABLE)
    assert [(batch.job, batch.rows) for batch in manifest.batches] == [("job", ROWS)]
    assert manifest.partition_by == ("segment", "year")
    assert [column.name for column in manifest.schema] == TABLE.column_names


VALUES = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda text: text != partitioned.NULL),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(values=st.lists(VALUES, max_size=60), most=st.integers(1, 3))
def test_any_text_comes_back_from_the_name_of_its_directory(
    tmp_path_factory: pytest.TempPathFactory, values: list[str | None], most: int
) -> None:
    """Whatever the values, and however few directories are written at once, each row is there once, in order."""
    table = pa.table({"key": pa.array(values, pa.string()), "row": pa.array(range(len(values)), pa.int64())})
    folder = tmp_path_factory.mktemp("o") / "o"
    before, partitioned.MOST_AT_ONCE = partitioned.MOST_AT_ONCE, most + 1
    try:
        options = OutputOptions(partition_by=("key",))
        manifest = write_dataset(folder, rows_of(table), table.schema, options, job="", time="")
    finally:
        partitioned.MOST_AT_ONCE = before
    assert manifest.rows == len(values)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")} == {
        file.name for file in manifest.files
    }
    kinds = pa.schema({"key": pa.string()})
    found = ds.dataset(
        [str(folder / file.name) for file in manifest.files],
        partitioning=ds.partitioning(kinds, flavor="hive"),
        partition_base_dir=str(folder),
        schema=table.schema,
        format="parquet",
    )
    wanted = [value or None for value in values]
    whole = found.to_table()
    if values:
        assert whole.sort_by("row")["key"].to_pylist() == wanted
        assert sorted(whole["row"].to_pylist()) == list(range(len(values)))
    for fragment in found.get_fragments():
        rows = fragment.to_table(columns=["row"])["row"].to_pylist()
        assert rows == sorted(rows)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("A/b=c", "k=A%2Fb%3Dc"),
        ("..", "k=.."),
        ("100%", "k=100%25"),
        ("é\x00", "k=é%00"),
        ("", "k=__HIVE_DEFAULT_PARTITION__"),
        (None, "k=__HIVE_DEFAULT_PARTITION__"),
        (True, "k=true"),
        (-7, "k=-7"),
        (dt.date(2024, 2, 29), "k=2024-02-29"),
    ],
)
def test_values_cannot_lead_out_of_their_directory(value: Any, name: str) -> None:
    assert directory_name("k", value) == name
    assert "/" not in name


def test_too_many_or_too_long_values_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    """The error names the columns; nothing but an empty hidden folder was made for the caller to remove."""
    many = pa.table({"k": pa.array(range(10_001)), "v": pa.array(range(10_001))})
    long = pa.table({"k": ["x" * 300], "v": [1]})
    for table, reason in ((many, "TOO_MANY_DIRECTORIES"), (long, "PARTITION_VALUE_TOO_LONG")):
        folder = tmp_path / reason
        with pytest.raises(ScorestreamError, match="'k'") as caught:
            write_dataset(
                folder, rows_of(table), table.schema, OutputOptions(partition_by=("k",)), job="", time=""
            )
        assert caught.value.reason == reason
        assert list(folder.iterdir()) == []


def test_d8_rows_are_appended_once_and_only_where_they_fit(files: list[PartitionFile], out: Path) -> None:
    """A batch that is there is not added again; other columns are named; what scorestream did not write stays."""
    options = OutputOptions(partition_by=("year",))
    path = written(files, out / "o", options, append=True, batch="one")
    for _ in range(2):
        written(files, out / "o", append=True, batch="two")
    manifest = read_manifest(path)
    assert manifest is not None
    assert [(batch.job, batch.rows) for batch in manifest.batches] == [("one", ROWS), ("two", ROWS)]
    assert pq.read_table(path).num_rows == manifest.rows == 2 * ROWS
    names = sorted(file.name for file in manifest.files if file.name.startswith("year=2020/"))
    assert names[0] == "year=2020/part-00000.parquet", "sorted by name, new rows come behind old ones"
    assert names[1].startswith("year=2020/part-a00001-")

    with pytest.raises(ScorestreamError) as caught:
        written(files, out / "o", OutputOptions(partition_by=("segment",)), append=True, batch="three")
    assert caught.value.reason == "APPEND_DOES_NOT_MATCH"
    assert "partition_by: the data set is partitioned by year" in caught.value.message
    other = pa.schema({"segment": pa.string(), "year": pa.int32(), "p": pa.float64()})
    assert [(fault.field, fault.description) for fault in column_faults(TABLE.schema, other)] == [
        ("score", "it is missing in the result"),
        ("p", "only the result has it"),
        ("year", "it is int32 in the result, not int64"),
    ]
    (out / "photos").mkdir()
    (out / "photos/a.jpg").touch()
    with pytest.raises(ScorestreamError) as caught:
        written(files, out / "photos", append=True, batch="four")
    assert caught.value.reason == "OUTPUT_NOT_REPLACEABLE"
    assert [entry.name for entry in (out / "photos").iterdir()] == ["a.jpg"]
    (out / "empty").mkdir()
    assert pq.read_table(written(files, out / "empty", append=True, batch="five")).equals(TABLE)
    assert sorted(entry.name for entry in out.iterdir()) == ["empty", "o", "photos"]


def test_a_partition_that_is_a_link_is_not_followed(
    files: list[PartitionFile], out: Path, tmp_path: Path
) -> None:
    """Somebody who may write into the data set cannot have rows written elsewhere; nothing of the batch stays."""
    path = written(files, out / "o", OutputOptions(partition_by=("year",)), append=True, batch="one")
    (tmp_path / "elsewhere").mkdir()
    for folder in ("year=2020", "year=2021"):
        (path / folder).rename(tmp_path / folder)
    (path / "year=2021").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ScorestreamError, match="year=2021") as caught:
        written(files, out / "o", append=True, batch="two")
    assert caught.value.reason == "OUTPUT_NOT_APPENDABLE"
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert sorted(entry.name for entry in out.rglob("*")) == ["_SUCCESS", "_manifest.json", "o", "year=2021"]


def test_a_data_set_of_the_first_version_can_be_appended_to(files: list[PartitionFile], out: Path) -> None:
    """Its files are one batch, of whoever."""
    path = written(files, out / "o", append=True, batch="one")
    manifest = json.loads((path / "_manifest.json").read_text())
    del manifest["batches"], manifest["partition_by"]
    manifest["version"] = 1
    for file in manifest["files"]:
        del file["batch"]
    (path / "_manifest.json").write_text(json.dumps(manifest))
    written(files, path, append=True, batch="two")
    found = read_manifest(path)
    assert found is not None
    assert [(batch.job, batch.files) for batch in found.batches] == [("", 1), ("two", 1)]
    assert [file.batch for file in found.files] == [0, 1]


@given(st.binary(max_size=100))
def test_what_is_no_manifest_is_none(text: bytes) -> None:
    assert decoded(text) is None


@pytest.mark.parametrize("name", ["../x.parquet", "/etc/passwd", "a/../../b", ""])
def test_a_manifest_that_leads_out_of_its_directory_is_none(name: str) -> None:
    told = {"writer": "scorestream", "version": 2, "rows": 1, "bytes": 1, "schema": [], "format": "parquet"}
    file = {"name": "part.parquet", "rows": 1, "bytes": 1, "crc32": "00000000"}
    assert decoded(json.dumps({**told, "files": [file]}).encode()) is not None
    assert decoded(json.dumps({**told, "files": [{**file, "name": name}]}).encode()) is None


def test_jobs_and_notes_of_before_are_read(tmp_path: Path) -> None:
    """A store and a journal that were written before there were options decode, and ask for nothing new."""
    spec = JobSpec("m", 1, "t", "uid", "", (), "", None, False, 2, 100)  # type: ignore[arg-type]
    old = json.loads(msgspec.json.encode(spec))
    for name in ("output", "append", "batch", "row_number"):
        del old[name]
    assert msgspec.json.decode(json.dumps(old), type=JobSpec) == msgspec.json.decode(
        msgspec.json.encode(spec), type=JobSpec
    )
    told = {"final": "/a/b", "token": "0" * 12, "identity": None, "published": None}
    (tmp_path / "job.json").write_text(json.dumps(told))
    note = read_note(tmp_path / "job.json")
    assert note is not None
    assert (note.batch, note.joins) == ("", False)
