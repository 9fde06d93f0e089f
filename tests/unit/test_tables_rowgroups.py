"""Row groups that fit into memory are decoded once for all lanes that read a part of them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorestream_server.domain.table import Partition
from scorestream_server.tables import parquet_reading
from scorestream_server.tables.parquet_files import open_parquet
from scorestream_server.tables.parquet_reading import Scratch
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.rowgroups import RowGroupCache
from scorestream_server.tables.sources import load_table


def test_lanes_on_one_row_group_decode_it_once_and_it_goes_with_its_last_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"x": np.arange(8000.0)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=8000)
    loaded = load_table([tmp_path / "t.parquet"], tmp_path)
    partitions = plan_partitions(loaded, 1000)
    reader = TableReader()
    opened: list[int] = []

    def spy(*args: Any) -> Any:
        opened.append(1)
        return open_parquet(*args)

    monkeypatch.setattr(parquet_reading, "open_parquet", spy)
    gate = threading.Barrier(8)

    def lane(part: Partition) -> pa.Table:
        gate.wait()
        return pa.Table.from_batches(list(reader.read(loaded, part, ["x"], scratch=Scratch("job", tmp_path))))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lane, partitions))
    assert pa.concat_tables(found) == table
    assert len(opened) == 1
    assert len(reader._parquet._in_memory) == 0


def test_a_failed_decode_reaches_everyone_who_waits_and_is_tried_again() -> None:
    cache: RowGroupCache[str, pa.Table] = RowGroupCache(1000, lambda table: table.nbytes)
    with pytest.raises(OSError, match="gone"):
        cache.get("k", 1, lambda: (_ for _ in ()).throw(OSError("gone")))
    table = pa.table({"x": [1]})
    assert cache.get("k", 1, lambda: table) is table


def test_the_least_recently_used_row_group_goes_first() -> None:
    table = pa.table({"x": np.zeros(50)})  # 400 bytes
    cache: RowGroupCache[str, pa.Table] = RowGroupCache(900, lambda table: table.nbytes)
    decoded: list[str] = []

    def get(key: str) -> None:
        def decode() -> pa.Table:
            decoded.append(key)
            return table

        cache.get(key, 100, decode)

    for key in "abacab":
        get(key)
    assert "".join(decoded) == "abcb"
