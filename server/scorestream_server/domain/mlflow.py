"""MLflow models: what an MLmodel file says, and whether its signature is that of the model beside it."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid
from scorestream_server.domain.model import Feature, FeatureType, ModelSchema

MLMODEL = "MLmodel"
"""Name of the file that makes a directory an MLflow model."""
LARGEST_MLMODEL = 1 << 20
_NUMBERS = frozenset(
    {"boolean", "integer", "long", "float", "double", "bool"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
    | {f"float{bits}" for bits in (16, 32, 64)}
)
_TEXTS = frozenset({"string", "str", "object"})
_MOST_TOLD = 10


@dataclass(frozen=True, slots=True)
class MlmodelInput:
    """A column of a signature, or as many as a matrix has.

    Attributes:
        name: empty where it has none.
        type: in MLflow's words, for example ``double``; of a matrix NumPy's, for example ``float64``.
        count: how many columns of this type it stands for.
    """

    name: str
    type: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Mlmodel:
    """What an MLmodel file says.

    Attributes:
        flavor: the one that is used.
        data_path: of the model's file, from the directory on.
        library_version: of the library that wrote it; empty where it is not said.
        inputs: of its signature; none where it has no signature.
        metadata: where it comes from, by name.
    """

    flavor: str
    data_path: str
    library_version: str = ""
    inputs: Sequence[MlmodelInput] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def with_mlmodel(schema: ModelSchema, mlmodel: Mlmodel) -> ModelSchema:
    """Return a model's schema with what the MLmodel file beside it says: names where the model has none, and types.

    Raises:
        ScorestreamError: INVALID_ARGUMENT: MLFLOW_FLAVOR, where the file is of another library; SIGNATURE_MISMATCH, with
            everything in which signature and model differ.
    """
    training = schema.training
    if training.library != mlmodel.flavor:
        raise invalid(
            "MLFLOW_FLAVOR",
            f"The MLmodel file speaks of a model of {mlmodel.flavor}, and {mlmodel.data_path!r} is one of "
            f"{training.library or 'no library'} ({schema.description}). Log the model again.",
        )
    training = dataclasses.replace(
        training, library_version=training.library_version or mlmodel.library_version
    )
    schema = dataclasses.replace(schema, training=training)
    if not mlmodel.inputs:
        return schema
    columns = _columns(schema.features, mlmodel.inputs)
    faults = [
        fault
        for feature, column in zip(schema.features, columns, strict=True)
        if (fault := _type_fault(feature, column))
    ]
    if faults:
        raise _mismatch(faults)
    features = tuple(
        dataclasses.replace(feature, name=feature.name or column.name, declared=column.type)
        for feature, column in zip(schema.features, columns, strict=True)
    )
    return dataclasses.replace(schema, features=features)


def _columns(features: Sequence[Feature], inputs: Sequence[MlmodelInput]) -> Sequence[MlmodelInput]:
    """Return the columns of a signature in the order of a model's features."""
    named = {column.name: column for column in inputs if column.name}
    if len(named) == len(inputs) and features[0].name:
        own = {feature.name for feature in features}
        faults = [f"the signature has no input {name!r}" for name in sorted(own - named.keys())]
        faults += [f"the model has no input {name!r}" for name in sorted(named.keys() - own)]
        if faults:
            raise _mismatch(faults)
        return [named[feature.name] for feature in features]
    count = sum(column.count for column in inputs)
    if count != len(features):
        raise _mismatch([f"the signature has {count:,} inputs, and the model {len(features):,}"])
    if named and len(named) != len(inputs):
        raise _mismatch(["two inputs of the signature have one name, or one has none"])
    return [column for column in inputs for _ in range(column.count)]


def _type_fault(feature: Feature, column: MlmodelInput) -> str:
    name = feature.name or column.name
    shown = f"the input {name!r}" if name else "an input"
    if column.type not in _NUMBERS | _TEXTS:
        return (
            f"{shown} is {column.type!r} in the signature, which no column of a table is that is scored here"
        )
    text = column.type in _TEXTS
    if text and not feature.categories:
        return f"{shown} is {column.type!r} in the signature, and a {_told(feature)} in the model"
    if feature.categories and not text:
        return f"{shown} is {column.type!r} in the signature, and has categories of text in the model"
    return ""


def _told(feature: Feature) -> str:
    return "category by number" if feature.type is FeatureType.CATEGORY else "number"


def _mismatch(faults: Sequence[str]) -> ScorestreamError:
    shown = "; ".join(faults[:_MOST_TOLD]) + ("; ..." if len(faults) > _MOST_TOLD else "")
    return invalid(
        "SIGNATURE_MISMATCH",
        f"The signature of this MLflow model is not that of its model file: {shown}. Log the model again with a signature "
        "that was inferred from its training data.",
        [FieldFault("signature", fault) for fault in faults],
    )
