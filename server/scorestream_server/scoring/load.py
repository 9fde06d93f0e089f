"""Which kind of model a file holds, and the scorer for it."""

from collections.abc import Sequence
from pathlib import Path

from scorestream_server.device.base import Device
from scorestream_server.domain.errors import invalid
from scorestream_server.domain.model import ModelKind, ModelSchema
from scorestream_server.domain.variable import Variable
from scorestream_server.scoring.base import Scorer
from scorestream_server.scoring.expression import ExpressionScorer
from scorestream_server.scoring.forest import ForestScorer, forest_of
from scorestream_server.scoring.kinds import KINDS
from scorestream_server.scoring.linear import LinearScorer, linear_schema
from scorestream_server.scoring.model_files import read_model_file, refuse_pickle
from scorestream_server.scoring.xgboost_linear import LinearFile

_BY_ENDING = {ending: kind for kind, facts in KINDS.items() if facts.by_ending for ending in facts.endings}
"""Text says nothing of itself by its first bytes."""
_LEGACY = dict.fromkeys(KINDS[ModelKind.XGBOOST_LEGACY].endings, ModelKind.XGBOOST_LEGACY)
"""Older ones of these do not either."""
_UBJSON_KEY_LENGTHS = b"iUIlL"
_TREELITE_MAJOR_VERSIONS = range(3, 8)


def load_scorer(path: Path, kind: ModelKind, device: Device, variables: Sequence[Variable] = ()) -> Scorer:
    """Load a model and prepare it for a device.

    Args:
        path: its file.
        kind: what the file holds.
        device: where it will score.
        variables: values of the parameters of score code.

    Raises:
        ScorestreamError: INVALID_ARGUMENT; the file holds no model of that kind that can be scored.
    """
    if kind.score_code:
        return ExpressionScorer.from_file(path, kind, variables)
    file = read_model_file(path, kind)
    if isinstance(file, LinearFile):
        return LinearScorer(file, kind)
    return ForestScorer(file, kind, device)


def inspect_model(path: Path) -> ModelSchema:
    """Return what the model in a file needs and gives.

    Raises:
        ScorestreamError: INVALID_ARGUMENT; it is no model that can be scored.
    """
    kind = detect_kind(path)
    if kind.score_code:
        return ExpressionScorer.from_file(path, kind).schema
    file = read_model_file(path, kind)
    return linear_schema(file, kind) if isinstance(file, LinearFile) else forest_of(file, kind)[1]


def detect_kind(path: Path) -> ModelKind:
    """Tell a model file's kind by its first bytes, and by its ending where those say nothing.

    Raises:
        ScorestreamError: INVALID_ARGUMENT; a pickle, or nothing that is known.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise invalid(
            "MODEL_UNREADABLE", f"The model file {path.name} cannot be read: {error.strerror}."
        ) from None
    refuse_pickle(start, path.name)
    if not start.strip():
        raise invalid("MODEL_EMPTY", f"The model file {path.name} is empty.")
    ending = path.suffix.lower()
    known = _BY_ENDING.get(ending) or _kind_by_content(start) or _LEGACY.get(ending)
    if known is None:
        raise invalid(
            "MODEL_KIND_UNKNOWN",
            f"{path.name} is no model that this server knows: XGBoost (.json, .ubj, .model), LightGBM (.txt), a "
            "treelite checkpoint, or score code (.sql, .ds2).",
        )
    return known


def _kind_by_content(start: bytes) -> ModelKind | None:
    """Return the kind that a file's first bytes tell, if they do."""
    if start[:1] == b"{" and start[1:2] and start[1] in _UBJSON_KEY_LENGTHS:
        return ModelKind.XGBOOST_UBJ
    if start.lstrip()[:1] == b"{":
        return ModelKind.XGBOOST_JSON
    if start.startswith((b"tree\n", b"tree\r\n")):
        return ModelKind.LIGHTGBM
    if start.startswith(b"binf"):
        return ModelKind.XGBOOST_LEGACY
    if len(start) >= 12 and int.from_bytes(start[:4], "little") in _TREELITE_MAJOR_VERSIONS:
        return ModelKind.TREELITE
    return None
