"""The MLmodel file of an MLflow model's directory: which file holds the model, and what its signature says."""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

from scorestream_server.domain.errors import ScorestreamError, invalid
from scorestream_server.domain.labels import LONGEST_LABEL, MOST_LABELS, labels_fault
from scorestream_server.domain.mlflow import LARGEST_MLMODEL, Mlmodel, MlmodelInput

_DEEPEST = 32
_LONGEST_TYPE = 64
_DEFAULT_FILES = {"xgboost": "model.xgb", "lightgbm": "model.lgb"}
_VERSIONS = {"xgboost": "xgb_version", "lightgbm": "lgb_version"}
_PICKLES = (".pkl", ".pickle", ".joblib", ".cloudpickle", ".skops")
_PROVENANCE = ("mlflow_version", "model_id", "model_uuid", "run_id", "utc_time_created")
_NATIVE = {
    "xgboost": "log it with mlflow.xgboost.log_model(model, model_format='ubj')",
    "lightgbm": "log its booster: mlflow.lightgbm.log_model(model.booster_)",
}


def read_mlmodel(text: str) -> Mlmodel:
    """Return what an MLmodel file says.

    Raises:
        ScorestreamError: INVALID_ARGUMENT: MLMODEL_INVALID; MLFLOW_FLAVOR, where none of its flavours is scored here;
            MLFLOW_PATH, where it names a file outside of its directory.
    """
    document = _document(text)
    flavors = document.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise _bad("it has no flavors")
    flavor = next((name for name in _DEFAULT_FILES if isinstance(flavors.get(name), dict)), None)
    if flavor is None:
        raise _no_flavor([str(name) for name in flavors])
    settings = flavors[flavor]
    path = _data_path(flavor, settings.get("data") or _DEFAULT_FILES[flavor])
    signature = document.get("signature")
    return Mlmodel(
        flavor=flavor,
        data_path=path,
        library_version=_short(settings.get(_VERSIONS[flavor])),
        inputs=_inputs(signature) if isinstance(signature, dict) else (),
        metadata=_metadata(document, flavor, settings),
    )


def _document(text: str) -> Mapping[Any, Any]:
    if len(text.encode()) > LARGEST_MLMODEL:
        raise _bad(f"it is larger than {LARGEST_MLMODEL:,} bytes")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # MLflow writes no references, which can make a small text huge; and no depths.
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.AliasEvent):
                raise _bad(f"it has a reference (*) in line {event.start_mark.line + 1}")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise _bad(f"it is nested too deeply in line {event.start_mark.line + 1}")
        found = yaml.load(text, Loader=loader)  # noqa: S506  # a safe loader, made in C
    except (yaml.YAMLError, ValueError) as error:
        raise _bad(f"it is no YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(found, dict):
        raise _bad("it is no mapping")
    return found


def _no_flavor(names: Sequence[str]) -> ScorestreamError:
    shown = ", ".join(name[:40] for name in sorted(names)[:10])
    if "sklearn" in names:
        what = (
            "a scikit-learn model is a pickle, and a pickle is a program; write it with "
            "treelite.sklearn.import_model(model).serialize('m.tl') and register that file"
        )
    elif names == ["python_function"]:
        what = "a python_function is a program; save the model in it in its library's own format and register that file"
    else:
        what = "save the model with XGBoost, LightGBM or treelite, or write it as score code, and register that file"
    return invalid(
        "MLFLOW_FLAVOR",
        f"This MLflow model has the flavors {shown}; those that are scored here are xgboost and lightgbm: {what}.",
    )


def _data_path(flavor: str, value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 1000:
        raise _bad(f"the data of its flavor {flavor} is no path")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or not path.parts:
        raise invalid(
            "MLFLOW_PATH",
            f"The MLmodel file says that its {flavor} model is in {value!r}; it has to be a file in its own directory.",
        )
    if path.suffix.lower() in _PICKLES:
        raise invalid(
            "MODEL_PICKLE",
            f"The {flavor} model of this MLflow directory is {value!r}, and a pickle is a program: {_NATIVE[flavor]}.",
        )
    return str(path)


def _inputs(signature: Mapping[Any, Any]) -> tuple[MlmodelInput, ...]:
    given = signature.get("inputs")
    if not given:
        return ()
    try:
        listed = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise _bad("the inputs of its signature are no list of columns")
    if any(one.get("type") == "tensor" for one in listed):
        return _tensor(listed)
    return tuple(
        MlmodelInput(str(one.get("name") or ""), str(one.get("type", ""))[:_LONGEST_TYPE]) for one in listed
    )


def _tensor(listed: Sequence[Mapping[str, Any]]) -> tuple[MlmodelInput, ...]:
    """Return the columns of a matrix; several tensors, or one of another form, are no table."""
    spec = listed[0].get("tensor-spec")
    shape = spec.get("shape") if isinstance(spec, dict) else None
    if len(listed) != 1 or not isinstance(spec, dict) or not isinstance(shape, list) or len(shape) != 2:
        raise _bad("the inputs of its signature are no columns, and no matrix")
    width = shape[1]
    if not isinstance(width, int) or width == -1:
        return ()  # as many as there may be
    return (MlmodelInput("", str(spec.get("dtype", ""))[:_LONGEST_TYPE], width),)


def _metadata(document: Mapping[Any, Any], flavor: str, settings: Mapping[Any, Any]) -> dict[str, str]:
    """Return where it comes from, and those of its own metadata that are short texts, numbers or flags."""
    found = {"mlflow.flavor": flavor}
    for name in _PROVENANCE:
        found[f"mlflow.{name}"] = _short(document.get(name))
    found["mlflow.model_class"] = _short(settings.get("model_class"))
    own = document.get("metadata")
    for name, value in own.items() if isinstance(own, dict) else ():
        if isinstance(value, str | int | float):
            found[str(name)] = _short(value)
    kept = {name: text for name, text in found.items() if text and labels_fault({name: text}) is None}
    return dict(list(kept.items())[:MOST_LABELS])


def _short(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= LONGEST_LABEL and text.isprintable() else ""


def _bad(told: str) -> ScorestreamError:
    return invalid("MLMODEL_INVALID", f"The MLmodel file cannot be used: {told}.")
