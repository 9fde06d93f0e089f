"""In what two versions of models differ: a pure function over what is known of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from scorestream.model_records import ModelComparison, ModelDifference, ModelFeature, ModelInfo

_FACTS = ("kind", "digest", "size_bytes", "description", "comment", "owner")
_TRAINING = ("library", "library_version", "objective", "trees", "base_scores", "classes")


def compared(first: ModelInfo, second: ModelInfo) -> ModelComparison:
    """Return two versions beside each other."""
    names = [[feature.name for feature in info.features] for info in (first, second)]
    return ModelComparison(
        f"{first.name}@{first.version}",
        f"{second.name}@{second.version}",
        first.digest == second.digest and names[0] == names[1],
        tuple(_differences(first, second)),
    )


def _differences(first: ModelInfo, second: ModelInfo) -> Iterator[ModelDifference]:
    yield from _attributes(first, second, _FACTS)
    yield from _inputs(_by_name(first), _by_name(second))
    outputs = [{output.name: output.type for output in info.outputs} for info in (first, second)]
    yield from _entries("output", *outputs)
    yield from _attributes(first.training, second.training, _TRAINING)
    yield from _entries("training", first.training.attributes, second.training.attributes)
    yield from _entries("metadata", first.metadata, second.metadata)
    yield from _entries("label", first.labels, second.labels)
    if first.aliases != second.aliases:
        yield ModelDifference("aliases", "", list(first.aliases), list(second.aliases))


def _by_name(info: ModelInfo) -> dict[str, ModelFeature]:
    """Return inputs by their names, or by their places where they have none."""
    return {feature.name or f"#{place}": feature for place, feature in enumerate(info.features)}


def _inputs(
    first: Mapping[str, ModelFeature], second: Mapping[str, ModelFeature]
) -> Iterator[ModelDifference]:
    for name in [*first, *(name for name in second if name not in first)]:
        one, other = first.get(name), second.get(name)
        if one is None or other is None:
            yield ModelDifference("input", name, _type(one), _type(other))
            continue
        if one.type is not other.type:
            yield ModelDifference("input type", name, _type(one), _type(other))
        if one.declared_type != other.declared_type:
            yield ModelDifference(
                "declared type", name, one.declared_type or None, other.declared_type or None
            )
        if one.categories != other.categories:
            yield ModelDifference("categories", name, list(one.categories), list(other.categories))
    common = [[name for name in names if name in first and name in second] for names in (first, second)]
    if common[0] != common[1]:
        yield ModelDifference("input order", "", common[0], common[1])


def _type(feature: ModelFeature | None) -> str | None:
    return None if feature is None else feature.type.value


def _attributes(first: Any, second: Any, names: tuple[str, ...]) -> Iterator[ModelDifference]:
    for name in names:
        one, other = getattr(first, name), getattr(second, name)
        if one != other:
            yield ModelDifference(name.removesuffix("_bytes").replace("_", " "), "", one, other)


def _entries(what: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[ModelDifference]:
    for name in [*first, *(name for name in second if name not in first)]:
        if first.get(name) != second.get(name):
            yield ModelDifference(what, name, first.get(name), second.get(name))
