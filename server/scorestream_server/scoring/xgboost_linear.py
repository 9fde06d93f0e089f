"""The linear models of XGBoost, booster ``gblinear``: their weights, from a document that may be anything."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import PostProcessor
from scorestream_server.domain.errors import ScorestreamError, invalid
from scorestream_server.domain.model import Training
from scorestream_server.scoring.kinds import MOST_FEATURES, MOST_OUTPUTS

_LINKS: Mapping[PostProcessor, tuple[str, ...]] = {
    PostProcessor.IDENTITY: (
        "reg:squarederror",
        "reg:linear",
        "reg:squaredlogerror",
        "reg:pseudohubererror",
        "reg:absoluteerror",
        "reg:quantileerror",
        "binary:logitraw",
        "rank:pairwise",
        "rank:ndcg",
        "rank:map",
    ),
    PostProcessor.SIGMOID: ("binary:logistic", "reg:logistic"),
    PostProcessor.HINGE: ("binary:hinge",),
    PostProcessor.EXPONENTIAL: ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"),
    PostProcessor.SOFTMAX: ("multi:softmax", "multi:softprob"),
}
"""The objectives that treelite knows, and its links for them."""
_LINK_OF = {objective: link for link, objectives in _LINKS.items() for objective in objectives}
_TO_MARGIN: Mapping[PostProcessor, Callable[[np.float32], np.float32]] = {
    PostProcessor.SIGMOID: lambda score: -np.log(np.float32(1) / score - np.float32(1)),
    PostProcessor.EXPONENTIAL: np.log,
}


@dataclass(frozen=True, slots=True, eq=False)
class LinearFile:
    """A linear model as its file describes it; ``F`` features, ``O`` outputs.

    Attributes:
        weights: float32, shape ``(F, O)``.
        bias: float32, shape ``(O,)``: the margins of a row without any value.
        classes: the number of classes of each target, as `ForestArrays.classes`.
        link: from margin to score.
        names: the features' names, empty where the file has none.
        types: the features' types in its own words; empty where it has none.
        training: what it says of how it was trained.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    classes: tuple[int, ...]
    link: PostProcessor
    names: tuple[str, ...]
    types: tuple[str, ...]
    training: Training


def read(
    learner: Mapping[str, Any], names: tuple[str, ...], types: tuple[str, ...], trained: Training
) -> LinearFile:
    """Take the weights out of a document.

    Args:
        learner: its part of this name, as parsed.
        names: the features'.
        types: likewise.
        trained: what the document says of its training.

    Raises:
        ScorestreamError: INVALID_ARGUMENT: MODEL_EMPTY, MODEL_TOO_LARGE, MODEL_OBJECTIVE, MODEL_CORRUPT.
        ValueError, KeyError, TypeError, OverflowError: something is missing, or has another type.
    """
    link = _LINK_OF.get(trained.objective)
    if link is None:
        raise invalid(
            "MODEL_OBJECTIVE",
            f"The model has the objective {trained.objective[:100]!r}, whose scores are not known here; linear models may "
            f"have {', '.join(sorted(_LINK_OF))}.",
        )
    params = learner["learner_model_param"]
    features, classes = int(params["num_feature"]), _classes(params)
    outputs = sum(classes)
    for count, most, what in ((features, MOST_FEATURES, "features"), (outputs, MOST_OUTPUTS, "outputs")):
        if not 0 < count <= most:
            raise invalid("MODEL_TOO_LARGE", f"The model has {count:,} {what}, at most {most:,} are taken.")
    weights = _weights(learner["gradient_booster"]["model"]["weights"])
    if not len(weights):
        raise invalid(
            "MODEL_EMPTY", "The model holds no weights: train it for at least one round and save it again."
        )
    if len(weights) != (features + 1) * outputs:
        raise _not_sound(f"{len(weights):,} weights for {features:,} features and {outputs:,} outputs")
    table = weights.reshape(features + 1, outputs)
    return LinearFile(
        weights=table[:-1],
        bias=table[-1] + _base_margin(trained, link),
        classes=classes,
        link=link,
        names=names,
        types=types,
        training=trained,
    )


def _classes(params: Mapping[str, Any]) -> tuple[int, ...]:
    classes, targets = int(params["num_class"]), int(params.get("num_target", 1))
    if classes > 1 and targets > 1:
        raise _not_sound("both classes and several targets")
    if targets > MOST_OUTPUTS:  # before there is a number for each
        raise invalid(
            "MODEL_TOO_LARGE", f"The model has {targets:,} outputs, at most {MOST_OUTPUTS:,} are taken."
        )
    return (classes,) if classes > 1 else (1,) * max(1, targets)


def _weights(given: Any) -> NDArray[np.float32]:
    found = np.asarray(given, np.float64)  # with a type, a long text among numbers makes no wide array
    if found.ndim != 1:
        raise _not_sound("weights that are no list of numbers")
    with np.errstate(over="ignore"):
        weights = found.astype(np.float32)
    if not np.all(np.isfinite(weights)):
        raise invalid(
            "MODEL_NOT_FINITE",
            "The model has weights that are infinite or not a number: its training diverged. Train it again with a "
            "smaller eta, or with updater=coord_descent.",
        )
    return weights


def _base_margin(trained: Training, link: PostProcessor) -> np.float32:
    """Return what every margin begins with.

    XGBoost keeps one for each output and begins all outputs of a linear model with the first (seen with 3.2).
    """
    score = np.float32(trained.base_scores[0] if trained.base_scores else math.nan)
    with np.errstate(all="ignore"):
        margin = _TO_MARGIN.get(link, np.float32)(score)
    if not np.isfinite(margin):
        raise _not_sound("a base_score that its objective cannot have")
    return np.float32(margin)


def _not_sound(what: str) -> ScorestreamError:
    return invalid("MODEL_CORRUPT", f"The model is not sound: it has {what}. Save the model again.")
