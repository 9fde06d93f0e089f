"""Directories as MLflow writes them: an MLmodel file beside the model's own file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

RUN = "0aa3cdce14f448a79be2482a5ebedc5c"


def columns(**types: str) -> str:
    """Return the inputs of a signature, columns with types in MLflow's words, as it writes them."""
    return json.dumps([{"type": kind, "name": name, "required": True} for name, kind in types.items()])


def matrix(width: int, dtype: str = "float64") -> str:
    """Return the inputs of a signature of a model that was logged with an array."""
    return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, width]}}])


def flavor(name: str, data: str, **more: Any) -> dict[str, Any]:
    """Return the flavors of a model that a library of this name logged."""
    versions = {"xgboost": "xgb_version", "lightgbm": "lgb_version"}
    own = {"code": None, "data": data, "model_class": f"{name}.Booster", versions[name]: "9.8.7", **more}
    python = {
        "data": data,
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "loader_module": f"mlflow.{name}",
        "python_version": "3.11.9",
    }
    return {"python_function": python, name: own}


def mlmodel(
    flavors: Mapping[str, Any], inputs: str | None = None, *, version: str = "3.14.0", **more: Any
) -> str:
    """Return the text of an MLmodel file of MLflow 2 or 3."""
    third = {"model_id": "m-5f0c8a", "prompts": None} if version.startswith("3") else {}
    content = {
        "artifact_path": "model",
        "flavors": flavors,
        "is_signature_from_type_hint": False,
        "mlflow_version": version,
        "model_size_bytes": 4711,
        "model_uuid": "a7314358d6854fc69951d56f36d070c1",
        "run_id": RUN,
        "utc_time_created": "2025-05-05 10:00:00.000000",
        **third,
        **more,
    }
    if inputs is not None:
        outputs = json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1]}}])
        content["signature"] = {"inputs": inputs, "outputs": outputs, "params": None}
    text: str = yaml.safe_dump(content, default_flow_style=False, allow_unicode=True)
    return text


def write(folder: Path, text: str, files: Sequence[str] = ("conda.yaml", "requirements.txt")) -> Path:
    """Make a directory of an MLmodel file and of what MLflow puts beside it; the model's file is the caller's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MLmodel").write_text(text)
    for name in files:
        (folder / name).write_text("# written by mlflow\n")
    return folder
