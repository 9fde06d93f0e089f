"""Reason codes: the features that moved each row's score most, with a job's result."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import xgboost
from numpy.typing import NDArray

import mlflow_models
import scorestream

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = 3000
Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def cards() -> pa.Table:
    """The first rows of the UCI credit-card data."""
    return pa_csv.read_csv(EXAMPLES / "uci_credit_card.csv").slice(0, ROWS)


@pytest.fixture(scope="module")
def expected(cards: pa.Table) -> tuple[list[str], NDArray[np.float32]]:
    """The features, and XGBoost's own contributions, shape ``(rows, features + 1)``."""
    booster = xgboost.Booster(model_file=EXAMPLES / "credit_model.ubj")
    names = booster.feature_names or []
    values = np.column_stack([cards[name].to_numpy() for name in names]).astype(np.float32)
    data = xgboost.DMatrix(values, feature_names=names)
    return list(names), booster.predict(data, pred_contribs=True)


@pytest.fixture
def credit(local: scorestream.Client) -> scorestream.Model:
    """The example's model."""
    return local.register_model("credit", path=EXAMPLES / "credit_model.ubj")


@pytest.fixture
def table(session: scorestream.Session, cards: pa.Table) -> scorestream.Table:
    """The cards, loaded."""
    return session.load_table(cards, name="cards")


def assert_reasons(result: pa.Table, expected: tuple[list[str], NDArray[np.float32]], reasons: int) -> None:
    """Compare a result with XGBoost's contributions: the same features in the same order, the same numbers."""
    names, contributions = expected
    order = np.argsort(-np.abs(contributions[:, :-1]), axis=1, kind="stable")
    np.testing.assert_allclose(result["contribution_bias"], contributions[:, -1], atol=1e-5)
    for place in range(reasons):
        told = np.array(result[f"reason_{place + 1}"].to_pylist())
        amounts = result[f"contribution_{place + 1}"].to_numpy()
        theirs = np.take_along_axis(contributions, order[:, place : place + 1], axis=1)[:, 0]
        np.testing.assert_allclose(amounts, theirs, atol=1e-5)
        same = told == np.array(names)[order[:, place]]
        # Where two are equal to XGBoost's last digit, either may be first.
        which = np.array([names.index(name) for name in told])
        close = np.abs(contributions[np.arange(len(told)), which] - theirs) < 1e-5
        assert np.all(same | close)
        assert same.mean() > 0.999


def test_each_rows_top_three_are_xgboosts_own(
    session: scorestream.Session,
    credit: scorestream.Model,
    table: scorestream.Table,
    expected: tuple[list[str], NDArray[np.float32]],
) -> None:
    """Behind the scores, with kept columns and rows' numbers before them; the job says what it was asked for."""
    job = session.score(
        credit, table, explain=3, keep=["LIMIT_BAL"], row_number="row", partition_rows=1000, out="explained"
    )
    result = pa.Table.from_batches(job.results())
    columns = [name for place in (1, 2, 3) for name in (f"reason_{place}", f"contribution_{place}")]
    assert result.column_names == ["row", "LIMIT_BAL", "score", *columns, "contribution_bias"]
    assert result["row"].to_pylist() == list(range(ROWS))
    assert result["reason_1"].type == pa.string()
    assert result["contribution_1"].type == result["score"].type == pa.float32()
    assert_reasons(result, expected, 3)
    assert job.info.explain == 3
    assert session.table("explained").read(0, 5) == result.slice(0, 5)


def test_all_contributions_and_the_bias_add_up_to_the_margin(
    session: scorestream.Session, credit: scorestream.Model, table: scorestream.Table
) -> None:
    """In the space before the link function: their sum's sigmoid is the score, with a filter or without."""
    job = session.score(credit, table, explain=23, where="AGE > 40")
    result = pa.Table.from_batches(job.results())
    assert 0 < result.num_rows < ROWS
    amounts = [result[f"contribution_{place + 1}"].to_numpy().astype(np.float64) for place in range(23)]
    margin = np.sum([*amounts, result["contribution_bias"].to_numpy()], axis=0)
    np.testing.assert_allclose(1 / (1 + np.exp(-margin)), result["score"], atol=1e-5)


def test_reasons_on_the_command_line(
    session: scorestream.Session,
    credit: scorestream.Model,
    table: scorestream.Table,
    local: scorestream.Client,
    ask: Ask,
    run: Run,
    expected: tuple[list[str], NDArray[np.float32]],
    tmp_path: Path,
) -> None:
    """`job submit --explain` and `score --explain` give what the library gives."""
    told = ask("job", "submit", session.id, credit.id, table.name, "--explain", 2)
    assert told["explain"] == 2
    result = pa.Table.from_batches(local.get_job(told["id"]).results())
    assert_reasons(result, expected, 2)
    pq.write_table(table.read(), tmp_path / "cards.parquet")
    run(
        *("score", credit.id, "cards.parquet", "-o", "out.parquet", "--explain", 2),
        *("--server", local.address),
    )
    assert pq.read_table(tmp_path / "out.parquet").equals(result)
    assert "--explain" in run("job", "submit", "--help").stdout
    assert run("score", credit.id, "cards.parquet", "-o", "x.csv", "--explain", -1, check=2).stderr


def test_rows_with_reasons_join_rows_with_as_many(
    session: scorestream.Session, credit: scorestream.Model, table: scorestream.Table
) -> None:
    """Appended to a table that has other columns they are refused, and it stays as it was."""
    session.score(credit, table, explain=2, out="all").wait()
    session.score(credit, table, explain=2, out="all", append=True).wait()
    assert session.table("all").read().num_rows == 2 * ROWS
    with pytest.raises(scorestream.ScorestreamError) as refused:
        session.score(credit, table, explain=3, out="all", append=True)
    assert refused.value.reason == "APPEND_DOES_NOT_MATCH"


@pytest.mark.parametrize(
    ("explain", "reason", "told"),
    [
        (-1, "INVALID_EXPLAIN", "0 for none"),
        (True, "INVALID_EXPLAIN", "how many reasons"),
        (24, "TOO_MANY_REASONS", "Ask for 23 or fewer"),
        (1 << 30, "TOO_MANY_REASONS", "Ask for 23 or fewer"),
    ],
)
def test_a_number_of_reasons_that_no_row_can_have_is_refused(
    session: scorestream.Session,
    credit: scorestream.Model,
    table: scorestream.Table,
    explain: int,
    reason: str,
    told: str,
) -> None:
    with pytest.raises(scorestream.InvalidArgumentError, match=told) as refused:
        session.score(credit, table, explain=explain)
    assert refused.value.reason == reason


def test_a_linear_formulas_reasons_are_its_terms(
    session: scorestream.Session, model: scorestream.Model, customers: pa.Table, customers_file: Path
) -> None:
    """The nightly batch's score code: 0.5, 0.2 and 0.3 times three columns."""
    table = session.load_table(customers_file, name="customers")
    result = pa.Table.from_batches(session.score(model, table, explain=1, where="segment_id = 2").results())
    rows = customers.slice(20_000, 20_000)
    weights = {"var1": 0.5, "var2": 0.2, "var3": 0.3}
    terms = np.stack([rows[name].to_numpy() * weight for name, weight in weights.items()])
    largest = np.abs(terms).argmax(axis=0)
    assert result["reason_1"].to_pylist() == np.array(list(weights))[largest].tolist()
    np.testing.assert_allclose(result["contribution_1"], np.take_along_axis(terms, largest[None], 0)[0])
    assert set(result["contribution_bias"].to_pylist()) == {0.0}


def test_a_linear_booster_is_scored_and_explained_as_xgboost_does(
    local: scorestream.Client, session: scorestream.Session, table: scorestream.Table, tmp_path: Path
) -> None:
    """From its file or an MLflow model's directory; with values that are missing, in partitions."""
    rows = table.read()
    names = ["AGE", "LIMIT_BAL", "PAY_0"]
    values = np.column_stack([rows[name].to_numpy() for name in names]).astype(np.float32)
    values /= values.max(axis=0)
    values[::7, 0] = np.nan
    data = xgboost.DMatrix(values, values[:, 2] > 0, feature_names=names)
    booster = xgboost.train({"booster": "gblinear", "objective": "binary:logistic"}, data, 5)
    folder = mlflow_models.write(
        tmp_path / "logged", mlflow_models.mlmodel(mlflow_models.flavor("xgboost", "model.ubj"), None)
    )
    booster.save_model(folder / "model.ubj")
    linear = local.register_model("linear_credit", path=folder / "model.ubj")
    assert linear.info.description == "XGBoost, binary:logistic, linear, 3 features"
    assert local.register_model("logged_credit", folder).info.digest == linear.info.digest
    columns = [pa.array(column, from_pandas=True) for column in values.T]
    people = session.load_table(pa.table(columns, names), name="people")
    result = pa.Table.from_batches(session.score(linear, people, explain=3, partition_rows=1000).results())
    np.testing.assert_allclose(result["score"], booster.predict(data), rtol=2e-6)
    assert_reasons(result, (names, booster.predict(data, pred_contribs=True)), 3)


def test_what_cannot_be_explained_is_refused_with_what_to_do(
    local: scorestream.Client,
    session: scorestream.Session,
    credit: scorestream.Model,
    table: scorestream.Table,
    customers_file: Path,
    tmp_path: Path,
) -> None:
    """Score code, several targets, and names that are taken: before the job starts."""
    code = local.register_model("explained_code", source="EXP(var1) AS p")
    customers = session.load_table(customers_file, name="customers")
    with pytest.raises(
        scorestream.InvalidArgumentError, match="no sum of columns times constants"
    ) as refused:
        session.score(code, customers, explain=1)
    assert refused.value.reason == "MODEL_NOT_EXPLAINED"
    values = np.random.default_rng(1).standard_normal((50, 2)).astype(np.float32)
    data = xgboost.DMatrix(values, values, feature_names=["var1", "var2"])
    xgboost.train({"max_depth": 2}, data, 2).save_model(tmp_path / "two.ubj")
    two = local.register_model("two_targets", path=tmp_path / "two.ubj")
    with pytest.raises(scorestream.InvalidArgumentError, match="2 targets"):
        session.score(two, customers, explain=1)
    named = session.load_table(
        table.read().append_column("reason_1", pa.nulls(ROWS, pa.int64())), name="named"
    )
    with pytest.raises(scorestream.InvalidArgumentError, match="reason_1") as refused:
        session.score(credit, named, explain=1, keep=["reason_1"])
    assert refused.value.reason == "REASON_NAME_TAKEN"
    with pytest.raises(scorestream.InvalidArgumentError, match="contribution_1"):
        session.score(credit, table, explain=1, row_number="contribution_1")
