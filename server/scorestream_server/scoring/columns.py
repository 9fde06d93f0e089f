"""Arrow columns as the vectors that programs compute with, and back."""

from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scorestream_server.device.program import Vector
from scorestream_server.device.program_types import Type
from scorestream_server.domain.errors import invalid
from scorestream_server.scoring.row_errors import RowErrors

_ARROW = {Type.INT: pa.int64(), Type.FLOAT: pa.float64(), Type.BOOL: pa.bool_(), Type.TEXT: pa.string()}
_KEPT_WIDTHS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float", "double"})


def column_type(arrow: pa.DataType) -> Type | None:
    """Return what a column is to an expression, or None where it is nothing that one can use.

    Decimals are doubles; timestamps with a time zone are taken in UTC.
    """
    if isinstance(arrow, pa.DictionaryType):
        arrow = cast("pa.DataType", arrow.value_type)
    if pa.types.is_integer(arrow):
        return Type.INT
    if pa.types.is_floating(arrow) or pa.types.is_decimal(arrow) or pa.types.is_null(arrow):
        return Type.FLOAT
    if pa.types.is_boolean(arrow):
        return Type.BOOL
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_string_view(arrow):
        return Type.TEXT
    if pa.types.is_date(arrow):
        return Type.DATE
    return Type.TIMESTAMP if pa.types.is_timestamp(arrow) else None


def computing_type(arrow: pa.DataType, kind: Type) -> pa.DataType:
    """Return the Arrow type in which a column of a kind is computed with."""
    if kind is Type.DATE:
        return pa.date32()
    if kind is Type.TIMESTAMP:
        return pa.timestamp("us", tz=arrow.tz if isinstance(arrow, pa.TimestampType) else None)
    return _ARROW[kind]


def may_not_fit(arrow: pa.DataType) -> bool:
    """Whether a column of a type may have values that do not fit into the one that it is computed in."""
    if isinstance(arrow, pa.DictionaryType):
        arrow = cast("pa.DataType", arrow.value_type)
    return bool(pa.types.is_uint64(arrow))


def to_vector(column: "pa.Array[Any]", kind: Type, name: str = "", errors: RowErrors | None = None) -> Vector:
    """Return an Arrow column as a vector: numbers share its memory.

    Args:
        column: the column.
        kind: what it is to an expression.
        name: of the column, for what is said of it.
        errors: takes the rows whose value does not fit into the type that it is computed in.

    Raises:
        ScorestreamError: COLUMN_VALUE, where there is such a value and nothing takes it.
    """
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    arrow: Any = column.type
    if errors is not None and may_not_fit(arrow):
        column = _fitting(column, name, errors)
    try:
        if kind is Type.TEXT:
            return Vector(column if arrow == pa.string() else column.cast(pa.string()))
        if kind in {Type.DATE, Type.TIMESTAMP}:
            # Nanoseconds are cut off: the engine counts in microseconds.
            column = column.cast(computing_type(arrow, kind), safe=False)
            column = column.cast(pa.int32() if kind is Type.DATE else pa.int64())
        elif kind is not Type.BOOL and str(arrow) not in _KEPT_WIDTHS:
            column = column.cast(_ARROW[kind])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise invalid(
            "COLUMN_VALUE", f"Column {name} ({arrow}) has a value that cannot be used: {error}"
        ) from None
    null = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    if kind is Type.BOOL:
        return Vector(column.fill_null(fill_value=False).to_numpy(zero_copy_only=False), null)
    return Vector(_values(column), null)


def _fitting(column: "pa.Array[Any]", name: str, errors: RowErrors) -> "pa.Array[Any]":
    """Return a column of uint64 with null where a value has no place in an int64."""
    large = pc.greater(column, pa.scalar(2**63 - 1, pa.uint64()))
    places = np.flatnonzero(pc.fill_null(large, fill_value=False).to_numpy(zero_copy_only=False))
    if not len(places):
        return column
    values = column.take(pa.array(places)).to_pylist()
    errors.add(
        places,
        [f"column {name} has {value}, which does not fit into 64 bits with a sign" for value in values],
    )
    return pc.if_else(large, pa.scalar(None, column.type), column)


def _values(column: Any) -> NDArray[Any]:
    """Return the values of a column of numbers without a copy; under its nulls, whatever lies there."""
    dtype = np.dtype(column.type.to_pandas_dtype())
    data = column.buffers()[1]
    if data is None or not len(column):
        return np.zeros(len(column), dtype)
    return np.frombuffer(data, dtype, count=len(column), offset=column.offset * dtype.itemsize)


def to_array(vector: Vector) -> "pa.Array[Any]":
    """Return a vector as an Arrow array; NaN stays NaN."""
    if isinstance(vector.values, pa.Array):
        return vector.values
    return pa.array(vector.values, mask=vector.null)


def literal(value: bool | float | str | None, arrow: pa.DataType, kind: Type) -> "pa.Scalar[Any]":
    """Return a program's constant as an Arrow scalar of the type that its kind is computed in."""
    if value is not None and kind is Type.DATE:
        return pa.scalar(int(value), pa.int32()).cast(arrow)
    if value is not None and kind is Type.TIMESTAMP:
        return pa.scalar(int(value), pa.int64()).cast(arrow)
    return pa.scalar(value, arrow)
