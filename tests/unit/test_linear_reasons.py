"""Score code that is a sum of columns times constants has reasons: its terms."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.device.cpu import CpuLane
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.variable import Variable, VariableType
from scorestream_server.scoring.base import Scorer
from scorestream_server.scoring.expression import ExpressionScorer
from scorestream_server.scoring.reasons import WantedReasons, feature_names

LANE = CpuLane()


def wanted(reasons: int, scorer: Scorer) -> WantedReasons:
    return WantedReasons(reasons, pa.array(feature_names(scorer.schema), pa.string()))


def explained(text: str, columns: list[pa.Array], reasons: int, *variables: Variable) -> list[list[object]]:
    scorer = ExpressionScorer(text, variables)
    return [column.to_pylist() for column in scorer.explain(columns, [], LANE, wanted(reasons, scorer))]


@given(
    weights=st.lists(st.floats(-9, 9), min_size=3, max_size=3),
    values=st.lists(st.floats(-100, 100), min_size=3, max_size=3),
    constant=st.floats(-5, 5),
)
def test_terms_and_the_constant_add_up_to_the_score(
    weights: list[float], values: list[float], constant: float
) -> None:
    """Largest first."""
    text = f"a * ({weights[0]!r}) - b * ({weights[1]!r}) + ({weights[2]!r}) * c + ({constant!r}) AS p"
    scorer = ExpressionScorer(text)
    columns = [pa.array([value]) for value in values]
    found = scorer.explain(columns, [], LANE, wanted(3, scorer))
    terms = {"a": weights[0] * values[0], "b": -weights[1] * values[1], "c": weights[2] * values[2]}
    amounts = [found[place][0].as_py() for place in (1, 3, 5)]
    assert amounts == pytest.approx([terms[found[place][0].as_py()] for place in (0, 2, 4)])
    assert sorted(amounts, key=abs, reverse=True) == amounts
    score = scorer.score(columns, LANE)[0][0].as_py()
    assert sum(amounts) + found[-1][0].as_py() == pytest.approx(score, abs=1e-9)


def test_what_has_no_value_has_no_contribution_and_comes_last() -> None:
    found = explained("a * 2 + b AS p", [pa.array([None, 1.0]), pa.array([3.0, -5.0])], 2)
    assert found == [["b", "b"], [3.0, -5.0], ["a", "a"], [None, 2.0], [0.0, 0.0]]


def test_whole_columns_divisions_and_variables_are_linear() -> None:
    """Constants of any place and kind; a variable counts with the job's value."""
    columns = [pa.array([4, 8]), pa.array([1.0, 9.0])]
    found = explained(
        "n / 2 + 1 - (x * 3 - 2) * :w AS p", columns, 2, Variable("w", VariableType.DOUBLE, 2.0)
    )
    assert found == [["x", "x"], [-6.0, -54.0], ["n", "n"], [2.0, 4.0], [5.0, 5.0]]


@pytest.mark.parametrize(
    "text",
    [
        "a * b AS p",
        "a / b AS p",
        "EXP(a) AS p",
        "CASE WHEN a > 0 THEN a ELSE b END AS p",
        "a AS p, b AS q",
        "a / 0 AS p",
        "a * 1e308 * 10 AS p",
        "COALESCE(a, 0) + b AS p",
    ],
)
def test_other_score_code_has_none(text: str) -> None:
    scorer = ExpressionScorer(text)
    assert "no sum of columns times constants" in scorer.schema.unexplained
    names = [feature.name for feature in scorer.schema.features]
    with pytest.raises(ScorestreamError) as refused:
        scorer.explain([pa.array([1.0]) for _ in names], [], LANE, wanted(1, scorer))
    assert refused.value.reason == "MODEL_NOT_EXPLAINED"


def test_sums_of_whole_numbers_are_not_linear_for_they_wrap_around() -> None:
    scorer = ExpressionScorer("CAST(a AS BIGINT) + CAST(b AS BIGINT) AS p")
    assert scorer.schema.unexplained
    assert np.isfinite(scorer.schema.row_cost(explained=True))
