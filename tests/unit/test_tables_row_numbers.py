"""Numbers of rows: each row of a table has one, whatever it lies in, however it is cut, and whatever a filter drops."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream_server.tables.conditions import Condition
from scorestream_server.tables.parquet_reading import Scratch
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table


def write_arrow(rows: pa.Table, path: Path, size: int) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=size)


WRITERS: dict[str, Callable[[pa.Table, Path, int], None]] = {
    "arrow": write_arrow,
    "parquet": lambda rows, path, size: pq.write_table(rows, path, row_group_size=size),
    "csv": lambda rows, path, _: pacsv.write_csv(rows, path),
}


@settings(deadline=None, max_examples=40)
@given(
    ending=st.sampled_from(sorted(WRITERS)),
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=3),
    group=st.integers(1, 150),
    partition_rows=st.integers(1, 500),
    least=st.one_of(st.none(), st.integers(0, 1200)),
    tiny=st.booleans(),
    columns=st.sampled_from([(), ("id",)]),
)
def test_d8_each_row_has_its_number_once(
    tmp_path_factory: pytest.TempPathFactory,
    ending: str,
    sizes: list[int],
    group: int,
    partition_rows: int,
    least: int | None,
    tiny: bool,
    columns: tuple[str, ...],
) -> None:
    """From all partitions together come the numbers of the rows that pass, in order, beside the rows' own values."""
    folder = tmp_path_factory.mktemp("rows")
    total, paths = 0, []
    for number, size in enumerate(sizes):
        paths.append(folder / f"{number}.{ending}")
        rows = pa.table(
            {"id": range(total, total + size), "x": [float(n) for n in range(total, total + size)]}
        )
        WRITERS[ending](rows, paths[-1], group)
        total += size
    table = load_table(paths, folder)
    where = [] if least is None else [Condition(pc.field("x") >= least, ("x",))]
    reader = TableReader(cache_bytes=1 if tiny else 1 << 20)
    numbers: list[int] = []
    for partition in plan_partitions(table, partition_rows):
        scratch = Scratch("job", folder)
        for batch in reader.read(table, partition, columns, where, scratch=scratch, row_number="row"):
            assert batch.schema.names == [*columns, "row"]
            assert batch.schema.field("row").type == pa.int64()
            if columns:
                assert batch["id"].equals(batch["row"])
            numbers += batch["row"].to_pylist()
    assert numbers == list(range(least or 0, total))
