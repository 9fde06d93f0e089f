"""Every type that Arrow has is read by the rule of `tables/columns.py`, or refused by name when it is used."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.table import LoadOptions
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table

NOON = dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
REFUSED = None

# A type, values of it, and what it is read as: itself where that is left out, REFUSED where it is not.
CASES: list[tuple[pa.DataType, list[Any], pa.DataType | None]] = [
    *((kind, [True, None], kind) for kind in (pa.bool_(),)),
    *((kind, [1, None], kind) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
    *((kind, [1, None], kind) for kind in (pa.uint8(), pa.uint16(), pa.uint32())),
    (pa.uint64(), [2**64 - 1, None], pa.uint64()),
    (pa.float16(), [0.5, None], pa.float32()),
    (pa.float32(), [0.5, None], pa.float32()),
    (pa.float64(), [0.5, None], pa.float64()),
    (pa.null(), [None, None], pa.float64()),
    *((kind, [Decimal("1.50"), None], pa.float64()) for kind in (pa.decimal32(5, 2), pa.decimal64(12, 2))),
    *((kind, [Decimal("1.50"), None], pa.float64()) for kind in (pa.decimal128(30, 2), pa.decimal256(60, 2))),
    *((kind, ["x", None], pa.string()) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    *((kind, [b"x", None], pa.binary()) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
    (pa.binary(3), [b"abc", None], pa.binary()),
    *((kind, [NOON.date(), None], kind) for kind in (pa.date32(), pa.date64())),
    *((kind, [dt.time(1, 2, 3), None], kind) for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"))),
    (pa.time64("ns"), [dt.time(1, 2, 3), None], pa.time64("ns")),
    *(
        (pa.timestamp(unit), [NOON.replace(tzinfo=None), None], pa.timestamp(unit))
        for unit in ("s", "ms", "us", "ns")
    ),
    *(
        (pa.timestamp(unit, "Europe/Berlin"), [NOON, None], pa.timestamp(unit, "Europe/Berlin"))
        for unit in ("s", "ns")
    ),
    *((pa.duration(unit), [DAY, None], pa.duration(unit)) for unit in ("s", "ms", "us", "ns")),
    (pa.dictionary(pa.int8(), pa.string()), ["x", None], pa.string()),
    (pa.dictionary(pa.int32(), pa.decimal128(9, 2)), [Decimal("1.50"), None], pa.float64()),
    (pa.dictionary(pa.int32(), pa.timestamp("us")), [NOON.replace(tzinfo=None), None], pa.timestamp("us")),
    (pa.list_(pa.int8()), [[1], None], REFUSED),
    (pa.large_list(pa.int8()), [[1], None], REFUSED),
    (pa.list_(pa.int8(), 1), [[1], None], REFUSED),
    (pa.list_view(pa.int8()), [[1], None], REFUSED),
    (pa.large_list_view(pa.int8()), [[1], None], REFUSED),
    (pa.struct([("v", pa.int8())]), [{"v": 1}, None], REFUSED),
    (pa.map_(pa.string(), pa.int8()), [[("k", 1)], None], REFUSED),
    (pa.month_day_nano_interval(), [(1, 2, 3), None], REFUSED),
    (pa.run_end_encoded(pa.int32(), pa.float64()), [0.5, 0.5], REFUSED),
    (pa.uuid(), [b"0123456789abcdef", None], REFUSED),
    (pa.json_(), ['{"a": 1}', None], REFUSED),
    (pa.bool8(), [1, 0], REFUSED),
    (pa.opaque(pa.binary(), "type", "vendor"), [b"x", None], REFUSED),
    (pa.fixed_shape_tensor(pa.int8(), [1]), [[1], None], REFUSED),
]
UNIONS = [
    pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])]),
    pa.UnionArray.from_dense(pa.array([0, 0], pa.int8()), pa.array([0, 1], pa.int32()), [pa.array([1, 2])]),
]


def column(kind: pa.DataType, values: list[Any]) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, kind)


COLUMNS = [
    *((column(kind, values), read_as) for kind, values, read_as in CASES),
    *((union, REFUSED) for union in UNIONS),
]


def test_the_cases_have_every_type_that_arrow_can_make() -> None:
    """A new one of Arrow's makes this fail, so that somebody decides about it."""
    have = {array.type.id for array, _ in COLUMNS}
    missing = {name for name, value in vars(pa.lib).items() if name.startswith("Type_") and value not in have}
    assert missing <= {"Type_INTERVAL_MONTHS", "Type_INTERVAL_DAY_TIME"}  # Python cannot make them


@pytest.mark.parametrize("converted", [False, True], ids=["in place", "converted"])
@pytest.mark.parametrize(("values", "read_as"), COLUMNS, ids=[str(values.type) for values, _ in COLUMNS])
@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_a_type_is_read_by_the_rule_or_refused_by_name(
    tmp_path: Path, form: str, values: pa.Array, read_as: pa.DataType | None, converted: bool
) -> None:
    rows = pa.table({"n": [1, 2], "odd": values})
    path = tmp_path / f"t.{form}"
    if form == "arrow":
        with pa.ipc.new_file(str(path), rows.schema) as writer:
            writer.write_table(rows)
    else:
        try:
            pq.write_table(rows, path)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            return  # Parquet has no such type
        stored = pq.read_schema(path).field("odd").type
        if stored != values.type:  # what Parquet made of it has a case of its own
            return
    table = load_table([path], tmp_path, LoadOptions(disk_cache=converted))
    assert table.in_place is not converted
    (part,) = plan_partitions(table, 10)

    def read(*names: str) -> pa.Table:
        return pa.Table.from_batches(TableReader().read(table, part, names, scratch=None))

    assert read("n").column("n").to_pylist() == [1, 2]
    if read_as is REFUSED:
        with pytest.raises(ScorestreamError) as caught:
            read("n", "odd")
        assert caught.value.reason == "UNSUPPORTED_TYPE"
        assert [fault.field for fault in caught.value.faults] == ["odd"]
        # Without what is in it, for which Parquet has names of its own.
        assert f"'odd' ({str(values.type).partition('<')[0]}" in caught.value.message
        with pytest.raises(ScorestreamError, match="odd"):
            load_table([path], tmp_path, LoadOptions(columns=("odd",), disk_cache=converted))
        return
    found = read("odd").column("odd")
    assert found.type == read_as
    wanted = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    assert found.to_pylist() == wanted.cast(read_as).to_pylist()
