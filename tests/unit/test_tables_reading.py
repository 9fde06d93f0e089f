"""Any partitioning, any filter, any format: the rows that pyarrow itself reads, once each and in order."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.table import Fragment, Partition, TableData
from scorestream_server.tables import columns as columns_module
from scorestream_server.tables.conditions import Condition
from scorestream_server.tables.parquet_reading import ParquetReader, Scratch
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table

SCHEMA = pa.schema([("x", pa.float32()), ("i", pa.int64()), ("s", pa.string()), ("f", pa.bool_())])


SCRATCH = Scratch("job", Path(tempfile.gettempdir()))


def condition(expression: pc.Expression, *columns: str) -> Condition:
    return Condition(expression, columns)


def read_all(
    reader: TableReader,
    table: TableData,
    partitions: Sequence[Partition],
    columns: Sequence[str],
    where: Sequence[Condition] = (),
) -> pa.Table:
    batches = [
        batch for part in partitions for batch in reader.read(table, part, columns, where, scratch=SCRATCH)
    ]
    schema = pa.ipc.read_schema(pa.py_buffer(table.schema))
    return pa.Table.from_batches(
        batches, pa.schema([schema.field(name) for name in columns])
    ).combine_chunks()


ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(-4, 4, width=32), st.just(float("nan"))),
        st.one_of(st.none(), st.integers(-5, 5)),
        st.one_of(st.none(), st.sampled_from(["", "a", "bb", "é" * 20])),
        st.one_of(st.none(), st.booleans()),
    ),
    max_size=60,
)
X, N, S, F = (pc.field(name) for name in "xisf")
CONDITIONS = st.sampled_from(
    [
        condition(X > 0.5, "x"),
        condition(~(X > 0.5), "x"),
        condition(X != 1.0, "x"),
        condition(X.is_null(), "x"),
        condition(pc.is_nan(X), "x"),
        condition(N == 2, "i"),
        condition((N < -3) | (X > 3), "i", "x"),
        condition(S == "a", "s"),
        condition(S.isin(["bb", "zz"]), "s"),
        condition(F, "f"),
        condition(N * 2 + X > 100, "i", "x"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    files=st.lists(ROWS, min_size=1, max_size=3),
    form=st.sampled_from(["parquet", "arrow", "dictionary", "lz4"]),
    group=st.integers(1, 30),
    target=st.integers(1, 70),
    chosen=st.lists(st.sampled_from(SCHEMA.names), unique=True),
    where=st.lists(CONDITIONS, max_size=2),
    cache_bytes=st.sampled_from([0, 400, 1 << 20]),
)
def test_reading_is_what_pyarrow_reads(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[Any]],
    form: str,
    group: int,
    target: int,
    chosen: list[str],
    where: list[Condition],
    cache_bytes: int,
) -> None:
    folder = tmp_path_factory.mktemp("read")
    parts = []
    paths = []
    for at, rows in enumerate(files):
        part = pa.table(
            [pa.array([row[k] for row in rows], SCHEMA.field(k).type) for k in range(4)], schema=SCHEMA
        )
        parts.append(part)
        paths.append(folder / (f"{at}.parquet" if form == "parquet" else f"{at}.arrow"))
        if form == "parquet":
            pq.write_table(part, paths[-1], row_group_size=group)
            continue
        if form == "dictionary":
            part = part.set_column(2, "s", part.column("s").combine_chunks().dictionary_encode())
        options = pa.ipc.IpcWriteOptions(compression="lz4" if form == "lz4" else None)
        with (
            pa.OSFile(str(paths[-1]), "wb") as sink,
            pa.ipc.new_file(sink, part.schema, options=options) as writer,
        ):
            writer.write_table(part, max_chunksize=group)
    table = load_table(paths, folder)
    assert table.in_place == (form != "lz4" or not any(files))  # without batches nothing is compressed
    expected = pa.concat_tables(parts)
    for one in where:
        expected = expected.filter(one.expression)
    reader = TableReader(cache_bytes)
    found = read_all(reader, table, plan_partitions(table, target), chosen, where)
    if chosen:
        assert repr(found.to_pylist()) == repr(expected.select(chosen).to_pylist())  # repr: NaN equals NaN
    assert (
        len(reader._parquet._in_memory) == len(reader._parquet._large) == 0
    )  # every row was read, so nothing is kept


def test_no_columns_give_batches_that_still_count_their_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": range(10), "y": range(10)}), tmp_path / "t.parquet", row_group_size=3)
    table = load_table([tmp_path / "t.parquet"], tmp_path)
    (partition,) = plan_partitions(table, 100)
    batches = list(
        TableReader().read(table, partition, [], [condition(pc.field("y") > 4, "y")], scratch=SCRATCH)
    )
    assert [batch.num_columns for batch in batches] == [0] * len(batches)
    assert sum(batch.num_rows for batch in batches) == 5


def test_every_column_type_follows_the_rule_or_is_refused_by_name(tmp_path: Path) -> None:
    texts = ["a", None, "ccc"]
    table = pa.table(
        {
            "dict": pa.array(texts).dictionary_encode(),
            "dict_decimal": pa.array([1, None, 2], pa.decimal128(9, 2)).dictionary_encode(),
            "large": pa.array(texts, pa.large_string()),
            "view": pa.array(texts, pa.string_view()),
            "large_bytes": pa.array([b"a", None, b"c"], pa.large_binary()),
            "fixed_bytes": pa.array([b"a", None, b"c"], pa.binary(1)),
            "half": pa.array([1.5, None, 2.5], pa.float16()),
            "decimal": pa.array([1, None, 3], pa.decimal128(20, 4)),
            "null": pa.nulls(3),
            "day": pa.array([1, None, 3], pa.date32()),
            "list": pa.array([[1], None, []]),
            "struct": pa.array([{"a": 1}, None, {"a": 2}]),
        }
    )
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    loaded = load_table([tmp_path / "t.arrow"], tmp_path)
    rows = TableReader().head(loaded, 10)
    assert dict(zip(rows.column_names, map(str, rows.schema.types), strict=True)) == {
        "dict": "string",
        "dict_decimal": "double",
        "large": "string",
        "view": "string",
        "large_bytes": "binary",
        "fixed_bytes": "binary",
        "half": "float",
        "decimal": "double",
        "null": "double",
        "day": "date32[day]",
    }
    for name in ("dict", "large", "view"):
        assert rows.column(name).to_pylist() == texts
    assert rows.column("half").to_pylist() == [1.5, None, 2.5]
    assert rows.column("decimal").to_pylist() == [1.0, None, 3.0]
    with pytest.raises(ScorestreamError) as caught:
        TableReader().head(loaded, 10, ["day", "list", "struct"])
    assert caught.value.reason == "UNSUPPORTED_TYPE"
    assert [one.field for one in caught.value.faults] == ["list", "struct"]
    with pytest.raises(ScorestreamError, match="no column 'nope', 'nada'"):
        TableReader().head(loaded, 10, ["nope", "day", "nada"])


def test_a_short_dictionary_of_long_values_is_decoded_in_bounded_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns_module, "MAX_BATCH_BYTES", 1 << 20)
    wide = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5000, np.int8)), pa.array(["x" * 10_000]))
    table = pa.table({"s": wide, "v": pa.array(["y" * 10_000] * 5000, pa.string_view())})
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    pq.write_table(pa.table({"s": pa.array(["x" * 10_000] * 5000)}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    for name in ("t.arrow", "t.parquet"):
        loaded = load_table([tmp_path / name], tmp_path)
        (partition,) = plan_partitions(loaded, 10_000)
        before, rows = pa.total_allocated_bytes(), 0
        for batch in TableReader().read(loaded, partition, ["s"], scratch=SCRATCH):
            rows += batch.num_rows
            assert batch.nbytes <= 1 << 20
            assert pa.total_allocated_bytes() - before < 8 << 20
        assert rows == 5000


def test_arrow_rows_are_read_without_a_copy(tmp_path: Path) -> None:
    table = pa.table({"x": np.arange(200_000, dtype=np.float32)})
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=50_000)
    loaded = load_table([tmp_path / "t.arrow"], tmp_path)
    reader = TableReader()
    before = pa.total_allocated_bytes()
    batches = [
        batch
        for part in plan_partitions(loaded, 25_000)
        for batch in reader.read(loaded, part, ["x"], scratch=SCRATCH)
    ]
    assert pa.total_allocated_bytes() - before < 10_000
    assert pa.Table.from_batches(batches) == table


def test_row_groups_without_a_matching_row_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(
        pa.table({"k": range(1000), "x": np.zeros(1000)}), tmp_path / "t.parquet", row_group_size=100
    )
    loaded = load_table([tmp_path / "t.parquet"], tmp_path)
    read: list[int] = []
    real = ParquetReader._from_memory

    def spy(self: ParquetReader, file: Any, fragment: Fragment, *args: Any) -> Any:
        read.append(fragment.part)
        return real(self, file, fragment, *args)

    monkeypatch.setattr(ParquetReader, "_from_memory", spy)
    where = [condition(pc.field("k") == 555, "k"), condition(pc.field("x") == 0.0, "x")]
    found = read_all(TableReader(), loaded, plan_partitions(loaded, 50), ["k"], where)
    assert found.to_pydict() == {"k": [555]}
    assert set(read) == {5}


@pytest.mark.parametrize("change", ["append", "replace", "remove"])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_source_that_changed_is_noticed_before_and_after_reading(
    tmp_path: Path, form: str, change: str
) -> None:
    path = tmp_path / f"t.{form}"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("x", pa.int64())])) as writer:
        writer.write_table(pa.table({"x": range(10)}))
    if form == "parquet":
        pq.write_table(pa.table({"x": range(10)}), path)
    loaded = load_table([path], tmp_path)
    (partition,) = plan_partitions(loaded, 100)
    reader = TableReader()
    begun = reader.read(loaded, partition, ["x"], scratch=SCRATCH)
    assert next(begun).num_rows == 10
    if change == "append":
        with path.open("ab") as file:
            file.write(b"x")
    elif change == "replace":
        other = tmp_path / "other"
        other.write_bytes(path.read_bytes())
        other.replace(path)
    else:
        path.unlink()
    for call in (lambda: next(begun), lambda: list(reader.read(loaded, partition, ["x"], scratch=SCRATCH))):
        with pytest.raises(ScorestreamError) as caught:
            call()
        assert caught.value.reason == "SOURCE_CHANGED"
        assert caught.value.metadata["path"] == str(path)


def test_a_where_that_does_not_fit_the_types_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    pq.write_table(pa.table({"s": ["a"]}), tmp_path / "t.parquet")
    loaded = load_table([tmp_path / "t.parquet"], tmp_path)
    (partition,) = plan_partitions(loaded, 10)
    with pytest.raises(ScorestreamError) as caught:
        list(
            TableReader().read(
                loaded, partition, ["s"], [condition(pc.field("s") * 2 > 1, "s")], scratch=SCRATCH
            )
        )
    assert caught.value.reason == "WHERE_NOT_APPLICABLE"


def test_head_stops_early_and_takes_rows_over_fragment_borders(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": range(100), "y": range(100)}), tmp_path / "t.parquet", row_group_size=7)
    loaded = load_table([tmp_path / "t.parquet"], tmp_path)
    assert TableReader().head(loaded, 20, ["y"]).to_pydict() == {"y": list(range(20))}
    assert TableReader().head(loaded, 0).num_rows == 0
    assert TableReader().head(loaded, 1000).num_rows == 100


def test_a_parquet_footer_that_lies_about_its_rows_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": range(100)}), path)
    loaded = load_table([path], tmp_path)
    for rows in (99, 10**12):
        (fragment,) = loaded.fragments
        lie = dataclasses.replace(fragment, rows=rows, bytes=rows * 8)
        table = dataclasses.replace(loaded, fragments=(lie,), rows=rows)
        with pytest.raises(ScorestreamError) as caught:
            read_all(TableReader(), table, plan_partitions(table, rows), ["x"])
        assert caught.value.reason == "CORRUPT_DATA"
