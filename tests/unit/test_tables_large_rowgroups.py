"""Row groups that do not fit into memory: each row once whatever the cut and the order, early, in bounded memory."""

import gc
import itertools
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.table import TableData
from scorestream_server.tables import large_rowgroups, parquet_reading
from scorestream_server.tables.large_rowgroups import Decoding, LargeRowGroup
from scorestream_server.tables.parquet_files import open_parquet
from scorestream_server.tables.parquet_reading import Scratch
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table

ROWS = 100


class Source:
    """Rows 0 to `ROWS` in pieces of this size; knows how many were decoded."""

    def __init__(self, piece: int = 10, breaks_at: int = ROWS) -> None:
        self.decoded = 0
        self.pieces = self._pieces(piece, breaks_at)

    def _pieces(self, size: int, breaks_at: int) -> Iterator[pa.RecordBatch]:
        for start in range(0, ROWS, size):
            if start >= breaks_at:
                raise OSError("the disk is gone")
            end = min(start + size, ROWS)
            self.decoded = end
            yield pa.record_batch({"x": np.arange(start, end), "s": [str(at) for at in range(start, end)]})


def rows_of(batches: Iterator[pa.RecordBatch] | None) -> list[int]:
    assert batches is not None
    found = [row for batch in batches for row in batch.to_pylist()]
    assert all(row["s"] == str(row["x"]) for row in found)
    return [row["x"] for row in found]


@settings(deadline=None)
@given(
    piece=st.integers(1, ROWS),
    cuts=st.sets(st.integers(1, ROWS - 1)),
    order=st.randoms(use_true_random=False),
    taken_bytes=st.sampled_from([0, 200, 1 << 20]),
    kept_bytes=st.sampled_from([0, 200, 1 << 20]),
    others_are_open=st.booleans(),
)
def test_each_row_is_read_once_whatever_the_cut_and_the_order(
    tmp_path_factory: pytest.TempPathFactory,
    piece: int,
    cuts: set[int],
    order: random.Random,
    taken_bytes: int,
    kept_bytes: int,
    others_are_open: bool,
) -> None:
    folder = tmp_path_factory.mktemp("scratch")
    decoding = Decoding()
    while others_are_open and decoding.by_and_by.acquire(blocking=False):
        pass
    parts = list(itertools.pairwise([0, *sorted(cuts), ROWS]))
    order.shuffle(parts)
    group = LargeRowGroup(Source(piece).pieces, ROWS, folder, decoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_rowgroups, "TAKEN_BYTES", taken_bytes)
        patch.setattr(large_rowgroups, "KEPT_BYTES", kept_bytes)
        for start, end in parts:
            assert rows_of(group.read(start, end - start)) == list(range(start, end))
    assert list(folder.iterdir()) == []


def test_lanes_that_read_at_once_get_their_own_rows(tmp_path: Path) -> None:
    source = Source(7)
    group = LargeRowGroup(source.pieces, ROWS, tmp_path, Decoding())
    gate = threading.Barrier(10)

    def lane(start: int) -> list[int]:
        gate.wait()
        return rows_of(group.read(start, 10))

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lane, range(0, ROWS, 10)))
    assert list(itertools.chain(*found)) == list(range(ROWS))


def test_first_rows_come_before_the_others_are_decoded(tmp_path: Path) -> None:
    source = Source()
    group = LargeRowGroup(source.pieces, ROWS, tmp_path, Decoding())
    assert rows_of(group.read(0, 15)) == list(range(15))
    assert source.decoded == 20
    assert rows_of(group.read(15, 15)) == list(range(15, 30))
    assert source.decoded == 30


def test_of_several_row_groups_two_stay_open_and_the_next_takes_the_place_of_one_that_is_done(
    tmp_path: Path,
) -> None:
    decoding = Decoding()
    sources = [Source() for _ in range(5)]
    groups = [LargeRowGroup(source.pieces, ROWS, tmp_path, decoding) for source in sources[:4]]
    for group in groups:
        assert rows_of(group.read(0, 10)) == list(range(10))
    assert [source.decoded for source in sources[:4]] == [10, 10, ROWS, ROWS]
    assert rows_of(groups[0].read(10, 90)) == list(range(10, ROWS))
    last = LargeRowGroup(sources[4].pieces, ROWS, tmp_path, decoding)
    assert rows_of(last.read(0, 10)) == list(range(10))
    assert sources[4].decoded == 10


def free_places(decoding: Decoding) -> int:
    return sum(decoding.by_and_by.acquire(blocking=False) for _ in range(3))


def test_a_row_group_that_is_dropped_in_the_middle_makes_way(tmp_path: Path) -> None:
    decoding = Decoding()
    group = LargeRowGroup(Source().pieces, ROWS, tmp_path, decoding)
    assert rows_of(group.read(50, 10)) == list(range(50, 60))
    del group
    gc.collect()
    assert free_places(decoding) == 2


def test_rows_that_were_taken_are_not_given_again(tmp_path: Path) -> None:
    group = LargeRowGroup(Source().pieces, ROWS, tmp_path, Decoding())
    rows_of(group.read(10, 10))
    assert group.read(10, 10) is None
    assert group.read(5, 10) is None
    assert rows_of(group.read(0, 10)) == list(range(10))


def test_a_failure_reaches_everyone_who_needs_later_rows_and_makes_way(tmp_path: Path) -> None:
    decoding = Decoding()
    group = LargeRowGroup(Source(10, breaks_at=50).pieces, ROWS, tmp_path, decoding)
    for start in (60, 90):
        with pytest.raises(OSError, match="the disk is gone"):
            group.read(start, 10)
    assert rows_of(group.read(20, 10)) == list(range(20, 30))
    assert free_places(decoding) == 2


@pytest.fixture
def large(tmp_path: Path) -> TableData:
    """Return a table of one row group of 32 MB."""
    pq.write_table(
        pa.table({"x": np.arange(4_000_000)}),
        tmp_path / "t.parquet",
        row_group_size=4_000_000,
        compression="none",
    )
    return load_table([tmp_path / "t.parquet"], tmp_path)


@pytest.mark.parametrize("step", [1, 2], ids=["in order", "every second one first"])
def test_memory_is_bounded_and_the_row_group_is_decoded_once(
    tmp_path: Path, large: TableData, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(large_rowgroups, "TAKEN_BYTES", 1 << 20)
    monkeypatch.setattr(large_rowgroups, "KEPT_BYTES", 1 << 20)
    reader = TableReader(cache_bytes=1 << 20)
    opened: list[int] = []

    def spy(*args: Any) -> object:
        opened.append(1)
        return open_parquet(*args)

    monkeypatch.setattr(parquet_reading, "open_parquet", spy)
    partitions = plan_partitions(large, 200_000)
    before, peak, total, rows = pa.total_allocated_bytes(), 0, 0, 0
    for part in [*partitions[::step], *(partitions[1::step] if step > 1 else ())]:
        for batch in reader.read(large, part, ["x"], scratch=Scratch("job", tmp_path)):
            peak = max(peak, pa.total_allocated_bytes() - before)
            total += int(batch.column(0).to_numpy().sum())
            rows += batch.num_rows
    assert rows == 4_000_000
    assert total == sum(range(4_000_000))
    assert len(opened) == 1
    assert peak < 12 << 20
    assert len(reader._parquet._large) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_a_job_that_is_closed_in_the_middle_keeps_nothing(tmp_path: Path, large: TableData) -> None:
    reader = TableReader(cache_bytes=1 << 20)
    first, second, *_ = plan_partitions(large, 200_000)
    for job in ("cancelled", "other"):
        list(reader.read(large, second, ["x"], scratch=Scratch(job, tmp_path)))
    assert len(reader._parquet._large) == 2
    reader.forget("cancelled")
    assert len(reader._parquet._large) == 1
    found = list(reader.read(large, first, ["x"], scratch=Scratch("other", tmp_path)))
    assert pa.Table.from_batches(found)["x"].to_pylist() == list(range(first.rows))


def test_a_damaged_page_is_told_and_what_comes_before_it_can_be_read(
    tmp_path: Path, large: TableData
) -> None:
    path = Path(large.files[0].path)
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    data[half : half + (8 << 20)] = bytes(8 << 20)
    path.write_bytes(data)
    damaged = load_table([path], tmp_path)
    reader = TableReader(cache_bytes=1 << 20)
    scratch = Scratch("job", tmp_path)
    first, *_, last = plan_partitions(damaged, 200_000)
    for _ in range(2):
        with pytest.raises(ScorestreamError) as caught:
            list(reader.read(damaged, last, ["x"], scratch=scratch))
        assert caught.value.reason == "CORRUPT_DATA"
    rows = [batch.num_rows for batch in reader.read(damaged, first, ["x"], scratch=scratch)]
    assert sum(rows) == first.rows
