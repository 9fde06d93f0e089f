"""From a table's Arrow columns to the float arrays that forests are scored from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scorestream_server.domain.errors import FieldFault, counted, invalid
from scorestream_server.domain.model import Feature
from scorestream_server.scoring.model_files import Category
from scorestream_server.scoring.row_errors import RowErrors

_SHOWN_COLUMNS = 20
_SHOWN_VALUES = 3

FloatColumn = NDArray[np.floating[Any]]


def float_columns(
    columns: Sequence[pa.Array],
    features: Sequence[Feature],
    categories: Sequence[tuple[Category, ...]],
    narrow: NDArray[np.bool_],
    *,
    unknown_is_missing: bool,
    errors: RowErrors | None = None,
) -> list[FloatColumn]:
    """Turn columns into float arrays, NaN where a value is missing.

    Args:
        columns: one array a feature.
        features: what they are matched to, for the error's names.
        categories: for each feature the values that stand for the codes 0, 1, ...; empty for a number.
        narrow: for each feature whether it is cast to float32. One that is not, but whose values all fit
            float32, comes in that all the same.
        unknown_is_missing: whether a value that is none of its feature's categories is a missing one
            rather than a fault.
        errors: takes the rows with such values.

    Raises:
        ScorestreamError: columns of types that their features do not take, all named; likewise columns with unknown
            categories, where nothing takes their rows.
    """
    if len(columns) != len(features):
        raise invalid(
            "FEATURES_COUNT",
            f"The model takes {counted(len(features), 'column')}, and the table gives {len(columns)}. Select "
            "exactly the model's columns, in its order.",
        )
    faults = []
    for place, (column, feature, known) in enumerate(zip(columns, features, categories, strict=True)):
        fault = _type_fault(column.type, known)
        if fault:
            faults.append(FieldFault(feature.name or f"column {place}", fault))
    if faults:
        shown = ", ".join(f"{fault.field} ({fault.description})" for fault in faults[:_SHOWN_COLUMNS])
        rest = f" and {len(faults) - _SHOWN_COLUMNS} more" if len(faults) > _SHOWN_COLUMNS else ""
        raise invalid(
            "COLUMN_TYPE",
            f"Columns have types that the model does not take: {shown}{rest}. Cast them first.",
            faults,
        )
    values = [
        _codes(column, known) if known else _numbers(column, narrow=bool(cast))
        for column, known, cast in zip(columns, categories, narrow, strict=True)
    ]
    if not unknown_is_missing:
        _refuse_unknown(columns, features, categories, values, errors)
    return values


def _refuse_unknown(
    columns: Sequence[pa.Array],
    features: Sequence[Feature],
    categories: Sequence[tuple[Category, ...]],
    codes: Sequence[FloatColumn],
    errors: RowErrors | None,
) -> None:
    faults = []
    for place, (column, feature, known, code) in enumerate(
        zip(columns, features, categories, codes, strict=True)
    ):
        if not known or np.count_nonzero(np.isnan(code)) == column.null_count:
            continue
        plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        present = ~plain.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        bad = np.isnan(code) & present
        if errors is not None:
            values = plain.filter(pa.array(bad)).to_pylist()
            what = feature.name or f"column {place}"
            errors.add(
                np.flatnonzero(bad),
                [f"{what}: {value!r} is no category that the model was trained on" for value in values],
            )
            continue
        unknown = plain.filter(pa.array(bad)).unique()
        if len(unknown):
            shown = ", ".join(repr(value) for value in unknown[:_SHOWN_VALUES].to_pylist())
            faults.append(
                FieldFault(feature.name or f"column {place}", f"has unknown categories such as {shown}")
            )
    if faults:
        shown = "; ".join(f"{fault.field} {fault.description}" for fault in faults[:_SHOWN_COLUMNS])
        raise invalid(
            "CATEGORY_UNKNOWN",
            f"Columns hold categories that the model was not trained on: {shown}. Make them null, or train with them.",
            faults,
        )


def _type_fault(kind: pa.DataType, known: tuple[Category, ...]) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return ""
    takes_text = bool(known) and isinstance(known[0], str)
    if takes_text and not _is_text(kind):
        return f"is {kind}, must be a string: the model was trained on the categories' names"
    if not takes_text and not _is_number(kind):
        return f"is {kind}, must be a number"
    return ""


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def _numbers(column: pa.Array, *, narrow: bool) -> FloatColumn:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _numbers(column.dictionary_decode(), narrow=narrow)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan, np.float32)
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    small = column.type.bit_width < 32 or pa.types.is_float32(column.type)
    target = np.dtype(np.float32 if narrow or small else np.float64)
    if column.null_count and not pa.types.is_floating(column.type):
        # NumPy has no null integers: fill, convert, and put the nulls back.
        values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype(target)
        values[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
        return np.asarray(values)
    # A float64 beyond float32's range becomes infinite, as in the libraries.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(column.to_numpy(zero_copy_only=False), target)


def _codes(column: pa.Array, known: tuple[Category, ...]) -> FloatColumn:
    """Return each value's place among the known categories, NaN for any other."""
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan, np.float32)
    if pa.types.is_dictionary(column.type):
        places = _codes(column.dictionary, known)
        indices = _numbers(column.indices, narrow=False)
        codes = np.full(len(column), np.nan, np.float32)
        present = ~np.isnan(indices)
        codes[present] = places[indices[present].astype(np.int64)]
        return codes
    text = isinstance(known[0], str)
    value_set = pa.array(known, column.type if text else pa.float64())
    values = column if text else pa.array(_numbers(column, narrow=False).astype(np.float64), from_pandas=True)
    if pa.types.is_string_view(values.type):
        values, value_set = values.cast(pa.large_string()), value_set.cast(pa.large_string())
    found = pc.index_in(values, value_set, skip_nulls=True)
    return np.ascontiguousarray(found.cast(pa.float32()).to_numpy(zero_copy_only=False), np.float32)
