"""What a load asks for (columns, rows, the cache), and the columns that directories give."""

import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.table import FileFormat, InputFile, LoadOptions, TableData
from scorestream_server.tables.hive import NULL, hive_columns
from scorestream_server.tables.listing import stands_for
from scorestream_server.tables.parquet_reading import Scratch
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table
from scorestream_server.workers.opened import conditions

ROWS = pa.table(
    {
        "a": pa.array([1.0, 2.0, None, math.nan, 5.0]),
        "b": pa.array(["x", "y", "z", None, "x"]),
        "c": pa.array([10, 20, 30, 40, 50]),
        "nested": pa.array([[1], [], None, [2, 3], [4]]),
    }
)
FLAT = ROWS.drop_columns("nested")
FORMS = ("parquet", "arrow", "lz4.arrow", "csv", "jsonl")


def write(path: Path, rows: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(rows, path, row_group_size=2)
    elif path.suffix == ".csv":
        pacsv.write_csv(rows, path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows.to_pylist()))
    else:
        options = pa.ipc.IpcWriteOptions(compression="lz4" if "lz4" in path.name else None)
        with pa.ipc.new_file(str(path), rows.schema, options=options) as writer:
            writer.write_table(rows, max_chunksize=2)
    return path


def load(inputs: Sequence[Any], cache: Path, **options: Any) -> TableData:
    cache.mkdir(exist_ok=True)
    return load_table(inputs, cache, LoadOptions(**options), compile_where=conditions)


def rows_of(table: TableData, columns: Sequence[str] | None = None, where: str = "") -> pa.Table:
    schema = pa.ipc.read_schema(pa.py_buffer(table.schema))
    names = schema.names if columns is None else list(columns)
    reader = TableReader()
    batches = [
        batch
        for part in plan_partitions(table, 3)
        for batch in reader.read(
            table, part, names, conditions(where, schema), scratch=Scratch("job", Path("/nowhere"))
        )
    ]
    return pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in names]))


def fault(*arguments: Any, **options: Any) -> ScorestreamError:
    with pytest.raises(ScorestreamError) as caught:
        load(*arguments, **options)
    return caught.value


@pytest.mark.parametrize("form", FORMS)
def test_columns_of_a_load_are_those_of_the_table_in_that_order(tmp_path: Path, form: str) -> None:
    """Also in place; columns that cannot be read may be left out so; unknown and unreadable ones are named."""
    rows = FLAT if form == "csv" else ROWS
    path = write(tmp_path / f"t.{form}", rows)
    table = load([path], tmp_path / "cache", columns=("c", "a"))
    assert table.in_place is (form in {"parquet", "arrow"})
    assert rows_of(table).schema.names == ["c", "a"]
    assert rows_of(table).column("c").to_pylist() == [10, 20, 30, 40, 50]
    error = fault([path], tmp_path / "cache", columns=("c", "d", "e"))
    assert (error.reason, [one.field for one in error.faults]) == ("UNKNOWN_COLUMN", ["d", "e"])
    assert fault([path], tmp_path / "cache", columns=("c", "c")).reason == "DUPLICATE_COLUMN"
    if form != "csv":
        assert fault([path], tmp_path / "cache", columns=("nested",)).reason == "UNSUPPORTED_TYPE"


@pytest.mark.parametrize("form", FORMS)
def test_where_of_a_load_means_what_it_means_to_a_job(tmp_path: Path, form: str) -> None:
    """NULL and NaN included; the rows are in the cache, and a note says why."""
    source = load([write(tmp_path / f"t.{form}", FLAT)], tmp_path / "cache")
    for where in (
        "a > 1",
        "NOT (a > 1)",
        "a <> 2 OR b = 'x'",
        "b IS NULL",
        "c > 1000",
        "c >= 20 AND b = 'x'",
    ):
        table = load([tmp_path / f"t.{form}"], tmp_path / "cache", where=where, columns=("b", "c"))
        assert not table.in_place
        wanted = rows_of(source, ("b", "c"), where)
        assert rows_of(table).equals(wanted.cast(rows_of(table).schema)), where
        assert table.rows == wanted.num_rows
        if form in {"parquet", "arrow"}:
            assert table.notes == (
                "The table is in the cache, and not read in place, because where chooses its rows.",
            )
    assert fault([tmp_path / f"t.{form}"], tmp_path / "cache", where="d > 1").reason == "UNKNOWN_COLUMN"
    assert fault([tmp_path / f"t.{form}"], tmp_path / "cache", where="a >").reason == "EXPRESSION_SYNTAX"


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_what_could_stay_in_place_goes_to_the_cache_if_asked(tmp_path: Path, form: str) -> None:
    """Columns that cannot be read stay in the schema, and are refused by name when used, as in place."""
    path = write(tmp_path / f"t.{form}", ROWS)
    table = load([path], tmp_path / "cache", disk_cache=True)
    assert (table.in_place, table.notes, table.rows) == (False, (), 5)
    assert Path(table.files[0].path).parent == tmp_path / "cache"
    assert [file.path for file in table.sources] == [str(path)]
    path.unlink()
    assert TableReader().head(table, 9).select(["b", "c"]) == FLAT.select(["b", "c"])
    with pytest.raises(ScorestreamError, match="nested"):
        rows_of(table)


def hive(top: Path, form: str) -> list[tuple[str, pa.Table]]:
    made = []
    for year in (2023, 2024):
        for month, region in (("01", "north"), ("02", NULL), ("03", "a%2Fb c")):
            rows = pa.table({"x": pa.array([float(year), float(month)])})
            name = f"year={year}/month={month}/region={region}/x.{form}"
            write(top / name, rows)
            made.append((name, rows))
    return made


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("disk_cache", [False, True])
def test_d2_directories_of_hive_give_columns(tmp_path: Path, form: str, disk_cache: bool) -> None:
    hive(tmp_path / "s", form)
    table = load(DataRoots([tmp_path]).inputs(["s"]), tmp_path / "cache", disk_cache=disk_cache)
    assert table.in_place is (form in {"parquet", "arrow"} and not disk_cache)
    rows = rows_of(table)
    assert rows.schema == pa.schema(
        [
            ("x", rows.schema.field("x").type),
            ("year", pa.int64()),
            ("month", pa.int64()),
            ("region", pa.string()),
        ]
    )
    assert rows.column("year").to_pylist() == [2023] * 6 + [2024] * 6
    assert rows.column("month").to_pylist() == [1, 1, 2, 2, 3, 3] * 2
    assert rows.column("region").to_pylist() == ["north", "north", None, None, "a/b c", "a/b c"] * 2
    assert rows_of(table, ("month", "year")).column("month").to_pylist() == [1, 1, 2, 2, 3, 3] * 2
    assert rows_of(table, ()).num_columns == 0
    picked = rows_of(table, ("x",), "region = 'north' AND year = 2024")
    assert picked.column("x").to_pylist() == [2024, 1]
    assert rows_of(table, ("year",), "region IS NULL AND x > 2").num_rows == 2
    chosen = load(
        DataRoots([tmp_path]).inputs(["s"]),
        tmp_path / "cache",
        where="month = 3 AND x < 2024",
        columns=("year", "x"),
    )
    assert rows_of(chosen).to_pylist() == [
        {"year": 2023, "x": 2023},
        *[{"year": y, "x": 3} for y in (2023, 2024)],
    ]
    only = load(DataRoots([tmp_path]).inputs(["s"]), tmp_path / "cache", where="month = 3", columns=("year",))
    assert rows_of(only).column("year").to_pylist() == [2023, 2023, 2024, 2024]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_files_whose_directories_exclude_them_are_not_opened(tmp_path: Path, form: str) -> None:
    """Broken ones are no hindrance then."""
    for name, _ in hive(tmp_path / "s", form):
        if "year=2023/month=02" in name and form == "csv":  # not the first, of which all take their columns
            (tmp_path / "s" / name).write_text("x\n1\n1,2,3\n")
    inputs = DataRoots([tmp_path]).inputs(["s"])
    if form == "csv":
        assert load(inputs, tmp_path / "cache", where="year = 2024").rows == 6
        assert fault(inputs, tmp_path / "cache", where="year >= 2023").reason == "CSV_BROKEN_LINE"
        return
    table = load(inputs, tmp_path / "cache")
    for file in table.files:
        if "year=2023" in file.path:
            stat = Path(file.path).stat()
            Path(file.path).write_bytes(b"x" * file.size)
            os.utime(file.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert rows_of(table, ("x",), "year = 2024").num_rows == 6
    with pytest.raises(ScorestreamError, match="year=2023"):
        rows_of(table, ("x",), "year = 2023")


def test_directories_that_do_not_fit_together_are_named(tmp_path: Path) -> None:
    for name in ("m/a=1/x.csv", "m/a=1/b=2/y.csv", "c/v=1/x.csv", "t/a=1/a=2/x.csv"):
        write(tmp_path / name, pa.table({"v": [1]}))
    roots = DataRoots([tmp_path])
    error = fault(roots.inputs(["m"]), tmp_path / "cache")
    assert error.reason == "MIXED_PARTITIONS"
    assert [one.field for one in error.faults] == ["a=1/x.csv"]
    error = fault(roots.inputs(["c"]), tmp_path / "cache")
    assert (error.reason, [one.field for one in error.faults]) == ("PARTITION_CLASH", ["v"])
    assert fault(roots.inputs(["t"]), tmp_path / "cache").reason == "MIXED_PARTITIONS"
    assert load(roots.inputs(["m/a=1/b=2/y.csv"]), tmp_path / "cache").rows == 1


def test_columns_that_differ_are_named_with_the_file_below_the_directory(tmp_path: Path) -> None:
    for form in ("parquet", "csv"):
        write(tmp_path / form / f"k=1/x.{form}", pa.table({"v": [1]}))
        write(tmp_path / form / f"k=2/x.{form}", pa.table({"w": [1]}))
        with pytest.raises(ScorestreamError, match=f"k=2/x.{form}") as caught:
            load(DataRoots([tmp_path]).inputs([f"{form}/*/x.{form}"]), tmp_path / "cache")
        assert caught.value.reason == "SCHEMA_MISMATCH"


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.integers(-(1 << 63), (1 << 63) - 1),
            st.text(st.characters(codec="utf-8"), max_size=9),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_values_of_directories_are_whole_numbers_only_where_all_are(values: list[int | str | None]) -> None:
    files = [InputFile("/x", keys=(("k", NULL if value is None else str(value)),)) for value in values]
    schema, constants = hive_columns(files)
    found = [dict(one)["k"] for one in constants]
    if pa.types.is_int64(schema.field("k").type):
        assert all(one is None or isinstance(one, int) for one in found)
        assert any(one is not None for one in found)
        assert [None if one is None else int(str(one)) for one in values] == found
    else:
        assert [None if one is None or one == NULL else str(one) for one in values] == found


def test_hive_columns_are_as_arrow_reads_them(tmp_path: Path) -> None:
    rows = pa.table(
        {"x": range(40), "year": [2020 + n % 4 for n in range(40)], "kind": [f"k/{n % 3}" for n in range(40)]}
    )
    ds.write_dataset(
        rows, tmp_path / "d", format="parquet", partitioning=["year", "kind"], partitioning_flavor="hive"
    )
    table = load(DataRoots([tmp_path]).inputs(["d"]), tmp_path / "cache")
    assert rows_of(table).sort_by("x") == rows


NAMES = st.sampled_from(["a", "b", "ab", "_a", ".b", "*", "a*", "?", "[ab]", "**"])


@given(
    st.lists(NAMES, min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "ab", "_a", ".b"]), min_size=1, max_size=4),
)
def test_patterns_at_uris_mean_what_they_mean_on_this_machine(pattern: list[str], parts: list[str]) -> None:
    """`stands_for`, which looks at names, agrees with the walk, which looks at files."""
    if pattern.count("**") > 1:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, *parts, "x.csv")
        path.parent.mkdir(parents=True)
        path.touch()
        literal = [part for part in pattern if part]
        try:
            found = DataRoots([Path(folder)]).inputs(["/".join(literal)])
        except ScorestreamError:
            found = ()
        wanted = stands_for(tuple(pattern), (*parts, "x.csv"))
        if any(letter in "".join(pattern) for letter in "*?["):
            assert bool(found) == wanted, (pattern, parts)


def test_patterns_are_looked_for_under_the_data_roots_alone(tmp_path: Path) -> None:
    for name in (
        "a/2024-1/part-1.csv",
        "a/2024-1/part-0.csv",
        "a/2024-2/part-0.csv",
        "a/2023-1/part-0.csv",
        "s/part-9.csv",
    ):
        write(tmp_path / name, pa.table({"v": [1]}))
    (tmp_path / "a/2024-1/notes.txt").touch()
    (tmp_path / "a/linked").symlink_to(tmp_path / "a/2023-1")
    roots = DataRoots([tmp_path / "b", tmp_path / "a"])

    def names(text: str) -> list[str]:
        return [str(Path(file.path).relative_to(tmp_path / "a")) for file in roots.inputs([text])]

    assert names("2024-*/part-*.csv") == ["2024-1/part-0.csv", "2024-1/part-1.csv", "2024-2/part-0.csv"]
    assert names("2024-[2]/*") == ["2024-2/part-0.csv"]
    assert names("2024-*") == names("2024-*/part-?.csv")
    assert names(str(tmp_path / "a/**/part-0.csv")) == [
        "2023-1/part-0.csv",
        "2024-1/part-0.csv",
        "2024-2/part-0.csv",
    ]
    assert names("l*/*.csv") == ["2023-1/part-0.csv"]
    for text, reason in {
        "*.parquet": "FILE_NOT_FOUND",
        "../s/*.csv": "FILE_NOT_FOUND",
        str(tmp_path / "s/*.csv"): "PATH_OUTSIDE_DATA_ROOTS",
        "*/../../s/part-9.csv": "INVALID_PATH",
        "**/**/x.csv": "INVALID_PATH",
    }.items():
        with pytest.raises(ScorestreamError) as caught:
            roots.inputs([text])
        assert caught.value.reason in {reason, "PATH_OUTSIDE_DATA_ROOTS"}, text
    (tmp_path / "a/out").symlink_to(tmp_path / "s")
    with pytest.raises(ScorestreamError) as caught:
        roots.inputs(["o*/*.csv"])
    assert caught.value.reason == "PATH_OUTSIDE_DATA_ROOTS"
    write(tmp_path / "a/odd[1].csv", pa.table({"v": [1]}))
    assert names("odd[1].csv") == ["odd[1].csv"]


def test_tables_of_before_have_no_constants(tmp_path: Path) -> None:
    """What older servers stored is read."""
    old = (
        b'{"fragments":[{"path":"/x.arrow","format":"arrow","part":0,"rows":5,"bytes":9}],"files":[{"path":"/x.arrow",'
        b'"size":1,"mtime_ns":2}],"sources":[],"schema":"","rows":5,"format":"arrow","in_place":true,"notes":[]}'
    )
    assert msgspec.json.decode(old, type=TableData).fragments[0].constants == ()
    hive(tmp_path / "s", "parquet")
    table = load(DataRoots([tmp_path]).inputs(["s"]), tmp_path / "cache")
    assert msgspec.json.decode(msgspec.json.encode(table), type=TableData) == table
    assert table.format is FileFormat.PARQUET


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "arrow"])
def test_many_files_are_loaded_step_by_step_and_can_be_cancelled_at_each(tmp_path: Path, form: str) -> None:
    count = 300
    for number in range(count):
        write(tmp_path / f"s/k={number % 7}/{number:03}.{form}", pa.table({"v": [number]}))
    inputs = DataRoots([tmp_path]).inputs(["s"])
    steps = last = 0

    def cancelled() -> bool:
        nonlocal steps
        steps += 1
        return steps == last

    (tmp_path / "cache").mkdir()
    table = load_table(inputs, tmp_path / "cache", cancelled=cancelled)
    assert sorted(rows_of(table).column("v").to_pylist()) == list(range(count))
    assert steps >= count
    kept = list((tmp_path / "cache").iterdir())
    for at in (1, steps // 2, steps):
        steps, last = 0, at
        with pytest.raises(ScorestreamError) as caught:
            load_table(inputs, tmp_path / "cache", cancelled=cancelled)
        assert caught.value.reason == "CANCELLED"
        assert list((tmp_path / "cache").iterdir()) == kept
