"""Rows of a table come as asked for, in pieces that follow each other without a gap."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream_server.domain import rows as domain_rows
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.rows import OrderBy, RowCursor, RowQuery
from scorestream_server.domain.table import TableData
from scorestream_server.scoring.expression import compile_conditions
from scorestream_server.tables import rows as table_rows
from scorestream_server.tables.conditions import Condition
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.rows import readable_schema, write_rows
from scorestream_server.tables.sources import load_table

ROWS = 3_000
SORT_BYTES = 1 << 26


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    random = np.random.default_rng(5)
    score = random.normal(size=ROWS).round(1)
    return pa.table(
        {
            "id": np.arange(ROWS),
            "group": pa.array(
                [None if value == 3 else f"g,{value}" for value in random.integers(0, 5, ROWS)]
            ),
            "score": pa.array(score, mask=random.uniform(size=ROWS) < 0.1),
        }
    )


@pytest.fixture(scope="module")
def tables(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> list[TableData]:
    """The rows in Parquet row groups, in Arrow batches, and in one batch."""
    folder = tmp_path_factory.mktemp("rows")
    pq.write_table(rows, folder / "rows.parquet", row_group_size=700)
    for name, size in (("rows.arrow", 450), ("one.arrow", None)):
        with pa.ipc.new_file(str(folder / name), rows.schema) as writer:
            writer.write_table(rows.combine_chunks(), max_chunksize=size)
    return [load_table([folder / name], folder) for name in ("rows.parquet", "rows.arrow", "one.arrow")]


def read(
    table: TableData,
    path: Path,
    *,
    start: int = 0,
    limit: int | None = None,
    where: str = "",
    order_by: Sequence[OrderBy] = (),
    csv: bool = False,
    sort_bytes: int = SORT_BYTES,
    windows: list[int] | None = None,
) -> tuple[pa.Table, int]:
    """Read rows as the DataService does; return them, and in how many pieces they came."""
    query, pieces = RowQuery(where, tuple(order_by), csv, csv), 0
    conditions = (
        [Condition(*found) for found in compile_conditions(where, readable_schema(table))] if where else []
    )
    cursor = RowCursor.beginning(table, query, start, limit)
    reader, messages = TableReader(), list[bytes]()
    while not pieces or not cursor.ended(table):
        part, place = cursor.window(table, query)
        if windows is not None:
            windows.append(len(part.fragments))
        parts, reached = write_rows(
            reader, part, conditions, query, place, path, sort_bytes=sort_bytes, cancelled=lambda: False
        )
        with path.open("rb") as file:
            for one in parts:
                messages.append(file.read(one.bytes))
                if not csv:
                    batch = pa.ipc.read_record_batch(pa.py_buffer(messages[-1]), readable_schema(table))
                    assert batch.num_rows == one.rows
            assert not file.read()
        cursor, query, pieces = cursor.after(reached, query), query.without_header(), pieces + 1
    schema = readable_schema(table)
    if csv:
        return pacsv.read_csv(
            pa.BufferReader(b"".join(messages)),
            convert_options=pacsv.ConvertOptions(column_types=schema, strings_can_be_null=True),
        ), pieces
    batches = [pa.ipc.read_record_batch(pa.py_buffer(message), schema) for message in messages]
    return pa.Table.from_batches(batches, schema), pieces


QUERIES: dict[str, Any] = {
    "start": st.integers(0, ROWS + 5),
    "limit": st.none() | st.integers(0, ROWS + 5),
    "where": st.sampled_from(["", "score > 0.5", "\"group\" = 'g,1' AND id > 100", "id < 0"]),
    "order_by": st.lists(
        st.builds(OrderBy, st.sampled_from(["score", "group", "id"]), st.booleans()), max_size=2
    ),
    "csv": st.booleans(),
}
FILTERS = {
    "": pc.scalar(True),
    "score > 0.5": pc.field("score") > 0.5,
    "\"group\" = 'g,1' AND id > 100": (pc.field("group") == "g,1") & (pc.field("id") > 100),
    "id < 0": pc.field("id") < 0,
}


@settings(max_examples=120, deadline=None)
@given(
    which=st.integers(0, 2), piece=st.sampled_from([1, 20_000, 1 << 26]), asked=st.fixed_dictionaries(QUERIES)
)
def test_rows_are_those_that_arrow_gives(
    rows: pa.Table,
    tables: list[TableData],
    tmp_path_factory: pytest.TempPathFactory,
    which: int,
    piece: int,
    asked: Any,
) -> None:
    """Whatever is asked for, of whatever kind of table, in pieces of whatever size, as Arrow and as CSV."""
    wanted = rows.filter(FILTERS[asked["where"]])
    if asked["order_by"]:
        keys = [
            (order.column, "descending" if order.descending else "ascending") for order in asked["order_by"]
        ]
        wanted = wanted.take(pc.sort_indices(wanted, sort_keys=keys))
    wanted = wanted.slice(asked["start"], asked["limit"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_rows, "PIECE_BYTES", piece)
        patch.setattr(table_rows, "_STEP_ROWS", 500)
        patch.setattr(table_rows, "_ARROW_BYTES", 5_000)
        patch.setattr(table_rows, "_CSV_BYTES", 5_000)
        patch.setattr(domain_rows, "WINDOW_FRAGMENTS", 2)
        found, _ = read(tables[which], tmp_path_factory.getbasetemp() / "piece.tmp", **asked)
    assert found.combine_chunks() == wanted.combine_chunks()


def test_a_row_group_is_decoded_once(
    tables: list[TableData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces end where parts do; a worker is told of the parts that come next alone."""
    monkeypatch.setattr(table_rows, "PIECE_BYTES", 1)
    monkeypatch.setattr(domain_rows, "WINDOW_FRAGMENTS", 3)
    windows = list[int]()
    found, pieces = read(tables[0], tmp_path / "piece", windows=windows)
    assert found.num_rows == ROWS
    assert pieces == len(tables[0].fragments) == math.ceil(ROWS / 700)
    assert max(windows) == 3
    found, pieces = read(tables[0], tmp_path / "piece", start=2_900, limit=10)
    assert (found.num_rows, pieces) == (10, 1)


def test_an_order_of_few_needs_memory_for_few(
    tables: list[TableData], rows: pa.Table, tmp_path: Path
) -> None:
    """With a limit a table of any size is put in order; without, what does not fit is refused."""
    order = (OrderBy("score", descending=True),)
    small = rows.nbytes // 4
    wanted = rows.take(pc.sort_indices(rows, sort_keys=[("score", "descending")]))
    found, _ = read(tables[1], tmp_path / "piece", start=5, limit=10, order_by=order, sort_bytes=small)
    assert found.combine_chunks() == wanted.slice(5, 10).combine_chunks()
    for limit in (None, ROWS):
        with pytest.raises(ScorestreamError) as caught:
            read(tables[1], tmp_path / "piece", limit=limit, order_by=order, sort_bytes=small)
        assert caught.value.reason == "ORDER_TOO_LARGE"


def test_what_has_no_order_or_no_text_is_told(tmp_path: Path) -> None:
    """Columns of types that Arrow cannot sort or write as CSV are refused in words."""
    with pa.ipc.new_file(
        str(tmp_path / "odd.arrow"), pa.schema([("d", pa.duration("s")), ("b", pa.binary())])
    ) as writer:
        writer.write_table(
            pa.table([pa.array([1, 2], pa.duration("s")), pa.array([b"\xff", b"a"])], names=["d", "b"])
        )
    table = load_table([tmp_path / "odd.arrow"], tmp_path)
    assert read(table, tmp_path / "piece", order_by=[OrderBy("b", descending=False)])[0]["b"].to_pylist() == [
        b"a",
        b"\xff",
    ]
    for arguments, reason in (
        ({"csv": True}, "CSV_NOT_POSSIBLE"),
        ({"order_by": [OrderBy("x", descending=False)]}, "UNKNOWN_COLUMN"),
    ):
        with pytest.raises(ScorestreamError) as caught:
            read(table, tmp_path / "piece", **arguments)
        assert caught.value.reason == reason
