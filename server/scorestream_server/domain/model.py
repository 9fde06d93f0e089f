"""Models: immutable registered scorers and their schemas."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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


class FeatureType(enum.StrEnum):
    """What kind of values an input takes."""

    NUMBER = "NUMBER"
    CATEGORY = "CATEGORY"
    TEXT = "TEXT"


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of a model.

    Attributes:
        name: the column that it is matched to, or an empty string where the model names no features
            (then its place in the list is the column's place in the table).
        categories: the category strings, in the order of their codes, of a feature that was
            trained on strings; empty for a number.
        text: True where the feature takes a string column (score code only).
        category: whether it is split by categories, also where the file has no strings for them.
        declared: its type in the words of the file or of an MLflow signature; empty where none is said.
    """

    name: str
    categories: tuple[str, ...] = ()
    text: bool = False
    category: bool = False
    declared: str = ""

    @property
    def type(self) -> FeatureType:
        """What kind of values it takes."""
        if self.text:
            return FeatureType.TEXT
        return FeatureType.CATEGORY if self.category or self.categories else FeatureType.NUMBER


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """One column that a model adds to each row."""

    name: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class Training:
    """What a model's file says of its training; what it does not say is empty.

    Attributes:
        library: that trained it or whose format it has: ``xgboost``, ``lightgbm``, ``treelite``; empty for score code.
        library_version: for example ``3.2.0``.
        objective: in the library's words.
        trees: how many.
        base_scores: what every score begins with, one or one a class, as the file has it.
        classes: how many it tells apart; 0 where it gives none.
        attributes: what else the file says.
    """

    library: str = ""
    library_version: str = ""
    objective: str = ""
    trees: int = 0
    base_scores: tuple[float, ...] = ()
    classes: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a model makes of each row: its name, and the output of the score code that it holds."""

    name: str
    output: str


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """What a model needs and what it gives.

    Attributes:
        kind: how the file is read.
        features: the inputs, in the model's own order.
        outputs: the columns of the result, in order.
        cost: relative work a row, in tree visits (at least 1): 500 for a forest of 500 trees.
        description: one line for a person, for example ``XGBoost, 100 trees, binary:logistic``.
        training: what the file says of how it was trained.
        artifacts: outputs that are files of their rows and no columns, by name; they are not among `outputs`.
        row_errors: whether there may be rows that it cannot score, whatever the types of their columns.
        unexplained: why its scores have no reasons, a clause for a person and what to do; empty where they have.
        reasons_cost: like `cost`, of the reasons of a row; 0 where nobody looked.
    """

    kind: ModelKind
    features: tuple[Feature, ...]
    outputs: tuple[OutputColumn, ...]
    cost: float
    description: str
    training: Training = Training()
    artifacts: tuple[Artifact, ...] = ()
    row_errors: bool = False
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
        comment: what its owner says about it; may change, as `labels` may.
        metadata: what its owner, or an MLmodel file, said at its registration of how it came to be.
        aliases: names that point to it, where they were asked for.
    """

    model_id: str
    version: int
    digest: str
    size_bytes: int
    file_name: str
    schema: ModelSchema
    owner: str
    create_time: float
    comment: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    aliases: Sequence[str] = ()
