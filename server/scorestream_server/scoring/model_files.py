"""What a model's file says beside its trees: names, categories, objective. And what no model can be made of.

treelite reads the trees and drops the rest; this module reads the rest, from the file itself.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import treelite

from scorestream_server.domain.errors import ScorestreamError, counted, invalid
from scorestream_server.domain.model import ModelKind, Training
from scorestream_server.scoring import (
    checkpoint,
    lightgbm_trees,
    training,
    ubjson,
    xgboost_linear,
    xgboost_trees,
)
from scorestream_server.scoring.xgboost_linear import LinearFile

Category = str | float
"""A category as the training table had it: a string, or a number."""

_SAVE_NATIVE = (
    "save it in its library's own format instead: XGBoost booster.save_model('m.ubj'), LightGBM "
    "booster.save_model('m.txt'), scikit-learn treelite.sklearn.import_model(model).serialize('m.tl')"
)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"\x04\x22\x4d\x18")
_ZLIB_SECOND_BYTES = b"\x01\x5e\x9c\xda"
_ZERO_IS_MISSING = 1
_UNEXPECTED = (ValueError, LookupError, TypeError, AttributeError, RecursionError, ArithmeticError)
"""What Python raises where a document is not what it should be."""
_LIGHTGBM_CATEGORICAL = 1


@dataclass(frozen=True, slots=True)
class ForestFile:
    """A forest as its file describes it.

    Attributes:
        model: the trees.
        names: the features' names, empty where the file has none.
        categories: for a feature trained on a column of categories, those in the order of their codes.
        summary: the library and the objective, for a person.
        sigmoid_alpha: the sigmoid's factor, where the file has one.
        training: what it says of how it was trained.
        types: the features' types in its own words; empty where it has none.
    """

    model: treelite.Model
    names: tuple[str, ...]
    categories: Mapping[int, tuple[Category, ...]]
    summary: str
    sigmoid_alpha: float | None = None
    training: Training = field(default_factory=Training)
    types: tuple[str, ...] = ()


def read_model_file(path: Path, kind: ModelKind) -> ForestFile | LinearFile:
    """Read a model file.

    Raises:
        ScorestreamError: it is not what ``kind`` says, is damaged, or holds a model that cannot be scored.
    """
    file = _read(path, kind)
    if len(set(file.names)) != len(file.names):
        raise invalid(
            "MODEL_FEATURES", f"{path.name} has two features of one name. Rename them and train again."
        )
    return file


def _read(path: Path, kind: ModelKind) -> ForestFile | LinearFile:
    try:
        with path.open("rb") as opened:
            start = opened.read(16)
    except OSError as error:
        raise invalid(
            "MODEL_UNREADABLE", f"The model file {path.name} cannot be read: {error.strerror}."
        ) from None
    refuse_pickle(start, path.name)
    try:
        match kind:
            case ModelKind.XGBOOST_JSON | ModelKind.XGBOOST_UBJ:
                return _read_xgboost(path, kind)
            case ModelKind.XGBOOST_LEGACY:
                model = treelite.frontend.load_xgboost_model_legacy_binary(path)
                return ForestFile(model, (), {}, "XGBoost", training=training.of_treelite(model, "xgboost"))
            case ModelKind.LIGHTGBM:
                return _read_lightgbm(path)
            case ModelKind.TREELITE:
                return _read_checkpoint(path)
            case ModelKind.EXPRESSION | ModelKind.DS2:
                raise invalid("MODEL_KIND_MISMATCH", f"{path.name} is score code, which holds no trees.")
    except treelite.TreeliteError as error:
        if "bad_alloc" in str(error):
            raise MemoryError(str(error)) from None
        if "name_gbm_" in str(error):  # neither gbtree nor dart
            raise invalid(
                "MODEL_LINEAR",
                f"{path.name} is a linear XGBoost model (booster gblinear) in the old binary format, which is read for "
                "trees only. Load it with an XGBoost before 3.1 and save it: booster.save_model('m.ubj').",
            ) from None
        raise _corrupt(path, _first_line(error)) from None


def refuse_pickle(start: bytes, name: str) -> None:
    """Refuse a pickle by its first bytes, compressed or not.

    Raises:
        ScorestreamError: they are a pickle's, or a compressed file's.
    """
    if len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5:
        raise invalid("MODEL_PICKLE", f"{name} is a pickle, and a pickle is a program: {_SAVE_NATIVE}.")
    zlib = len(start) > 1 and start[0] == 0x78 and start[1] in _ZLIB_SECOND_BYTES
    if zlib or start.startswith(_COMPRESSED):
        raise invalid(
            "MODEL_COMPRESSED",
            f"{name} is compressed. Unpack it first; if it holds a pickle (joblib writes those), {_SAVE_NATIVE}.",
        )


def _corrupt(path: Path, why: str) -> ScorestreamError:
    return invalid(
        "MODEL_CORRUPT", f"The model file {path.name} is damaged or cut short ({why}). Save the model again."
    )


def _first_line(error: Exception) -> str:
    """Return the sentence in treelite's message, without its place in treelite's source."""
    line = (str(error).strip().splitlines() or ["no details"])[0]
    return re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", line)[:300]


def _read_checkpoint(path: Path) -> ForestFile:
    with path.open("rb") as opened:
        fault = checkpoint.fault_of(opened, path.stat().st_size)
    if fault:
        raise _corrupt(path, fault)
    model = treelite.Model.deserialize(path)
    return ForestFile(model, (), {}, "treelite checkpoint", training=training.of_treelite(model, "treelite"))


def _read_xgboost(path: Path, kind: ModelKind) -> ForestFile | LinearFile:
    content = path.read_bytes()
    try:
        document = json.loads(content) if kind is ModelKind.XGBOOST_JSON else ubjson.loads(content)
        learner = document["learner"]
        booster = learner["gradient_booster"]
        objective = str(learner["objective"]["name"])
        names = tuple(str(name) for name in learner.get("feature_names") or ())
        types = tuple(str(name)[:64] for name in learner.get("feature_types") or ())
        trained = training.of_xgboost(document)
        if booster.get("name") == "gblinear":
            linear = xgboost_linear.read(learner, names, types, trained)
            _check_names(path, names, len(linear.weights))
            return linear
        trees = booster["gbtree"]["model"] if booster.get("name") == "dart" else booster["model"]
        categories = _xgboost_categories(trees.get("cats") or {})
        fault = xgboost_trees.fault_of(trees)
    except _UNEXPECTED as error:
        raise _corrupt(path, f"{type(error).__name__}: {_first_line(error)}") from None
    if fault:
        raise _corrupt(path, fault)
    if categories:
        # treelite refuses a model that holds its categories; without them it is one over plain codes.
        trees["cats"] = {"enc": [], "feature_segments": [], "sorted_idx": []}
        model = treelite.frontend.from_xgboost_json(
            json.dumps(document, default=lambda array: array.tolist())
        )
    else:
        suffix = "json" if kind is ModelKind.XGBOOST_JSON else "ubjson"
        model = treelite.frontend.load_xgboost_model(path, format_choice=suffix, allow_unknown_field=True)
    _check_names(path, names, model.num_feature)
    return ForestFile(model, names, categories, f"XGBoost, {objective}", training=trained, types=types)


def _check_names(path: Path, names: Sequence[str], features: int) -> None:
    if names and len(names) != features:
        raise _corrupt(
            path, f"it has {counted(len(names), 'feature name')} for {counted(features, 'feature')}"
        )


def _xgboost_categories(cats: Mapping[str, Any]) -> dict[int, tuple[Category, ...]]:
    """Return the categories that XGBoost 3.1 and later keeps: strings as bytes with offsets, or numbers."""
    found: dict[int, tuple[Category, ...]] = {}
    for feature, encoder in enumerate(cats.get("enc") or ()):
        if "offsets" in encoder:
            text = bytes(int(value) & 0xFF for value in encoder["values"])
            ends = [int(end) for end in encoder["offsets"]]
            values: Sequence[Category] = [text[a:b].decode("utf-8") for a, b in pairwise(ends)]
        else:
            values = [float(value) for value in encoder["values"]]
        # XGBoost counts the characters of a pandas category and not its bytes: past ASCII, names may be cut.
        if values:
            found[feature] = tuple(values)
    return found


def _read_lightgbm(path: Path) -> ForestFile:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise _corrupt(path, "it is no text") from None
    head, _, body = text.partition("\nTree=")
    fields = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    if not text.startswith("tree") or "max_feature_idx" not in fields:
        raise _corrupt(path, "it does not start as a LightGBM model")
    planned = len(fields.get("tree_sizes", "").split())
    if not body and not planned and "\nend of trees" in head:
        raise invalid(
            "MODEL_EMPTY", f"{path.name} holds no trees: train for at least one round and save again."
        )
    if "\nend of trees" not in body or body.count("\nTree=") + 1 != max(planned, 1):
        raise _corrupt(path, "some of its trees are missing")
    if re.search(r"^is_linear=1", body, re.MULTILINE):
        raise invalid(
            "MODEL_LINEAR_TREES",
            f"{path.name} has linear models in its leaves (linear_tree=true), which cannot be scored here. Train "
            "it again without linear_tree.",
        )
    _refuse_zero_as_missing(path, body)
    names = tuple(fields.get("feature_names", "").split())
    trees = body.partition("\nend of trees")[0]
    try:
        fault = lightgbm_trees.fault_of(trees, int(fields["max_feature_idx"]) + 1)
    except _UNEXPECTED as error:
        raise _corrupt(path, f"{type(error).__name__}: {_first_line(error)}") from None
    if fault:
        raise _corrupt(path, fault)
    model = treelite.frontend.load_lightgbm_model(path)
    _check_names(path, names, model.num_feature)
    categories = _pandas_categories(path, text, fields.get("feature_infos", "").split())
    objective = fields.get("objective", "custom objective")
    sigmoid = re.search(r" sigmoid:([-+.\de]+)", objective)
    try:
        alpha = float(sigmoid[1]) if sigmoid else None
    except ValueError:
        raise _corrupt(path, "its sigmoid parameter is no number") from None
    trained = training.of_lightgbm(fields)
    return ForestFile(model, names, categories, f"LightGBM, {objective}", alpha, trained)


def _refuse_zero_as_missing(path: Path, body: str) -> None:
    for line in re.findall(r"^decision_type=(.*)$", body, re.MULTILINE):
        for word in line.split():
            bits = int(word) if word.lstrip("-").isdigit() else 0
            if not bits & _LIGHTGBM_CATEGORICAL and (bits >> 2) & 3 == _ZERO_IS_MISSING:
                raise invalid(
                    "MODEL_ZERO_AS_MISSING",
                    f"{path.name} was trained with zero_as_missing=true, which cannot be scored exactly here. "
                    "Train it again with zero_as_missing=false, and nulls where a value is missing.",
                )


def _pandas_categories(path: Path, text: str, infos: Sequence[str]) -> dict[int, tuple[Category, ...]]:
    """Return the categories of the columns that were pandas categories in training.

    The file lists them in column order but not by column. A categorical feature's ``feature_infos`` is
    ``3:1:2``, a numeric one's ``[0:1]``; a column of one value only is ``none``.
    """
    line = re.search(r"^pandas_categorical:(.*)$", text, re.MULTILINE)
    try:
        listed = json.loads(line[1]) if line else None
    except ValueError:
        raise _corrupt(path, "its pandas_categorical line is no JSON") from None
    if not listed:
        return {}
    split = [place for place, info in enumerate(infos) if not info.startswith("[") and info != "none"]
    constant = [place for place, info in enumerate(infos) if not info.startswith("[")]
    for features in (split, constant):
        if len(features) == len(listed):
            return {
                feature: tuple(value if isinstance(value, str) else float(value) for value in values)
                for feature, values in zip(features, listed, strict=True)
            }
    raise invalid(
        "MODEL_CATEGORIES_UNCLEAR",
        f"{path.name} lists the categories of {counted(len(listed), 'pandas column')}, but has "
        f"{counted(len(split), 'categorical feature')}, so which belong to which cannot be told. Train "
        "with every category column as a pandas category, or with integer codes in all of them.",
    )
