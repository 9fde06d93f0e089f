"""What model files say of how they were trained. It is told to people and never used to score."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import treelite

from scorestream_server.domain.labels import LONGEST_LABEL, MOST_LABELS
from scorestream_server.domain.model import Training

XGBOOST_CATEGORY = "c"
"""XGBoost's word for a feature of categories."""


def of_xgboost(document: Mapping[str, Any]) -> Training:
    """Return what an XGBoost document says.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is not what it should be.
    """
    learner = document["learner"]
    version = document.get("version")
    return Training(
        library="xgboost",
        library_version="" if version is None else ".".join(str(int(part)) for part in version),
        objective=str(learner["objective"]["name"]),
        base_scores=_base_scores(str(learner.get("learner_model_param", {}).get("base_score", ""))),
        attributes=_attributes(learner.get("attributes") or {}),
    )


def of_lightgbm(fields: Mapping[str, str]) -> Training:
    """Return what the head of a LightGBM text says; the library's version is not in it, the format's is."""
    attributes = {"format": fields["version"]} if "version" in fields else {}
    return Training(
        library="lightgbm", objective=fields.get("objective", ""), attributes=_attributes(attributes)
    )


def of_treelite(model: treelite.Model, library: str) -> Training:
    """Return what treelite keeps of a model of a library, whose file says no more."""
    field: Any = model.get_header_accessor().get_field
    version = "major_ver", "minor_ver", "patch_ver"
    return Training(
        library=library,
        library_version=".".join(str(int(field(part)[0])) for part in version)
        if library == "treelite"
        else "",
        base_scores=_finite(field("base_scores")),
    )


def classes_of(objective: str, outputs: Sequence[int]) -> int:
    """Return how many classes a forest tells apart, by its objective and its outputs' widths; 0 for none."""
    widest = max(outputs, default=1)
    if widest > 1:
        return widest
    return 2 if objective.startswith("binary") else 0


def _base_scores(text: str) -> tuple[float, ...]:
    """Return the numbers of ``5E-1``, or of ``[5E-1,2E-1]`` as later versions write it."""
    return _finite(float(part) for part in text.strip("[]").split(",") if part.strip())


def _finite(scores: Iterable[float]) -> tuple[float, ...]:
    found = tuple(map(float, scores))
    return found if all(map(math.isfinite, found)) else ()


def _attributes(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes that are short texts; XGBoost keeps whole documents in some."""
    texts = {str(name): str(value) for name, value in given.items()}
    short = {
        name: text
        for name, text in texts.items()
        if len(name) <= LONGEST_LABEL and len(text) <= LONGEST_LABEL and (name + text).isprintable()
    }
    return dict(sorted(short.items())[:MOST_LABELS])
