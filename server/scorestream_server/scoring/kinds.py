"""What is known of each kind of model without reading one: light, because the server itself imports it."""

from collections.abc import Mapping
from dataclasses import dataclass

from scorestream_server.domain.model import ModelKind
from scorestream_server.scoring.sql_terms import MAX_BYTES, MAX_OPERATIONS, MAX_OUTPUTS, MAX_TERMS

MOST_FEATURES = 1 << 18
"""A file of a few bytes may claim thousands of millions, and there are arrays of a value a feature. An answer that names
so many is still one that gRPC clients take as they are, which is 4 MiB."""
MOST_OUTPUTS = 1 << 12
"""Columns of a result, a class each."""
MOST_NODES = 1 << 26
"""Each takes some 60 bytes while a model is read; the largest that train in practice have a few millions."""

_FOREST = {"features": MOST_FEATURES, "outputs": MOST_OUTPUTS, "nodes": MOST_NODES}
_SQL = {"bytes": MAX_BYTES, "parts": MAX_TERMS, "outputs": MAX_OUTPUTS}
_DS2 = {"bytes": MAX_BYTES, "operations": MAX_OPERATIONS, "outputs": MAX_OUTPUTS}


@dataclass(frozen=True, slots=True)
class KindFacts:
    """A kind of model.

    Attributes:
        description: a line for a person.
        library: the distribution that reads it.
        endings: of its files, by custom.
        limits: what a model may have at most, by name.
        by_ending: whether a file is of this kind for its ending alone.
    """

    description: str
    library: str
    endings: tuple[str, ...]
    limits: Mapping[str, int]
    by_ending: bool = False


KINDS: Mapping[ModelKind, KindFacts] = {
    ModelKind.XGBOOST_JSON: KindFacts("XGBoost, JSON", "treelite", (".json",), _FOREST),
    ModelKind.XGBOOST_UBJ: KindFacts("XGBoost, UBJSON", "treelite", (".ubj",), _FOREST),
    ModelKind.XGBOOST_LEGACY: KindFacts(
        "XGBoost, old binary format", "treelite", (".model", ".bin", ".xgb"), _FOREST
    ),
    ModelKind.LIGHTGBM: KindFacts("LightGBM, text", "treelite", (".txt",), _FOREST),
    ModelKind.TREELITE: KindFacts("treelite checkpoint", "treelite", (".tl",), _FOREST),
    ModelKind.EXPRESSION: KindFacts("score code, SQL", "sqlglot", (".sql",), _SQL, by_ending=True),
    ModelKind.DS2: KindFacts("score code, DS2", "lark", (".ds2", ".sas"), _DS2, by_ending=True),
}
