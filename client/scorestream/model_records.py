"""Models as records: versions, their inputs and outputs, what is known of them, and in what two differ."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


class FeatureType(enum.StrEnum):
    """What kind of values an input of a model takes."""

    NUMBER = "NUMBER"
    CATEGORY = "CATEGORY"
    TEXT = "TEXT"


@dataclass(frozen=True, slots=True)
class ModelFeature:
    """One input of a model.

    Attributes:
        name: of the column that it is matched to; empty: by position.
        categories: those that it was trained on, if they are text.
        type: what kind of values it takes.
        declared_type: its type in the words of the model's file, for example ``int``, or of an MLflow signature, for
            example ``double``; empty where neither says one.
    """

    name: str
    categories: tuple[str, ...] = ()
    type: FeatureType = FeatureType.NUMBER
    declared_type: str = ""


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """One column that a model adds to each row, and its Arrow type by name."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class ModelTraining:
    """What a model's file says of its training; what it does not say is empty.

    Attributes:
        library: that trained it, or whose format it has: ``xgboost``, ``lightgbm`` or ``treelite``.
        library_version: for example ``3.2.0``.
        objective: in the library's words, for example ``binary:logistic``.
        trees: how many.
        base_scores: what every score begins with, one or one a class.
        classes: how many it tells apart; 0 where it gives none.
        attributes: what else the file says, by name.
    """

    library: str = ""
    library_version: str = ""
    objective: str = ""
    trees: int = 0
    base_scores: tuple[float, ...] = ()
    classes: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One version of a model. Its content never changes; comment, labels and aliases may.

    Attributes:
        kind: how its file is read, for example ``xgboost_ubj`` or ``expression``.
        digest: SHA-256 of the file.
        description: one line, for example ``XGBoost, 100 trees, binary:logistic``.
        comment: what its owner says about it.
        labels: words of its owner for it, by name.
        aliases: names that point to it, for example ``champion``.
        metadata: what was said at its registration of how it came to be.
        training: what its file says of its training.
        artifacts: files that it makes of each row, by name, with the outputs that they hold.
    """

    name: str
    version: int
    kind: str
    digest: str
    size_bytes: int
    features: tuple[ModelFeature, ...]
    outputs: tuple[ModelOutput, ...]
    description: str
    owner: str
    created: datetime
    comment: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    training: ModelTraining = field(default_factory=ModelTraining)
    artifacts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelDifference:
    """One thing in which two versions differ.

    Attributes:
        what: for example ``input``, ``input type``, ``objective``, ``label``.
        name: of the input, output, label or attribute; empty where there is only one of its kind.
        first: what the first version has; None: it has none.
        second: what the second one has.
    """

    what: str
    name: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """Two versions beside each other.

    Attributes:
        first: ``name@version``.
        second: the other one.
        same_content: whether both score alike for sure: the same file, with inputs of the same names.
        differences: everything in which they differ, what is said of them too.
    """

    first: str
    second: str
    same_content: bool
    differences: tuple[ModelDifference, ...]
