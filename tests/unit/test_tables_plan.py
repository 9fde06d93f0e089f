"""A plan has every row once and in order, in partitions of the wanted size."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.table import FileFormat, Fragment, TableData
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.sources import load_table

SCHEMA = pa.schema([("x", pa.float32())])


def fake(fragments: Sequence[tuple[FileFormat, int, int]]) -> TableData:
    made = tuple(Fragment("f", form, at, rows, size) for at, (form, rows, size) in enumerate(fragments))
    rows = sum(fragment.rows for fragment in made)
    return TableData(made, (), (), SCHEMA.serialize().to_pybytes(), rows, FileFormat.PARQUET, in_place=True)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([FileFormat.ARROW, FileFormat.PARQUET]),
            st.integers(0, 5000),
            st.sampled_from([100, 1 << 40]),
        ),
        max_size=12,
    ),
    st.integers(1, 3000),
)
def test_a_plan_covers_every_row_once_and_in_order(
    fragments: list[tuple[FileFormat, int, int]], target: int
) -> None:
    table = fake(fragments)
    partitions = plan_partitions(table, target)
    at = 0
    covered: list[tuple[int, int]] = [(number, 0) for number, _ in enumerate(fragments)]
    for index, partition in enumerate(partitions):
        assert (partition.index, partition.first_row) == (index, at)
        assert partition.rows == sum(part.rows for part in partition.slices) > 0
        at += partition.rows
        for part in partition.slices:
            number, done = covered[part.fragment]
            assert part.offset == done
            assert part.rows > 0
            covered[part.fragment] = (number, done + part.rows)
        assert partition.rows <= target
    assert at == table.rows
    assert [done for _, done in covered] == [rows for _, rows, _ in fragments]
    flat = [part.fragment for partition in partitions for part in partition.slices]
    assert flat == sorted(flat)


def test_short_fragments_share_a_partition_and_long_ones_are_cut_whatever_their_size() -> None:
    small = plan_partitions(fake([(FileFormat.ARROW, 10, 1)] * 10), 100)
    assert [len(part.slices) for part in small] == [10]
    large = plan_partitions(fake([(FileFormat.PARQUET, 1001, 1 << 40)]), 100)
    assert sorted(part.rows for part in large) == [91] * 11


def test_a_table_and_its_partitions_survive_json_and_message_pack(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": [1.0]}), path)
    table = load_table([path], tmp_path)
    for value in (table, plan_partitions(table, 1)[0]):
        assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=type(value)) == value
