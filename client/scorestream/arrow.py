"""Arrow on the wire: what users hand in becomes plain record batch messages, messages become batches."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scorestream.errors import DataLossError, InvalidArgumentError

BATCH_BYTES = 1 << 20
MAX_BATCH_BYTES = 2 << 20


def reader_of(source: Any) -> pa.RecordBatchReader:
    """Return the rows of anything that speaks Arrow, without copying them where it can be avoided.

    Args:
        source: a pandas DataFrame (its index is left out), or any object with ``__arrow_c_stream__``: a
            pyarrow table, batch or reader, a polars DataFrame, ...

    Raises:
        InvalidArgumentError: it is none of these.
    """
    if type(source).__module__.split(".")[0] == "pandas":
        with _said("the data frame"):
            return pa.Table.from_pandas(source, preserve_index=False).to_reader()
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source]).to_reader()
    if hasattr(source, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(source)
    raise InvalidArgumentError(
        f"A table is a path on the server or an object with __arrow_c_stream__ (pyarrow, polars, pandas), "
        f"not a {type(source).__name__}.",
        reason="NOT_A_TABLE",
    )


def reads_again(source: Any) -> bool:
    """Whether `reader_of` gives all rows of this source again when it is asked a second time.

    A stream gives them once. Of other libraries' objects only those are counted that are known to hold rows.
    """
    library = type(source).__module__.split(".")[0]
    return isinstance(source, pa.Table | pa.RecordBatch) or library in {"pandas", "polars"}


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type without its encoding: no dictionaries, views, run ends, or 64-bit offsets."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    types, plain = pa.types, kind
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        plain = plain_type(kind.value_type)
    elif types.is_large_string(kind) or types.is_string_view(kind):
        plain = pa.string()
    elif types.is_large_binary(kind) or types.is_binary_view(kind):
        plain = pa.binary()
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_list_view(kind):
        plain = pa.list_(kind.value_field.with_type(plain_type(kind.value_type)))
    elif types.is_struct(kind):
        plain = pa.struct([field.with_type(plain_type(field.type)) for field in kind.fields])
    return plain


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with plain types and no metadata."""
    return pa.schema([pa.field(field.name, plain_type(field.type), field.nullable) for field in schema])


def plain_batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Yield a reader's rows as plain batches of about `BATCH_BYTES`, holding about one of them at a time.

    Small batches are put together, large ones are cut before they are converted.
    """
    schema = plain_schema(reader.schema)
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in reader:
        if batch.num_rows == 0:
            continue
        # A view's or a slice's own size may count shared buffers; it only steers where to cut.
        rows = max(1, batch.num_rows * BATCH_BYTES // max(batch.get_total_buffer_size(), 1))
        for start in range(0, batch.num_rows, rows):
            piece = _plain_batch(batch.slice(start, rows), schema)
            held.append(piece)
            size += piece.nbytes
            if size >= BATCH_BYTES:
                yield _joined(held)
                held, size = [], 0
    if held:
        yield _joined(held)


def upload_messages(reader: pa.RecordBatchReader) -> Iterator[bytes]:
    """Yield an upload's Arrow part: the schema message, then record batch messages of at most 2 MiB.

    A single row larger than that is sent as it is; the server says what its limit is.
    """
    schema = plain_schema(reader.schema)
    yield schema.serialize().to_pybytes()
    for batch in plain_batches(reader):
        yield from _encoded(batch)


class ResultReader:
    """Turns the messages of ReadResults into batches, in order, with no row lost or twice.

    Attributes:
        offset: the result row that comes next.
    """

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self._schema: pa.Schema | None = None

    def read(self, arrow_schema: bytes, arrow_batch: bytes, offset: int) -> pa.RecordBatch | None:
        """Return the rows of one message that were not there before, or None if it brings none.

        Args:
            arrow_schema: the schema message; empty in all but the first message of a stream.
            arrow_batch: the record batch message; empty where there are no rows.
            offset: the result row with which the batch begins.

        Raises:
            DataLossError: rows are missing before it, or it cannot be read.
        """
        with _said("a result", DataLossError):
            if arrow_schema:
                self._schema = pa.ipc.read_schema(pa.py_buffer(arrow_schema))
            if not arrow_batch:
                return None
            if self._schema is None:
                raise DataLossError("The server sent rows before their schema.", reason="NO_SCHEMA")
            batch = pa.ipc.read_record_batch(pa.py_buffer(arrow_batch), self._schema)
        if offset > self.offset:
            raise DataLossError(
                f"The server sent row {offset} where row {self.offset} was due.", reason="ROWS_MISSING"
            )
        fresh = batch.slice(self.offset - offset)
        if fresh.num_rows == 0:
            return None
        self.offset += fresh.num_rows
        return fresh


def schema_of(arrow_schema: bytes) -> pa.Schema:
    """Return an Arrow schema from its IPC message."""
    return pa.ipc.read_schema(pa.py_buffer(arrow_schema))


def table_of(arrow_stream: bytes) -> pa.Table:
    """Return the rows of an Arrow IPC stream."""
    with pa.ipc.open_stream(pa.py_buffer(arrow_stream)) as reader:
        return reader.read_all()


def _plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the batch with the types of `schema`."""
    columns = []
    for column, field in zip(batch.columns, schema, strict=True):
        with _said(f"column {field.name!r} of type {column.type}"):
            columns.append(_plain_array(column, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _plain_array(array: Any, kind: pa.DataType) -> Any:
    """Return the array with the plain type `kind`."""
    if array.type == kind:
        return array
    if isinstance(array, pa.ExtensionArray):
        return _plain_array(array.storage, kind)
    if pa.types.is_run_end_encoded(array.type):
        return _plain_array(pc.call_function("run_end_decode", [array]), kind)
    if pa.types.is_dictionary(array.type):
        return _plain_array(array.dictionary, kind).take(array.indices)
    return array.cast(kind)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the batches as one."""
    return (
        batches[0] if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    )


def _encoded(batch: pa.RecordBatch) -> Iterator[bytes]:
    """Yield the batch as one message, or as several where its rows are uneven and it is too large."""
    message = batch.serialize()
    if message.size <= MAX_BATCH_BYTES or batch.num_rows == 1:
        yield message.to_pybytes()
        return
    half = batch.num_rows // 2
    yield from itertools.chain(_encoded(batch.slice(0, half)), _encoded(batch.slice(half)))


@contextlib.contextmanager
def _said(
    what: str, kind: type[InvalidArgumentError | DataLossError] = InvalidArgumentError
) -> Iterator[None]:
    """Turn pyarrow's exceptions into one of ours that says what could not be converted."""
    try:
        yield
    except pa.ArrowException as error:
        raise kind(f"Arrow cannot read or convert {what}: {error}", reason="ARROW_CONVERSION") from error
