"""Tree ensembles: load one from its file, and score Arrow columns with it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from scorestream_server.device.base import Device, Lane
from scorestream_server.device.forest_arrays import ForestArrays, PostProcessor
from scorestream_server.device.reason_pack import most_work, why_unexplained
from scorestream_server.domain.errors import counted, invalid
from scorestream_server.domain.model import ColumnType, Feature, ModelKind, ModelSchema, OutputColumn
from scorestream_server.scoring.feature_columns import FloatColumn, float_columns
from scorestream_server.scoring.model_files import Category, ForestFile, read_forest_file
from scorestream_server.scoring.reasons import ForestReasons, WantedReasons, reason_columns
from scorestream_server.scoring.row_errors import MOST_ROWS, RowErrors
from scorestream_server.scoring.training import XGBOOST_CATEGORY, classes_of
from scorestream_server.scoring.treelite_import import forest_from_treelite

FOREST_KINDS = frozenset(set(ModelKind) - {ModelKind.EXPRESSION})

_USUAL_DEPTH = 6.0
_REASONS_A_VISIT = 3.3
"""Edges times points that take as long as one tree visit: measured, 3.2 to 4.9."""


def load_forest(path: Path, kind: ModelKind) -> tuple[ForestArrays, ModelSchema]:
    """Read a model file into arrays and a schema.

    Raises:
        ScorestreamError: INVALID_ARGUMENT; the file is damaged, empty, a pickle, or a model without trees.
    """
    forest, schema, _ = _load(path, kind)
    return forest, schema


class ForestScorer:
    """A forest prepared for one device; implements `scoring.base.Scorer`."""

    def __init__(self, path: Path, kind: ModelKind, device: Device) -> None:
        forest, self._schema, self._categories = _load(path, kind)
        self._classes = forest.classes
        self._narrow = forest.narrow
        self._unknown_is_missing = _unknown_is_missing(kind)
        self._single_score = _one_score_of_two_classes(forest)
        self._prepared = device.prepare_forest(forest)
        self._reasons = ForestReasons(forest, device)

    @property
    def schema(self) -> ModelSchema:
        """What the model needs and gives."""
        return self._schema

    @property
    def rows_at_once(self) -> int:
        """Any number."""
        return MOST_ROWS

    def score(
        self, columns: Sequence[pa.Array], lane: Lane, errors: RowErrors | None = None
    ) -> list[pa.Array]:
        """Score rows; see `scoring.base.Scorer`."""
        values = self._values(columns, errors)
        scores = lane.score_forest(self._prepared, values)
        if self._single_score:
            return [pa.array(np.ascontiguousarray(scores[:, 1]))]
        width = max(self._classes)
        results = []
        for target, classes in enumerate(self._classes):
            part = scores[:, target * width : target * width + classes]
            results += [pa.array(np.ascontiguousarray(part[:, place])) for place in range(classes)]
            if classes > 1:
                results.append(pa.array(np.argmax(part, axis=1).astype(np.int32)))
        return results

    def explain(
        self,
        columns: Sequence[pa.Array],
        scores: Sequence[pa.Array],
        lane: Lane,
        wanted: WantedReasons,
        errors: RowErrors | None = None,
    ) -> list[pa.Array]:
        """Give rows' reasons; see `scoring.base.Scorer`."""
        explained = 1 if self._single_score else 0 if self._classes == (1,) else scores[-1].to_numpy()
        found = self._reasons.find(self._values(columns, errors), lane, wanted.most, explained)
        single = self._schema.outputs[0].type is ColumnType.FLOAT32
        return reason_columns(wanted.names, found, np.dtype(np.float32 if single else np.float64))

    def _values(self, columns: Sequence[pa.Array], errors: RowErrors | None) -> list[FloatColumn]:
        return float_columns(
            columns,
            self._schema.features,
            self._categories,
            self._narrow,
            unknown_is_missing=self._unknown_is_missing,
            errors=errors,
        )


def _unknown_is_missing(kind: ModelKind) -> bool:
    """LightGBM's predict takes an unknown category for a missing value; XGBoost's refuses it."""
    return kind is ModelKind.LIGHTGBM


def _load(path: Path, kind: ModelKind) -> tuple[ForestArrays, ModelSchema, tuple[tuple[Category, ...], ...]]:
    file = read_forest_file(path, kind)
    try:
        forest = forest_from_treelite(
            file.model, lightgbm=kind is ModelKind.LIGHTGBM, sigmoid_alpha=file.sigmoid_alpha
        )
    except (ValueError, LookupError, ArithmeticError) as error:  # indexes and names in it that lead nowhere
        raise invalid(
            "MODEL_CORRUPT", f"The model in {path.name} is not sound ({error}). Save the model again."
        ) from None
    if len(set(file.names)) != len(file.names):
        raise invalid(
            "MODEL_FEATURES", f"{path.name} has two features of one name. Rename them and train again."
        )
    categories = tuple(file.categories.get(place, ()) for place in range(forest.num_features))
    return forest, _schema(forest, file, kind), categories


def _schema(forest: ForestArrays, file: ForestFile, kind: ModelKind) -> ModelSchema:
    names = file.names or ("",) * forest.num_features
    types = file.types if len(file.types) == forest.num_features else ("",) * forest.num_features
    split = set(forest.feature[forest.categorical].tolist())
    features = tuple(
        Feature(
            name,
            tuple(value for value in file.categories.get(place, ()) if isinstance(value, str)),
            category=place in split or place in file.categories or types[place] == XGBOOST_CATEGORY,
            declared=types[place],
        )
        for place, name in enumerate(names)
    )
    depth = float(np.maximum(forest.tree_depths(), 1).mean())
    return ModelSchema(
        kind=kind,
        features=features,
        outputs=_outputs(forest),
        cost=max(1.0, forest.trees * depth / _USUAL_DEPTH),
        description=f"{file.summary}, {counted(forest.trees, 'tree')}, {counted(forest.num_features, 'feature')}",
        training=dataclasses.replace(
            file.training, trees=forest.trees, classes=classes_of(file.training.objective, forest.classes)
        ),
        row_errors=bool(file.categories) and not _unknown_is_missing(kind),
        unexplained=why_unexplained(forest),
        reasons_cost=most_work(forest) / _REASONS_A_VISIT,
    )


def _one_score_of_two_classes(forest: ForestArrays) -> bool:
    """Whether the two outputs are a binary classifier's probabilities, as scikit-learn's forests give them."""
    two = forest.classes == (2,)
    return two and forest.average and forest.postprocessor is PostProcessor.IDENTITY_MULTICLASS


def _outputs(forest: ForestArrays) -> tuple[OutputColumn, ...]:
    score = ColumnType.FLOAT32 if forest.leaves.dtype == np.float32 else ColumnType.FLOAT64
    if _one_score_of_two_classes(forest) or forest.classes == (1,):
        return (OutputColumn("score", score),)
    columns: list[OutputColumn] = []
    several = len(forest.classes) > 1
    for target, classes in enumerate(forest.classes):
        suffix = f"_{target}" if several else ""
        if classes == 1:
            columns.append(OutputColumn(f"score{suffix}", score))
            continue
        columns += [OutputColumn(f"score{suffix}_{place}", score) for place in range(classes)]
        columns.append(OutputColumn(f"label{suffix}", ColumnType.INT32))
    return tuple(columns)
