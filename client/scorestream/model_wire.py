"""Models on the wire."""

from scorestream.model_records import FeatureType, ModelFeature, ModelInfo, ModelOutput, ModelTraining
from scorestream.v1 import model_pb2
from scorestream.wire import time_of

_TYPES = {
    model_pb2.FEATURE_TYPE_CATEGORY: FeatureType.CATEGORY,
    model_pb2.FEATURE_TYPE_TEXT: FeatureType.TEXT,
}


def model_info(message: model_pb2.Model) -> ModelInfo:
    """Return a version of a model."""
    training = message.training
    return ModelInfo(
        name=message.model_id,
        version=message.version,
        kind=message.kind,
        digest=message.digest,
        size_bytes=message.size_bytes,
        features=tuple(map(_feature, message.features)),
        outputs=tuple(ModelOutput(output.name, output.type) for output in message.outputs),
        description=message.description,
        owner=message.owner,
        created=time_of(message.create_time),
        comment=message.comment,
        labels=dict(sorted(message.labels.items())),
        aliases=tuple(message.aliases),
        metadata=dict(sorted(message.metadata.items())),
        training=ModelTraining(
            training.library,
            training.library_version,
            training.objective,
            training.trees,
            tuple(training.base_scores),
            training.classes,
            dict(sorted(training.attributes.items())),
        ),
        artifacts=dict(sorted(message.artifacts.items())),
    )


def _feature(message: model_pb2.ModelFeature) -> ModelFeature:
    kind = _TYPES.get(message.type, FeatureType.NUMBER)
    return ModelFeature(message.name, tuple(message.categories), kind, message.declared_type)
