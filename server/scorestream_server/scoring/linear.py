"""Linear models: a weight a feature and output, a bias, and a link function; scored with NumPy on the host.

A margin is summed as XGBoost sums it, in float32, feature by feature, so it has the same bits there, on every device and
whatever the partitioning; a matrix product's bits would hang on the number of rows. What is missing adds nothing. An
infinite value, which XGBoost refuses, has the score that floating point gives it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scorestream_server.device.base import Lane, Reasons
from scorestream_server.device.forest_numpy import link
from scorestream_server.device.reason_pack import several_targets
from scorestream_server.domain.errors import counted
from scorestream_server.domain.model import ColumnType, Feature, ModelKind, ModelSchema
from scorestream_server.scoring.feature_columns import FloatColumn, float_columns
from scorestream_server.scoring.outputs import output_arrays, output_columns
from scorestream_server.scoring.reasons import WantedReasons, not_explained, reason_columns
from scorestream_server.scoring.row_errors import MOST_ROWS, RowErrors
from scorestream_server.scoring.training import classes_of
from scorestream_server.scoring.xgboost_linear import LinearFile

_BLOCK = 1 << 15
"""Sums that are added to at a time: they stay in the processor's cache."""
_FEWEST_ROWS = 256
_MOST_CONTRIBUTIONS = 1 << 22
"""Held at a time; 16 MiB."""
_VISITS_A_FEATURE, _VISITS_A_TERM, _VISITS_OF_REASONS = 2.0, 0.25, 6.0
"""How many tree visits take as long as a feature of a row, as each output's term of it, and as a feature that may be a
reason: measured with 30 and 200 features and 1 to 100 outputs, right within a factor of 2."""


class LinearScorer:
    """A linear model; implements `scoring.base.Scorer`."""

    def __init__(self, file: LinearFile, kind: ModelKind) -> None:
        self._file = file
        self._schema = linear_schema(file, kind)

    @property
    def schema(self) -> ModelSchema:
        """What the model needs and gives."""
        return self._schema

    @property
    def rows_at_once(self) -> int:
        """Any number."""
        return MOST_ROWS

    def score(
        self,
        columns: Sequence[pa.Array],
        lane: Lane,  # noqa: ARG002  # the host is quick enough, see ARCHITECTURE.md
        errors: RowErrors | None = None,
    ) -> list[pa.Array]:
        """Score rows; see `scoring.base.Scorer`."""
        margins = _margins(self._file, self._values(columns, errors))
        return output_arrays(self._file.classes, link(self._file.link, margins, self._file.classes))

    def explain(
        self,
        columns: Sequence[pa.Array],
        scores: Sequence[pa.Array],
        lane: Lane,  # noqa: ARG002  # likewise
        wanted: WantedReasons,
        errors: RowErrors | None = None,
    ) -> list[pa.Array]:
        """Give rows' reasons, what each feature adds to the margin; see `scoring.base.Scorer`.

        Raises:
            ScorestreamError: MODEL_NOT_EXPLAINED where the model has several targets.
        """
        if self._schema.unexplained:
            raise not_explained(self._schema.unexplained)
        values = self._values(columns, errors)
        label = np.zeros(len(values[0]), np.int32) if self._file.classes == (1,) else scores[-1].to_numpy()
        return reason_columns(
            wanted.names, _reasons(self._file, values, label, wanted.most), np.dtype(np.float32)
        )

    def _values(self, columns: Sequence[pa.Array], errors: RowErrors | None) -> list[FloatColumn]:
        features = self._schema.features
        return float_columns(
            columns,
            features,
            [()] * len(features),
            np.ones(len(features), np.bool_),
            unknown_is_missing=False,
            errors=errors,
        )


def linear_schema(file: LinearFile, kind: ModelKind) -> ModelSchema:
    """Return what a linear model needs and gives."""
    features, outputs = file.weights.shape
    targets = len(file.classes)
    types = file.types if len(file.types) == features else ("",) * features
    return ModelSchema(
        kind=kind,
        features=tuple(
            Feature(name, declared=declared)
            for name, declared in zip(file.names or ("",) * features, types, strict=True)
        ),
        outputs=output_columns(file.classes, ColumnType.FLOAT32),
        cost=features * (_VISITS_A_FEATURE + _VISITS_A_TERM * outputs),
        description=f"XGBoost, {file.training.objective}, linear, {counted(features, 'feature')}",
        training=dataclasses.replace(
            file.training, classes=classes_of(file.training.objective, file.classes)
        ),
        unexplained=several_targets(targets) if targets > 1 else "",
        reasons_cost=_VISITS_OF_REASONS * features,
    )


def _margins(file: LinearFile, columns: Sequence[FloatColumn]) -> NDArray[np.float32]:
    """Return all margins, shape ``(rows, outputs)``; each row's lie side by side, so that links add them in one order."""
    rows, outputs = len(columns[0]), file.weights.shape[1]
    margins = np.empty((rows, outputs), np.float32)
    block = max(_FEWEST_ROWS, _BLOCK // outputs)
    # The sum of a row may leave float32's range, as it may in XGBoost.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, rows, block):
            here = slice(start, start + block)
            sums = np.repeat(file.bias[:, None], len(columns[0][here]), axis=1)
            for column, weights in zip(columns, file.weights, strict=True):
                sums += weights[:, None] * _present(column[here])
            margins[here] = sums.T
    return margins


def _reasons(
    file: LinearFile, columns: Sequence[FloatColumn], explained: NDArray[np.int32], reasons: int
) -> Reasons:
    """Return each row's reasons; ``explained`` is the output that counts for each row."""
    rows, features = len(columns[0]), len(columns)
    found = Reasons(
        np.empty((reasons, rows), np.int32),
        np.empty((reasons, rows)),
        file.bias[explained].astype(np.float64),
    )
    block = max(1, _MOST_CONTRIBUTIONS // features)
    for start in range(0, rows, block):
        here = slice(start, start + block)
        outputs = explained[here]
        added = np.empty((len(outputs), features), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for place, (column, weights) in enumerate(zip(columns, file.weights, strict=True)):
                np.multiply(_present(column[here]), weights[outputs], out=added[:, place])
        row, sizes = np.arange(len(added)), np.abs(added)
        for place in range(reasons):
            largest = sizes.argmax(axis=1)  # of equal ones the first
            found.features[place, here], found.contributions[place, here] = largest, added[row, largest]
            sizes[row, largest] = -1
    return found


def _present(values: FloatColumn) -> FloatColumn:
    """Return values with 0 for those that are missing, which then add nothing."""
    missing = np.isnan(values)
    return np.where(missing, np.float32(0), values) if missing.any() else values
