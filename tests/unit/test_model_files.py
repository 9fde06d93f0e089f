"""Model files: what is detected, what is refused and how, and what is read beside the trees."""

import json
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import treelite
import xgboost as xgb
from sklearn.ensemble import RandomForestRegressor

from scorestream_server.device.cpu import CpuDevice
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.model import ColumnType, ModelKind
from scorestream_server.scoring import treelite_import
from scorestream_server.scoring.forest import load_forest
from scorestream_server.scoring.load import detect_kind, load_scorer

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((200, 3))
LABELS = VALUES[:, 0] + (VALUES[:, 1] > 0)
NAMES = ["age", "income", "höhe"]


def xgboost_file(folder: Path, ending: str = "ubj", **params: Any) -> Path:
    matrix = xgb.DMatrix(VALUES, LABELS, feature_names=NAMES)
    path = folder / f"model.{ending}"
    xgb.train({"nthread": 1, **params}, matrix, 4).save_model(path)
    return path


def lightgbm_file(folder: Path, rounds: int = 4, **params: Any) -> Path:
    settings = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, **params}
    path = folder / "model.txt"
    lgb.train(
        settings, lgb.Dataset(VALUES, LABELS, feature_name=["age", "income", "size"]), rounds
    ).save_model(path)
    return path


def treelite_file(folder: Path) -> Path:
    path = folder / "model.tl"
    treelite.sklearn.import_model(RandomForestRegressor(3, random_state=0).fit(VALUES, LABELS)).serialize(
        path
    )
    return path


def refusal(path: Path, kind: ModelKind) -> ScorestreamError:
    with pytest.raises(ScorestreamError) as caught:
        load_forest(path, kind)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert (
        path.name in caught.value.message
        or "Save the model again" in caught.value.message
        or "train" in caught.value.message
    )
    return caught.value


@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_xgboost_names_come_from_the_file(tmp_path: Path, ending: str) -> None:
    path = xgboost_file(tmp_path, ending)
    kind = detect_kind(path)
    _, schema = load_forest(path, kind)
    assert [feature.name for feature in schema.features] == NAMES
    assert [(column.name, column.type) for column in schema.outputs] == [("score", ColumnType.FLOAT32)]
    assert "XGBoost, reg:squarederror, 4 trees" in schema.description


def test_lightgbm_names_come_from_the_file(tmp_path: Path) -> None:
    path = lightgbm_file(tmp_path)
    assert detect_kind(path) is ModelKind.LIGHTGBM
    _, schema = load_forest(path, ModelKind.LIGHTGBM)
    assert [feature.name for feature in schema.features] == ["age", "income", "size"]
    assert schema.outputs[0].type is ColumnType.FLOAT64


def test_a_checkpoint_has_no_names_and_is_matched_by_place(tmp_path: Path) -> None:
    path = treelite_file(tmp_path)
    assert detect_kind(path) is ModelKind.TREELITE
    _, schema = load_forest(path, ModelKind.TREELITE)
    assert schema.positional
    assert len(schema.features) == 3


def test_categories_are_in_the_schema(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"kind": pd.Categorical(np.array(["x", "y", "zz"])[RNG.integers(0, 3, 200)]), "n": VALUES[:, 0]}
    )
    booster = xgb.train({"nthread": 1}, xgb.DMatrix(frame, LABELS, enable_categorical=True), 2)
    booster.save_model(tmp_path / "model.json")
    _, schema = load_forest(tmp_path / "model.json", ModelKind.XGBOOST_JSON)
    assert schema.features[0].categories == ("x", "y", "zz")
    assert schema.features[1].categories == ()


def test_cost_grows_with_trees_and_depth(tmp_path: Path) -> None:
    small = load_forest(xgboost_file(tmp_path, max_depth=1), ModelKind.XGBOOST_UBJ)[1].cost
    large = load_forest(xgboost_file(tmp_path, max_depth=6), ModelKind.XGBOOST_UBJ)[1].cost
    assert 1 <= small < large


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_refused_with_what_to_do(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(pickle.dumps({"a": 1}, protocol=protocol))
    error = refusal(path, ModelKind.XGBOOST_JSON)
    assert error.reason == "MODEL_PICKLE"
    assert "save_model" in error.message
    with pytest.raises(ScorestreamError, match="pickle"):
        detect_kind(path)


def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    path.write_bytes(b"\x78\x9c" + b"rest" * 10)
    with pytest.raises(ScorestreamError) as caught:
        detect_kind(path)
    assert caught.value.reason == "MODEL_COMPRESSED"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize(
    "make", [xgboost_file, lightgbm_file, treelite_file, lambda folder: xgboost_file(folder, "json")]
)
def test_a_file_cut_short_is_refused(tmp_path: Path, make: Any, share: float) -> None:
    path = make(tmp_path)
    kind = detect_kind(path)
    content = path.read_bytes()
    end = content.index(b"end of trees") if kind is ModelKind.LIGHTGBM else len(content)
    path.write_bytes(content[: int(end * share)])
    assert refusal(path, kind).reason == "MODEL_CORRUPT"


def test_linear_leaves_are_refused(tmp_path: Path) -> None:
    path = lightgbm_file(tmp_path, linear_tree=True)
    assert refusal(path, ModelKind.LIGHTGBM).reason == "MODEL_LINEAR_TREES"


def test_zero_as_missing_is_refused(tmp_path: Path) -> None:
    values = np.where(RNG.random((200, 3)) < 0.4, 0.0, VALUES)
    booster = lgb.train(
        {"verbose": -1, "zero_as_missing": True, "num_threads": 1}, lgb.Dataset(values, LABELS), 3
    )
    booster.save_model(tmp_path / "model.txt")
    assert refusal(tmp_path / "model.txt", ModelKind.LIGHTGBM).reason == "MODEL_ZERO_AS_MISSING"


def test_a_model_without_trees_is_refused(tmp_path: Path) -> None:
    matrix = xgb.DMatrix(VALUES, LABELS)
    xgb.train({"nthread": 1}, matrix, 0).save_model(tmp_path / "model.json")
    assert refusal(tmp_path / "model.json", ModelKind.XGBOOST_JSON).reason == "MODEL_EMPTY"


def test_a_tree_that_leads_out_of_itself_is_refused(tmp_path: Path) -> None:
    path = xgboost_file(tmp_path, "json")
    document = json.loads(path.read_text())
    tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
    tree["left_children"][1] = 0
    path.write_text(json.dumps(document))
    assert refusal(path, ModelKind.XGBOOST_JSON).reason == "MODEL_CORRUPT"


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert refusal(lightgbm_file(tmp_path), ModelKind.XGBOOST_UBJ).reason == "MODEL_CORRUPT"
    assert refusal(xgboost_file(tmp_path), ModelKind.LIGHTGBM).reason == "MODEL_CORRUPT"


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text("[" * 100_000)
    assert refusal(path, ModelKind.XGBOOST_JSON).reason == "MODEL_CORRUPT"


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [("a.sql", b"a + 1 AS b", ModelKind.EXPRESSION), ("old.model", b"\x00" * 40, ModelKind.XGBOOST_LEGACY)],
)
def test_kinds_are_told_by_ending_where_content_says_nothing(
    tmp_path: Path, name: str, content: bytes, kind: ModelKind
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert detect_kind(path) is kind


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "MODEL_EMPTY"), (b"hello, world!", "MODEL_KIND_UNKNOWN")]
)
def test_what_no_model_is_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "file.dat"
    path.write_bytes(content)
    with pytest.raises(ScorestreamError) as caught:
        detect_kind(path)
    assert caught.value.reason == reason


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScorestreamError) as caught:
        detect_kind(tmp_path / "none.ubj")
    assert caught.value.reason == "MODEL_UNREADABLE"


def test_a_kind_without_a_scorer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScorestreamError):
        load_scorer(tmp_path / "a.json", ModelKind.XGBOOST_JSON, CpuDevice())


def legacy_file(path: Path, booster_name: bytes = b"gbtree") -> None:
    """Write the binary format of XGBoost before 1.0, which later ones no longer write: ``x1 < 0.5 ? 1 : 2``, base 0.25."""
    learner = struct.pack("<fIiiiII", 0.25, 3, 0, 0, 0, 0, 90) + bytes(4 * 27)
    names = b"".join(struct.pack("<Q", len(name)) + name for name in (b"reg:linear", booster_name))
    booster = struct.pack("<iiiiqii", 1, 1, 3, 0, 0, 1, 0) + bytes(4 * 32)
    tree = struct.pack("<iiiiii", 1, 3, 0, 1, 3, 0) + bytes(4 * 31)
    nodes = struct.pack("<iiiIf", -1, 1, 2, 1, 0.5)
    nodes += struct.pack("<iiiIf", -(2**31), -1, -1, 0, 1.0) + struct.pack("<iiiIf", 0, -1, -1, 0, 2.0)
    path.write_bytes(learner + names + booster + tree + nodes + bytes(16 * 3) + struct.pack("<i", 0))


def test_xgboosts_old_binary_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.model"
    legacy_file(path)
    device = CpuDevice()
    scorer = load_scorer(path, detect_kind(path), device)
    columns = [pa.array([0.0, 0.0, 0.0]), pa.array([0.4, 0.5, 0.6]), pa.array([0, 0, 0])]
    assert scorer.schema.kind is ModelKind.XGBOOST_LEGACY
    assert scorer.score(columns, device.open_lane())[0].to_pylist() == [1.25, 2.25, 2.25]


def test_a_linear_booster_in_the_old_binary_format_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "old.model"
    legacy_file(path, b"gblinear")
    error = refusal(path, ModelKind.XGBOOST_LEGACY)
    assert error.reason == "MODEL_LINEAR"
    assert "save_model('m.ubj')" in error.message


@pytest.mark.parametrize("place", [22, 30, 54, 96, 240, 249])
@pytest.mark.parametrize("length", [b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\x01" + b"\0" * 7])
def test_a_checkpoint_with_a_wrong_length_is_refused(tmp_path: Path, place: int, length: bytes) -> None:
    """Treelite believes lengths: it crashes, or never ends. Wherever one is written over, the file is refused."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 4))
    forest = RandomForestRegressor(2, max_depth=3, random_state=1).fit(features, features[:, 0])
    content = bytearray(treelite.sklearn.import_model(forest).serialize_bytes())
    content[place : place + 8] = length
    path = tmp_path / "damaged.tl"
    path.write_bytes(content)
    with pytest.raises(ScorestreamError) as caught:
        load_forest(path, ModelKind.TREELITE)
    assert caught.value.reason in {"MODEL_CORRUPT", "MODEL_TOO_LARGE"}


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.pop("tree_info"),
        lambda model: model["tree_info"].append(0),
        lambda model: model["trees"][0]["left_children"].pop(),
        lambda model: model["trees"][0]["left_children"].__setitem__(0, 1000),
        lambda model: model["trees"][0]["left_children"].__setitem__(1, 1),
        lambda model: model["trees"][0]["tree_param"].update(num_nodes="2147483647"),
        lambda model: model["trees"][0]["split_indices"].__setitem__(0, 2**31 - 1),
        lambda model: model["trees"][0].update(categories_nodes=[0]),
    ],
)
def test_an_xgboost_model_whose_indexes_lead_nowhere_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    """As treelite follows them out of its memory, or in circles, they are all looked at first."""
    path = xgboost_file(tmp_path, "json")
    document = json.loads(path.read_bytes())
    change(document["learner"]["gradient_booster"]["model"])
    path.write_text(json.dumps(document))
    with pytest.raises(ScorestreamError) as caught:
        load_forest(path, ModelKind.XGBOOST_JSON)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.reason == "MODEL_CORRUPT"


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("num_leaves", lambda _: "2147483647"),
        ("num_leaves", lambda _: "0"),
        ("left_child", lambda words: words.replace("1", "0", 1)),
        ("left_child", lambda words: "1000000 " + words.split(" ", 1)[1]),
        ("left_child", lambda words: "-1000000 " + words.split(" ", 1)[1]),
        ("right_child", lambda words: words.split(" ", 1)[1]),
        ("right_child", lambda words: "x " + words.split(" ", 1)[1]),
        ("split_feature", lambda words: "2147483647 " + words.split(" ", 1)[1]),
        ("threshold", lambda words: words + " 1"),
        ("leaf_value", lambda words: words.split(" ", 1)[1]),
        ("leaf_count", lambda words: words.split(" ", 1)[1]),
        ("num_cat", lambda words: str(int(words) + 1)),
        ("cat_boundaries", lambda words: words + " 5"),
        ("cat_boundaries", lambda words: words.rsplit(" ", 1)[0] + " 1000000"),
        ("cat_threshold", lambda words: words + " 1"),
    ],
)
def test_a_lightgbm_model_whose_indexes_lead_nowhere_is_refused(
    tmp_path: Path, field: str, change: Callable[[str], str]
) -> None:
    """As treelite follows them out of its memory, or in circles, they are all looked at first."""
    codes = np.repeat(np.arange(8.0), 25)
    data = lgb.Dataset(
        np.column_stack([codes, VALUES]), (codes % 3 == 1) * 5 + LABELS, categorical_feature=[0]
    )
    path = tmp_path / "model.txt"
    lgb.train({"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}, data, 3).save_model(path)
    load_forest(path, ModelKind.LIGHTGBM)
    text = path.read_text()
    # The sizes are only for LightGBM's own reader.
    found = re.search(rf"^{field}=(.*)$", text, re.MULTILINE)
    assert found is not None
    path.write_text(text[: found.start(1)] + change(found[1]) + text[found.end(1) :])
    with pytest.raises(ScorestreamError) as caught:
        load_forest(path, ModelKind.LIGHTGBM)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.reason == "MODEL_CORRUPT"


def test_a_model_of_one_leaf_is_scored(tmp_path: Path) -> None:
    """LightGBM writes one where nothing is worth a split."""
    path = tmp_path / "model.txt"
    data = lgb.Dataset(VALUES, LABELS)
    booster = lgb.train({"verbose": -1, "min_data_in_leaf": 150, "num_threads": 1}, data, 2)
    booster.save_model(path)
    forest, _ = load_forest(path, ModelKind.LIGHTGBM)
    assert forest.trees == booster.num_trees()


def test_a_model_with_too_many_outputs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a column of a result, and a number in a damaged file may claim millions."""
    monkeypatch.setattr(treelite_import, "MOST_OUTPUTS", 2)
    matrix = xgb.DMatrix(VALUES, RNG.integers(0, 3, len(VALUES)))
    path = tmp_path / "model.ubj"
    xgb.train({"objective": "multi:softprob", "num_class": 3, "nthread": 1}, matrix, 2).save_model(path)
    with pytest.raises(ScorestreamError, match="3 outputs, at most 2 are taken"):
        load_forest(path, ModelKind.XGBOOST_UBJ)
