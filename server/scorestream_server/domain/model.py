"""Models: immutable registered scorers and their schemas."""

import enum
from dataclasses import dataclass

MOST_REASONS = 100
"""Reasons that a row may be given."""
_USUAL_REASONS = 150
"""How many times the work of a score its reasons are, measured with 500 trees of depth 6 (100) and 8 (300)."""


class ModelKind(enum.StrEnum):
    """How a model's file is to be read."""

    XGBOOST_JSON = "xgboost_json"
    XGBOOST_UBJ = "xgboost_ubj"
    XGBOOST_LEGACY = "xgboost_legacy"
    LIGHTGBM = "lightgbm"
    TREELITE = "treelite"
    EXPRESSION = "expression"
    DS2 = "ds2"

    @property
    def score_code(self) -> bool:
        """Whether the file is text that is compiled to a program."""
        return self in {ModelKind.EXPRESSION, ModelKind.DS2}


class ColumnType(enum.StrEnum):
    """The types of score columns, named as Arrow names them."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of a model.

    Attributes:
        name: the column that it is matched to, or an empty string where the model names no features
            (then its place in the list is the column's place in the table).
        categories: the category strings, in the order of their codes, of a feature that was
            trained on strings; empty for a number.
        text: True where the feature takes a string column (score code only).
    """

    name: str
    categories: tuple[str, ...] = ()
    text: bool = False


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """One column that a model adds to each row."""

    name: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """What a model needs and what it gives.

    Attributes:
        kind: how the file is read.
        features: the inputs, in the model's own order.
        outputs: the columns of the result, in order.
        cost: relative work a row, in tree visits (at least 1): 500 for a forest of 500 trees.
        description: one line for a person, for example ``XGBoost, 100 trees, binary:logistic``.
        unexplained: why its scores have no reasons, a clause for a person and what to do; empty where they have.
        reasons_cost: like `cost`, of the reasons of a row; 0 where nobody looked.
    """

    kind: ModelKind
    features: tuple[Feature, ...]
    outputs: tuple[OutputColumn, ...]
    cost: float
    description: str
    unexplained: str = ""
    reasons_cost: float = 0.0

    def row_cost(self, *, explained: bool) -> float:
        """Return the relative work a row, its reasons included."""
        return self.cost + explained * (self.reasons_cost or _USUAL_REASONS * self.cost)

    @property
    def positional(self) -> bool:
        """Whether features are matched by their place, because the model has no names for them."""
        return bool(self.features) and not self.features[0].name


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a registered model; times are seconds since 1970, UTC.

    Attributes:
        model_id: the name that the client gave.
        version: from 1 upwards.
        digest: SHA-256 of the file, hexadecimal.
        file_name: name of the file in the server's model folder.
    """

    model_id: str
    version: int
    digest: str
    size_bytes: int
    file_name: str
    schema: ModelSchema
    owner: str
    create_time: float
