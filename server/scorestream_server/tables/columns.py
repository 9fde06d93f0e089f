"""The one rule for column types, and the batches that follow from it.

=============================  =============
type in the source             type here
=============================  =============
dictionary                     its values' type, by this table
large_string, string_view      string
large_binary, binary_view,
fixed_size_binary              binary
float16, decimals              float32, float64
null                           float64 (all null)
bool, integers, float32/64,
string, binary, dates, times,
timestamps, durations          unchanged
nested, extension, run-end
encoded, intervals             not readable: refused by name when used
=============================  =============

Sources are hostile: a dictionary or a view can stand for far more bytes than it takes, so a batch is
converted in slices whose decoded size is bounded.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyarrow import types as pat

from scorestream_server.domain.disk import unreadable
from scorestream_server.domain.errors import FieldFault, NoMemoryError, invalid

MAX_BATCH_ROWS = 131_072
"""No batch that a reader yields has more rows."""

MAX_BATCH_BYTES = 64 << 20
"""No batch takes more bytes once decoded, unless a single row does."""

READ_ERRORS = (pa.ArrowException, OSError, EOFError, KeyError, ValueError)
"""What Arrow's readers raise for damaged data (a damaged IPC message is an OSError, a damaged name a ValueError)."""

_UNCHANGED = (
    pat.is_boolean,
    pat.is_integer,
    pat.is_float32,
    pat.is_float64,
    pat.is_string,
    pat.is_binary,
    pat.is_date,
    pat.is_time,
    pat.is_timestamp,
    pat.is_duration,
)


class TypesChangedError(Exception):
    """A value of a text file does not fit the type that the beginning suggested: have the source look at all of them."""


def normal_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that a column is read as, or None where it cannot be read."""
    if pat.is_dictionary(kind):
        return normal_type(kind.value_type)
    if pat.is_large_string(kind) or pat.is_string_view(kind):
        return pa.string()
    if pat.is_large_binary(kind) or pat.is_binary_view(kind) or pat.is_fixed_size_binary(kind):
        return pa.binary()
    if pat.is_float16(kind):
        return pa.float32()
    if pat.is_decimal(kind) or pat.is_null(kind):
        return pa.float64()
    return kind if any(check(kind) for check in _UNCHANGED) else None


def normal_schema(schema: pa.Schema, where: str) -> pa.Schema:
    """Return a source's schema by the rule; columns that cannot be read keep their type.

    Args:
        schema: the schema as the source has it.
        where: what a person calls the source, for the error.

    Raises:
        ScorestreamError: BAD_COLUMN_NAMES: no columns, an empty name, or a name that occurs twice.
    """
    faults = []
    first_at: dict[str, int] = {}
    try:
        names = schema.names
    except UnicodeDecodeError as error:
        raise corrupt(where, f"a column's name is no text ({error})") from None
    for at, name in enumerate(names, start=1):
        if not name.strip():
            faults.append(FieldFault(f"column {at}", "it has no name"))
        elif name in first_at:
            faults.append(FieldFault(name, f"columns {first_at[name]} and {at} have the same name {name!r}"))
        first_at.setdefault(name, at)
    if not names:
        faults.append(FieldFault(where, "it has no columns"))
    if faults:
        told = "; ".join(f"{fault.field}: {fault.description}" for fault in faults[:5])
        raise invalid(
            "BAD_COLUMN_NAMES",
            f"{where} cannot be a table: {told}. Give every column a name of its own.",
            faults[:100],
        )
    return pa.schema([(field.name, normal_type(field.type) or field.type) for field in schema])


def unreadable_columns(schema: pa.Schema) -> dict[str, str]:
    """Return the columns that cannot be read, with their types."""
    return {field.name: str(field.type) for field in schema if normal_type(field.type) is None}


def project(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    """Return the fields of ``columns``, in that order, of a normalised schema.

    Raises:
        ScorestreamError: UNKNOWN_COLUMN or UNSUPPORTED_TYPE, naming all of them.
    """
    faults = [
        FieldFault(name, "the table has no such column") for name in columns if name not in schema.names
    ]
    if faults:
        named = ", ".join(repr(fault.field) for fault in faults)
        raise invalid(
            "UNKNOWN_COLUMN", f"The table has no column {named}. It has {_some(schema.names)}.", faults
        )
    fields = [schema.field(name) for name in columns]
    bad = unreadable_columns(pa.schema(fields))
    if bad:
        named = ", ".join(f"{name!r} ({kind})" for name, kind in bad.items())
        raise invalid(
            "UNSUPPORTED_TYPE",
            f"Columns of these types cannot be used: {named}. Leave them out, or store them as numbers, text or dates.",
            [FieldFault(name, f"type {kind} cannot be read") for name, kind in bad.items()],
        )
    return pa.schema(fields)


def validated(batch: pa.RecordBatch, where: str) -> pa.RecordBatch:
    """Return the batch, every offset, index and text in it checked.

    Raises:
        ScorestreamError: CORRUPT_DATA.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowException as error:
        raise corrupt(where, error) from None
    return batch


def corrupt(where: str, error: object) -> Exception:
    """Return the error for data that are not what their format says, or that there is no memory for."""
    if isinstance(error, PermissionError):
        return unreadable(where, where)
    # Arrow's are among `READ_ERRORS`, and a thread needs memory for its stack.
    if isinstance(error, MemoryError) or "Failed to launch worker thread" in str(error):
        return error if isinstance(error, NoMemoryError) else NoMemoryError(where, error)
    told = " ".join(str(error).split())[:300].rstrip(".")
    return invalid("CORRUPT_DATA", f"{where} is damaged or was cut short: {told}. Write it again.")


def normalised(
    batch: pa.RecordBatch, target: pa.Schema, most_bytes: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield a validated batch's rows with the types of ``target``, in batches of bounded size.

    Args:
        batch: columns as the source has them, in the order of ``target``.
        target: a projection of the normalised schema, readable columns only.
        most_bytes: of a batch once decoded, unless a single row has more; None: `MAX_BATCH_BYTES`.
    """
    most_bytes = most_bytes or MAX_BATCH_BYTES
    width = sum(_row_bytes(column) for column in batch.columns)
    rows = max(1, min(MAX_BATCH_ROWS, int(most_bytes / max(width, 1.0))))
    for start in range(0, batch.num_rows, rows):
        part = batch.slice(start, rows)
        if part.schema.types == target.types:
            arrays = part.columns
        else:
            arrays = [
                _convert(column, field.type) for column, field in zip(part.columns, target, strict=True)
            ]
        yield pa.RecordBatch.from_arrays(arrays, schema=target)


def joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the same rows with short neighbours put together, so that kernels get enough rows a call."""
    pending: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        bytes_here = batch.nbytes
        if pending and (rows + batch.num_rows > MAX_BATCH_ROWS or size + bytes_here > MAX_BATCH_BYTES):
            yield _join(pending)
            pending, rows, size = [], 0, 0
        pending.append(batch)
        rows += batch.num_rows
        size += bytes_here
    if pending:
        yield _join(pending)


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def row_width(schema: pa.Schema) -> float:
    """Return roughly how many bytes a row takes once decoded; text counts as 24."""
    return sum(_fixed_width(normal_type(field.type) or field.type) or 24.0 for field in schema)


def _convert(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    return column if column.type == kind else column.cast(kind)


def _row_bytes(column: pa.Array) -> float:
    """Return an upper bound of the decoded bytes a row for what can expand, else the mean."""
    kind = column.type
    if isinstance(column, pa.DictionaryArray):
        return _longest(column.dictionary) + 4.0
    if pat.is_string_view(kind) or pat.is_binary_view(kind):
        return _longest(column) + 4.0
    if pat.is_decimal(kind) or pat.is_null(kind):
        return 8.0
    return float(column.nbytes) / max(1, len(column))


def _longest(values: pa.Array) -> float:
    """Return the size of the longest value, in bytes."""
    kind = values.type
    if not len(values):
        return 0.0
    if pat.is_string_view(kind) or pat.is_binary_view(kind):
        views = np.frombuffer(_buffer(values), np.int32).reshape(-1, 4)
        return float(views[values.offset : values.offset + len(values), 0].max())
    if pat.is_string(kind) or pat.is_binary(kind) or pat.is_large_string(kind) or pat.is_large_binary(kind):
        wide = pat.is_large_string(kind) or pat.is_large_binary(kind)
        offsets = np.frombuffer(_buffer(values), np.int64 if wide else np.int32)
        return float(np.diff(offsets[values.offset : values.offset + len(values) + 1]).max())
    return _fixed_width(kind) or 8.0


def _buffer(values: pa.Array) -> memoryview:
    """Return the views or offsets of an array of texts."""
    return memoryview(values.buffers()[1] or b"")


def _fixed_width(kind: pa.DataType) -> float:
    try:
        return float(kind.bit_width) / 8
    except ValueError:
        return 0.0


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(repr(name) for name in names[:20]) + more
