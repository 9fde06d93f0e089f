"""Models on the wire."""

from collections.abc import Mapping
from dataclasses import dataclass

from scorestream.v1 import model_pb2, model_service_pb2
from scorestream_server.api import names
from scorestream_server.api.convert import model_name, timestamp
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.model import Model, Training

LONGEST_COMMENT = 1000


@dataclass(frozen=True, slots=True)
class Said:
    """What a client says of a model at its registration."""

    comment: str
    labels: Mapping[str, str]
    metadata: Mapping[str, str]
    artifacts: Mapping[str, str]


def said(
    place: str, message: model_service_pb2.RegisterModelHeader | model_service_pb2.ImportModelRequest
) -> Said:
    """Return what a registration says of the model, if it is allowed.

    Args:
        place: what stands before the names of fields in what is told of them.
        message: the header, or the request.
    """
    return Said(
        check_comment(f"{place}comment", message.comment),
        names.check_labels(f"{place}labels", message.labels),
        names.check_labels(f"{place}metadata", message.metadata),
        dict(message.artifacts),
    )


def check_comment(field: str, text: str) -> str:
    """Return a comment, if it is allowed."""
    if len(text) > LONGEST_COMMENT or not text.isprintable():
        told = f"it is not printable on one line, or longer than {LONGEST_COMMENT:,} characters"
        raise invalid("INVALID_COMMENT", f"{field}: {told}.", [FieldFault(field, told)])
    return text


def model(value: Model) -> model_pb2.Model:
    """Return a model version for the wire."""
    schema = value.schema
    return model_pb2.Model(
        name=model_name(value.model_id, value.version),
        model_id=value.model_id,
        version=value.version,
        kind=schema.kind.value,
        digest=value.digest,
        size_bytes=value.size_bytes,
        features=[
            model_pb2.ModelFeature(
                name=feature.name,
                categories=feature.categories,
                type=model_pb2.FeatureType.Value(f"FEATURE_TYPE_{feature.type}"),
                declared_type=feature.declared,
            )
            for feature in schema.features
        ],
        outputs=[
            model_pb2.ModelOutput(name=output.name, type=output.type.value) for output in schema.outputs
        ],
        description=schema.description,
        owner=value.owner,
        create_time=timestamp(value.create_time),
        comment=value.comment,
        labels=value.labels,
        aliases=value.aliases,
        metadata=value.metadata,
        training=_training(schema.training),
        artifacts={artifact.name: artifact.output for artifact in schema.artifacts},
    )


def _training(value: Training) -> model_pb2.ModelTraining:
    return model_pb2.ModelTraining(
        library=value.library,
        library_version=value.library_version,
        objective=value.objective,
        trees=value.trees,
        base_scores=value.base_scores,
        classes=value.classes,
        attributes=value.attributes,
    )
