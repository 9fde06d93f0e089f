"""Arrow columns of any type become the floats that the libraries would have seen."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.model import Feature
from scorestream_server.scoring.feature_columns import FloatColumn, float_columns
from scorestream_server.scoring.model_files import Category

NUMBERS: tuple[Category, ...] = ()
COLOURS: tuple[Category, ...] = ("amber", "blue")


def one(
    column: pa.Array, known: tuple[Category, ...] = NUMBERS, *, narrow: bool = False, lenient: bool = True
) -> FloatColumn:
    return float_columns([column], [Feature("age")], [known], np.array([narrow]), unknown_is_missing=lenient)[
        0
    ]


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint16(), pa.int32(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()],
)
@pytest.mark.parametrize("narrow", [True, False])
def test_numbers_of_every_type_keep_their_values_and_nulls(kind: pa.DataType, *, narrow: bool) -> None:
    column = pa.array(
        [np.float16(1) if kind == pa.float16() else 1, None, 3 if kind != pa.float16() else np.float16(3)],
        kind,
    )
    result = one(column, narrow=narrow)
    np.testing.assert_array_equal(result, [1, np.nan, 3])
    np.testing.assert_array_equal(one(column.slice(2), narrow=narrow), [3])
    assert result.dtype == (np.float32 if narrow else result.dtype)


def test_other_numbers() -> None:
    np.testing.assert_array_equal(one(pa.array([True, None, False])), [1, np.nan, 0])
    np.testing.assert_array_equal(one(pa.array([Decimal("1.5"), None])), [1.5, np.nan])
    np.testing.assert_array_equal(one(pa.nulls(2)), [np.nan, np.nan])
    np.testing.assert_array_equal(one(pa.array([7, None, 7]).dictionary_encode()), [7, np.nan, 7])


def test_a_float64_is_narrowed_only_where_the_model_does() -> None:
    exact = 0.1 + 1e-12
    assert one(pa.array([exact]))[0] == exact
    assert one(pa.array([exact]), narrow=True)[0] == np.float32(exact)


def test_a_number_too_large_for_float32_becomes_infinite() -> None:
    assert one(pa.array([1e300]), narrow=True)[0] == np.inf


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_strings_become_their_categories_places(kind: pa.DataType) -> None:
    column = pa.array(["blue", None, "amber", "pink"], kind)
    np.testing.assert_array_equal(one(column, COLOURS), [1, np.nan, 0, np.nan])


def test_dictionaries_become_their_categories_places() -> None:
    column = pa.array(["blue", None, "amber", "pink", "blue"]).dictionary_encode()
    np.testing.assert_array_equal(one(column, COLOURS), [1, np.nan, 0, np.nan, 1])


def test_numbers_that_were_categories_become_their_places() -> None:
    np.testing.assert_array_equal(one(pa.array([50, 10, None, 11]), (10.0, 50.0)), [1, 0, np.nan, np.nan])


def test_unknown_categories_are_named_where_the_library_refuses_them() -> None:
    with pytest.raises(ScorestreamError) as caught:
        one(pa.array(["blue", "pink", None, "red"]), COLOURS, lenient=False)
    assert caught.value.reason == "CATEGORY_UNKNOWN"
    assert "age" in caught.value.message
    assert "'pink', 'red'" in caught.value.message
    np.testing.assert_array_equal(one(pa.array(["blue", None]), COLOURS, lenient=False), [1, np.nan])


def test_all_wrong_types_are_named_at_once() -> None:
    with pytest.raises(ScorestreamError) as caught:
        float_columns(
            [pa.array(["a"]), pa.array([1]), pa.array([0]).cast(pa.timestamp("s"))],
            [Feature("name"), Feature("colour", ("amber", "blue")), Feature("")],
            [NUMBERS, COLOURS, NUMBERS],
            np.zeros(3, bool),
            unknown_is_missing=True,
        )
    assert caught.value.reason == "COLUMN_TYPE"
    assert [fault.field for fault in caught.value.faults] == ["name", "colour", "column 2"]


def test_a_wrong_number_of_columns_is_refused() -> None:
    with pytest.raises(ScorestreamError, match="takes 1 column, and the table gives 0"):
        float_columns([], [Feature("age")], [NUMBERS], np.zeros(1, bool), unknown_is_missing=True)
