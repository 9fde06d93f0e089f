"""Files of linear XGBoost models: what is read from them, and what is refused and how."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xgboost as xgb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorestream_server.device.cpu import CpuDevice
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.model import ModelKind
from scorestream_server.scoring import xgboost_linear
from scorestream_server.scoring.base import Scorer
from scorestream_server.scoring.forest import load_forest
from scorestream_server.scoring.load import inspect_model, load_scorer

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((200, 3))
NAMES = ["age", "income", "höhe"]
DEVICE = CpuDevice()
Document = dict[str, Any]


def document(objective: str = "multi:softprob") -> Document:
    """Return a trained model of three classes, or of another objective."""
    params = {"num_class": 3} if objective.startswith("multi") else {}
    matrix = xgb.DMatrix(VALUES, RNG.integers(0, 2 + len(params), 200), feature_names=NAMES)
    booster = xgb.train(
        {"booster": "gblinear", "objective": objective, "nthread": 1, "verbosity": 0, **params}, matrix, 3
    )
    found: Document = json.loads(booster.save_raw("json"))
    return found


MODEL = document()


def written(folder: Path, content: Document) -> Path:
    path = folder / "model.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")  # XGBoost reads no escapes
    return path


def changed(change: Callable[[Document], object]) -> Document:
    """Return the model with something in its learner changed."""
    content: Document = json.loads(json.dumps(MODEL))
    change(content["learner"])
    return content


def refusal(folder: Path, content: Document) -> ScorestreamError:
    with pytest.raises(ScorestreamError) as caught:
        inspect_model(written(folder, content))
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    return caught.value


def weights(learner: Document) -> list[Any]:
    found: list[Any] = learner["gradient_booster"]["model"]["weights"]
    return found


def test_the_file_says_what_the_model_needs_and_gives(tmp_path: Path) -> None:
    """Names, types, classes, and facts of its training; what it costs grows with its terms."""
    schema = inspect_model(written(tmp_path, MODEL))
    assert schema.kind is ModelKind.XGBOOST_JSON
    assert [feature.name for feature in schema.features] == NAMES
    assert [column.name for column in schema.outputs] == ["score_0", "score_1", "score_2", "label"]
    assert schema.description == "XGBoost, multi:softprob, linear, 3 features"
    assert (schema.training.library, schema.training.objective) == ("xgboost", "multi:softprob")
    assert schema.training.library_version == xgb.__version__
    assert (schema.training.trees, schema.training.classes) == (0, 3)
    assert len(schema.training.base_scores) == 3
    assert not schema.unexplained
    assert not schema.row_errors
    binary = inspect_model(written(tmp_path, document("binary:logistic")))
    assert [column.name for column in binary.outputs] == ["score"]
    assert binary.training.classes == 2
    assert 1 <= binary.cost < schema.cost


def test_files_of_older_versions_have_one_base_score_and_no_targets(tmp_path: Path) -> None:
    """Before 3.1 it was a number for all outputs, and before 1.6 there was one target."""

    def older(learner: Document) -> None:
        learner["learner_model_param"].update(base_score="5E-1")
        del learner["learner_model_param"]["num_target"]

    path = written(tmp_path, changed(older))
    scorer = load_scorer(path, ModelKind.XGBOOST_JSON, DEVICE)
    columns = [pa.array(column) for column in VALUES.T]
    found = np.stack(scorer.score(columns, DEVICE.open_lane())[:3], axis=1)
    expected = xgb.Booster(model_file=path).predict(xgb.DMatrix(VALUES, feature_names=NAMES))
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_a_linear_model_is_no_forest(tmp_path: Path) -> None:
    with pytest.raises(ScorestreamError) as caught:
        load_forest(written(tmp_path, MODEL), ModelKind.XGBOOST_JSON)
    assert caught.value.reason == "MODEL_LINEAR"


@pytest.mark.parametrize(
    "change",
    [
        lambda learner: weights(learner).pop(),
        lambda learner: weights(learner).extend([0.0] * 3),
        lambda learner: weights(learner).__setitem__(0, "one"),
        lambda learner: weights(learner).__setitem__(0, [1.0]),
        lambda learner: weights(learner).__setitem__(0, 10**400),
        lambda learner: learner["gradient_booster"]["model"].update(weights=1.0),
        lambda learner: learner["gradient_booster"]["model"].update(weights={}),
        lambda learner: learner["gradient_booster"]["model"].pop("weights"),
        lambda learner: learner["gradient_booster"].pop("model"),
        lambda learner: learner["learner_model_param"].update(num_feature="2"),
        lambda learner: learner["learner_model_param"].update(num_feature="three"),
        lambda learner: learner["learner_model_param"].update(num_class="4"),
        lambda learner: learner["learner_model_param"].update(num_target="2"),
        lambda learner: learner["learner_model_param"].update(base_score="[]"),
        lambda learner: learner["learner_model_param"].update(base_score="nan"),
        lambda learner: learner["learner_model_param"].update(base_score="half"),
        lambda learner: learner["feature_names"].pop(),
        lambda learner: learner.pop("learner_model_param"),
    ],
)
def test_a_file_that_does_not_add_up_is_refused(tmp_path: Path, change: Callable[[Document], object]) -> None:
    error = refusal(tmp_path, changed(change))
    assert error.reason == "MODEL_CORRUPT"
    assert "Save the model again" in error.message


@pytest.mark.parametrize(
    ("change", "reason", "told"),
    [
        (lambda learner: weights(learner).clear(), "MODEL_EMPTY", "at least one round"),
        (lambda learner: weights(learner).__setitem__(4, float("nan")), "MODEL_NOT_FINITE", "smaller eta"),
        (lambda learner: weights(learner).__setitem__(4, float("inf")), "MODEL_NOT_FINITE", "smaller eta"),
        (lambda learner: weights(learner).__setitem__(4, 1e39), "MODEL_NOT_FINITE", "smaller eta"),
        (lambda learner: weights(learner).__setitem__(4, None), "MODEL_NOT_FINITE", "smaller eta"),
        (
            lambda learner: learner["learner_model_param"].update(num_feature=str(2**40)),
            "MODEL_TOO_LARGE",
            "features, at most 262,144",
        ),
        (
            lambda learner: learner["learner_model_param"].update(num_feature="0"),
            "MODEL_TOO_LARGE",
            "0 features",
        ),
        (
            lambda learner: learner["learner_model_param"].update(num_class=str(2**40)),
            "MODEL_TOO_LARGE",
            "outputs, at most 4,096",
        ),
        (
            lambda learner: learner["learner_model_param"].update(num_class="0", num_target=str(2**40)),
            "MODEL_TOO_LARGE",
            "outputs, at most 4,096",
        ),
        (
            lambda learner: learner["objective"].update(name="reg:unheard_of"),
            "MODEL_OBJECTIVE",
            "reg:squarederror",
        ),
        (lambda learner: learner.update(feature_names=["a", "a", "b"]), "MODEL_FEATURES", "one name"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_what_to_do(
    tmp_path: Path, change: Callable[[Document], object], reason: str, told: str
) -> None:
    error = refusal(tmp_path, changed(change))
    assert error.reason == reason
    assert told in error.message


@pytest.mark.parametrize("base_score", ["0", "1", "-2", "7"])
def test_a_base_score_that_is_no_probability_is_refused(tmp_path: Path, base_score: str) -> None:
    content = document("binary:logistic")
    content["learner"]["learner_model_param"]["base_score"] = base_score
    assert "base_score" in refusal(tmp_path, content).message


def test_every_objective_has_one_link() -> None:
    links = [name for names in xgboost_linear._LINKS.values() for name in names]
    assert len(links) == len(set(links))


def loaded(path: Path) -> Scorer | ScorestreamError:
    """Return the model in a file, or why it is refused."""
    try:
        return load_scorer(path, ModelKind.XGBOOST_JSON, DEVICE)
    except ScorestreamError as error:
        return error


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["0", "1", "3", "-1", "[1E0]", "99999999999999999999"]),
    lambda inner: st.lists(inner, max_size=14) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=14,
)
PLACES = [
    ("gradient_booster", "model", "weights"),
    ("gradient_booster", "model"),
    ("learner_model_param", "num_feature"),
    ("learner_model_param", "num_class"),
    ("learner_model_param", "num_target"),
    ("learner_model_param", "base_score"),
    ("learner_model_param",),
    ("objective", "name"),
    ("feature_names",),
    ("feature_types",),
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=ANYTHING)
def test_whatever_a_file_says_it_is_refused_or_scored(
    tmp_path: Path, place: tuple[str, ...], value: object
) -> None:
    def change(learner: Document) -> None:
        inside = learner
        for name in place[:-1]:
            inside = inside[name]
        inside[place[-1]] = value

    scorer = loaded(written(tmp_path, changed(change)))
    if isinstance(scorer, ScorestreamError):
        assert scorer.code is ErrorCode.INVALID_ARGUMENT
        return
    columns = [pa.array([0.5, None]) for _ in scorer.schema.features]
    scored = scorer.score(columns, DEVICE.open_lane())
    assert [len(column) for column in scored] == [2] * len(scorer.schema.outputs)
    assert all(np.all(np.isfinite(column)) for column in scored)
