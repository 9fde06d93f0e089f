"""Arrow on the wire: whatever comes in goes out plain, in small pieces; what comes back is complete."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scorestream
from scorestream import arrow


def received(source: object) -> tuple[pa.Table, list[int]]:
    """Return what a server reads of an upload, and the size of each message."""
    messages = list(arrow.upload_messages(arrow.reader_of(source)))
    schema = pa.ipc.read_schema(pa.py_buffer(messages[0]))
    batches = [pa.ipc.read_record_batch(pa.py_buffer(message), schema) for message in messages[1:]]
    for batch in batches:
        batch.validate(full=True)
    return pa.Table.from_batches(batches, schema=schema), [len(message) for message in messages[1:]]


STRINGS = ["a", None, "", "long enough not to be inlined in a view"]
ENCODED: dict[str, Any] = {
    "dictionary": pa.array(STRINGS).dictionary_encode(),
    "dictionary of views": pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1, 2], pa.int8()), pa.array([STRINGS[0], *STRINGS[2:]]).cast(pa.string_view())
    ),
    "string_view": pa.array(STRINGS).cast(pa.string_view()),
    "large_string": pa.array(STRINGS, pa.large_string()),
    "large_binary": pa.array([b"a", None, b"", b"b"], pa.large_binary()),
    "run_end_encoded": pa.RunEndEncodedArray.from_arrays(pa.array([1, 4], pa.int32()), pa.array([1.5, None])),
    "large_list": pa.array([[1], None, [], [2, 3]], pa.large_list(pa.int64())),
    "struct of dictionary": pa.StructArray.from_arrays([pa.array(STRINGS).dictionary_encode()], ["inner"]),
    "list of dictionary": pa.array([["a"], None, [], ["b"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
    "null": pa.nulls(4),
}


@pytest.mark.parametrize("name", ENCODED)
def test_encodings_arrive_plain(name: str) -> None:
    """The values stay, the encoding goes."""
    table, _ = received(pa.table({"c": ENCODED[name]}))
    assert table["c"].to_pylist() == ENCODED[name].to_pylist()
    assert arrow.plain_type(table["c"].type) == table["c"].type
    assert "dictionary" not in str(table["c"].type)


def test_a_data_frame_leaves_its_index_at_home() -> None:
    """A pandas frame with an odd index is sent as its columns alone."""
    frame = pd.DataFrame({"x": [1.0, 2.0], "s": ["a", None]}, index=["p", "q"])
    table, _ = received(frame)
    assert table.column_names == ["x", "s"]
    assert table["s"].to_pylist() == ["a", None]


def test_a_batch_and_a_reader_are_tables_too() -> None:
    """One record batch, or a reader that can be read once, will do."""
    batch = pa.record_batch({"x": [1, 2]})
    assert received(batch)[0].num_rows == 2
    assert received(pa.RecordBatchReader.from_batches(batch.schema, iter([batch, batch])))[0].num_rows == 4


def test_what_is_no_table_is_refused_with_its_type() -> None:
    """The error says what was given and what would do."""
    with pytest.raises(scorestream.InvalidArgumentError, match="not a int"):
        arrow.reader_of(3)


def test_pieces_are_of_even_size() -> None:
    """Large batches are cut, small ones are put together: messages have 1 to 2 MiB."""
    large = pa.table({"x": pa.array(range(1_000_000), pa.float64())})
    small = pa.Table.from_batches(large.to_batches(max_chunksize=1000))
    for source in (large, small):
        table, sizes = received(source)
        assert table.equals(large)
        assert max(sizes) <= arrow.MAX_BATCH_BYTES
        assert min(sizes[:-1]) >= arrow.BATCH_BYTES // 2


def test_uneven_rows_are_cut_by_their_real_size() -> None:
    """Rows that are large only here and there never make a message too large, unless one row is."""
    texts = ["x"] * 50_000 + ["y" * 700_000] * 6 + ["x"] * 50_000
    table, sizes = received(pa.table({"t": texts}))
    assert table["t"].to_pylist() == texts
    assert max(sizes) <= arrow.MAX_BATCH_BYTES


def test_a_reader_is_not_read_ahead() -> None:
    """Rows are taken as they are sent, not gathered first."""
    taken = 0
    one = pa.record_batch({"x": pa.array(range(200_000), pa.int64())})

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal taken
        for _ in range(50):
            taken += 1
            yield one

    messages = arrow.upload_messages(pa.RecordBatchReader.from_batches(one.schema, batches()))
    assert next(messages)
    assert taken == 0
    assert next(messages)
    assert taken <= 2


@given(
    st.lists(st.integers(min_value=0, max_value=6), max_size=12),
    st.data(),
)
def test_results_have_no_row_lost_or_twice(sizes: list[int], data: st.DataObject) -> None:
    """However a stream breaks off and begins again, also before what was read, each row comes once."""
    total = sum(sizes)
    start = data.draw(st.integers(min_value=0, max_value=total))
    reader = arrow.ResultReader(start)
    schema = pa.schema([("n", pa.int64())])
    rows: list[Any] = []
    for _ in range(20):
        offset = data.draw(st.integers(min_value=0, max_value=reader.offset))
        first = True
        for size in sizes:
            batch = pa.record_batch(
                [pa.array(range(offset, min(offset + size, total)), pa.int64())], schema=schema
            )
            head = schema.serialize().to_pybytes() if first else b""
            first = False
            found = reader.read(head, batch.serialize().to_pybytes() if batch.num_rows else b"", offset)
            rows += found.column(0).to_pylist() if found is not None else []
            offset += batch.num_rows
            if data.draw(st.booleans()):
                break
    assert rows == list(range(start, start + len(rows)))
    assert reader.offset == start + len(rows)


def test_a_gap_in_a_result_is_an_error() -> None:
    """Missing rows are never passed over in silence."""
    batch = pa.record_batch({"n": [1, 2]})
    reader = arrow.ResultReader(0)
    with pytest.raises(scorestream.DataLossError, match="row 5 where row 0 was due"):
        reader.read(batch.schema.serialize().to_pybytes(), batch.serialize().to_pybytes(), 5)


def test_rubbish_in_a_result_is_an_error() -> None:
    """Bytes that are no Arrow raise one of our errors."""
    with pytest.raises(scorestream.DataLossError):
        arrow.ResultReader(0).read(b"rubbish that is no schema", b"", 0)
    with pytest.raises(scorestream.DataLossError, match="before their schema"):
        arrow.ResultReader(0).read(b"", b"rubbish", 0)
