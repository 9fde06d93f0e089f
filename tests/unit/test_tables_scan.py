"""All rows of a table in place, for a copy of them: in order, whatever threads decode them."""

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.table import TableData
from scorestream_server.tables import scan
from scorestream_server.tables.sources import load_table
from scorestream_server.workers.opened import conditions

ROWS = 4_000
GROUP_ROWS = 100


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TableData:
    """Return a table in place of 40 row groups, in the order of `id`, which are read one by one."""
    monkeypatch.setattr(scan, "_RUN_BYTES", 1)
    path = tmp_path / "rows.parquet"
    pq.write_table(
        pa.table({"id": range(ROWS), "text": [f"text {at}" for at in range(ROWS)]}),
        path,
        row_group_size=GROUP_ROWS,
    )
    return load_table([path], tmp_path)


def never() -> bool:
    return False


@pytest.mark.parametrize("ahead", [0, 32 << 20])
def test_rows_come_in_order_whatever_is_decoded_ahead(
    table: TableData, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no row group fits into what may be decoded ahead, and its rest is decoded by who asks for it."""
    monkeypatch.setattr(scan, "_AHEAD_BYTES", ahead)
    where = conditions("id >= 950 AND id < 3050", pa.ipc.read_schema(pa.py_buffer(table.schema)))

    found = pa.Table.from_batches(scan.scanned(table, ["text", "id"], where, never))

    assert found.column("id").to_pylist() == list(range(950, 3050))
    assert found.column("text").to_pylist() == [f"text {at}" for at in range(950, 3050)]


def test_who_stops_early_leaves_no_thread(table: TableData) -> None:
    """A load that fails on a full disk is such a one."""
    before = threading.active_count()
    rows: Any = scan.scanned(table, ["id"], (), never)
    next(rows)

    rows.close()

    assert threading.active_count() == before


def test_a_row_group_that_is_damaged_ends_the_scan_where_it_is(table: TableData) -> None:
    """What lies before it comes first, and the error names the file."""
    path = Path(table.files[0].path)
    content = bytearray(path.read_bytes())
    at = pq.read_metadata(path).row_group(20).column(0).dictionary_page_offset
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)
    again = load_table([path], path.parent)
    rows = scan.scanned(again, ["id"], (), never)

    found: list[pa.RecordBatch] = []
    with pytest.raises(ScorestreamError, match=r"rows\.parquet") as caught:
        found.extend(rows)

    assert caught.value.reason == "CORRUPT_DATA"
    assert pa.Table.from_batches(found).num_rows == 20 * GROUP_ROWS


def test_a_cancelled_scan_ends_with_that(table: TableData) -> None:
    """It is asked before each row group."""
    with pytest.raises(ScorestreamError) as caught:
        list(scan.scanned(table, ["id"], (), lambda: True))

    assert caught.value.reason == "CANCELLED"
