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
from scorestream_server.scoring.model_files import Category, ForestFile, read_model_file
from scorestream_server.scoring.outputs import output_arrays, output_columns
from scorestream_server.scoring.reasons import ForestReasons, WantedReasons, reason_columns
from scorestream_server.scoring.row_errors import MOST_ROWS, RowErrors
from scorestream_server.scoring.training import XGBOOST_CATEGORY, classes_of
from scorestream_server.scoring.treelite_import import forest_from_treelite

_USUAL_DEPTH = 6.0
_REASONS_A_VISIT = 3.3
"""Edges times points that take as long as one tree visit: measured, 3.2 to 4.9."""


def load_forest(path: Path, kind: ModelKind) -> tuple[ForestArrays, ModelSchema]:
    """Read a model file into arrays and a schema.

    Raises:
        ScorestreamError: INVALID_ARGUMENT; the file is damaged, empty, a pickle, or a model without trees.
    """
    file = read_model_file(path, kind)
    if not isinstance(file, ForestFile):
        raise invalid("MODEL_LINEAR", f"{path.name} is a linear model, which has no trees.")
    return forest_of(file, kind)


class ForestScorer:
    """A forest prepared for one device; implements `scoring.base.Scorer`.

    Raises:
        ScorestreamError: as `forest_of`.
    """

    def __init__(self, file: ForestFile, kind: ModelKind, device: Device) -> None:
        forest, self._schema = forest_of(file, kind)
        self._categories = _categories(forest, file)
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
        return output_arrays(self._classes, scores)

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


def forest_of(file: ForestFile, kind: ModelKind) -> tuple[ForestArrays, ModelSchema]:
    """Make arrays and a schema of what a file holds.

    Raises:
        ScorestreamError: INVALID_ARGUMENT; it is not sound, or too large.
    """
    try:
        forest = forest_from_treelite(
            file.model, lightgbm=kind is ModelKind.LIGHTGBM, sigmoid_alpha=file.sigmoid_alpha
        )
    except (ValueError, LookupError, ArithmeticError) as error:  # indexes and names in it that lead nowhere
        raise invalid("MODEL_CORRUPT", f"The model is not sound ({error}). Save the model again.") from None
    return forest, _schema(forest, file, kind)


def _categories(forest: ForestArrays, file: ForestFile) -> tuple[tuple[Category, ...], ...]:
    return tuple(file.categories.get(place, ()) for place in range(forest.num_features))


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
    return output_columns(forest.classes, score)
