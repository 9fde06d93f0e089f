"""Reason codes: the columns that say which features moved a row's score most, and by how much.

Contributions are Shapley values (TreeSHAP, path-dependent, exact), in the space of the margin, before the link function;
for a classifier of several classes, to the margin of the class that the label names.
"""

import threading
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scorestream_server.device.base import Columns, Device, Lane, PreparedReasons, Reasons
from scorestream_server.device.forest_arrays import ForestArrays
from scorestream_server.device.reason_pack import Unexplained
from scorestream_server.domain.errors import FieldFault, ScorestreamError, counted, invalid
from scorestream_server.domain.model import MOST_REASONS, ColumnType, ModelSchema

_BIAS = "contribution_bias"


class WantedReasons(NamedTuple):
    """How many reasons each row is to be given, and what the features are called in them."""

    most: int
    names: pa.StringArray


def with_reasons(result: pa.Schema, model: ModelSchema, reasons: int) -> pa.Schema:
    """Return the schema of a result with the columns of so many reasons a row behind all others; 0: as it is.

    Raises:
        ScorestreamError: MODEL_NOT_EXPLAINED, TOO_MANY_REASONS, REASON_NAME_TAKEN.
    """
    if not reasons:
        return result
    if model.unexplained:
        raise not_explained(model.unexplained)
    most = min(len(model.features), MOST_REASONS)
    if reasons > most:
        why = "has" if most == len(model.features) else "may be explained with at most"
        fault = FieldFault("spec.explain", f"more than {most}")
        told = f"explain={reasons:,} asks for more features than there are: the model {why} {counted(most, 'feature')}."
        raise invalid("TOO_MANY_REASONS", f"{told} Ask for {most} or fewer.", [fault])
    number = pa.float32() if model.outputs[0].type is ColumnType.FLOAT32 else pa.float64()
    fields = []
    for place in range(1, reasons + 1):
        fields += [pa.field(f"reason_{place}", pa.string()), pa.field(f"contribution_{place}", number)]
    fields.append(pa.field(_BIAS, number))
    taken = [field.name for field in fields if field.name in result.names]
    if taken:
        told = f"The reasons need columns of these names, which the result has already: {', '.join(taken)}."
        faults = [FieldFault(name, "is the name of a column of reasons") for name in taken]
        raise invalid("REASON_NAME_TAKEN", f"{told} Leave them out of keep.", faults)
    return pa.schema([*result, *fields])


def not_explained(why: str) -> ScorestreamError:
    """Return the error of a job that asks for reasons where there are none; ``why`` is a sentence without its end."""
    fault = FieldFault("spec.explain", "the model cannot be explained")
    return invalid("MODEL_NOT_EXPLAINED", f"The model cannot be explained: {why}.", [fault])


def reason_columns(names: pa.StringArray, found: Reasons, dtype: np.dtype[Any]) -> list[pa.Array]:
    """Return the columns of `with_reasons`; ``names`` are the features'."""
    columns: list[pa.Array] = []
    for features, contributions in zip(found.features, found.contributions, strict=True):
        columns += [names.take(pa.array(features)), pa.array(contributions.astype(dtype, copy=False))]
    return [*columns, pa.array(found.bias.astype(dtype, copy=False))]


def feature_names(model: ModelSchema) -> tuple[str, ...]:
    """Return what features are called in reasons: ``f0``, ``f1`` and so on, where the model has no names."""
    return tuple(feature.name or f"f{place}" for place, feature in enumerate(model.features))


class ForestReasons:
    """The reasons of a forest on one device; laid out when they are first asked for, and safe to use from many lanes."""

    def __init__(self, forest: ForestArrays, device: Device) -> None:
        self._forest = forest
        self._device = device
        self._lock = threading.Lock()
        self._prepared: PreparedReasons | None = None

    def find(self, columns: Columns, lane: Lane, reasons: int, explained: int | NDArray[np.int32]) -> Reasons:
        """Return each row's reasons.

        Args:
            columns: see `Lane.explain_forest`.
            lane: where to compute.
            reasons: how many.
            explained: the output that is explained, or one for each row.

        Raises:
            ScorestreamError: MODEL_NOT_EXPLAINED.
        """
        prepared = self._prepare()
        if isinstance(explained, int):
            return lane.explain_forest(prepared, columns, output=explained, reasons=reasons)
        rows = len(explained)
        found = Reasons(np.empty((reasons, rows), np.int32), np.empty((reasons, rows)), np.empty(rows))
        for output in np.unique(explained):
            mine = np.flatnonzero(explained == output)
            parts = [column[mine] for column in columns]
            part = lane.explain_forest(prepared, parts, output=int(output), reasons=reasons)
            found.features[:, mine], found.contributions[:, mine] = part.features, part.contributions
            found.bias[mine] = part.bias
        return found

    def _prepare(self) -> PreparedReasons:
        with self._lock:
            if self._prepared is None:
                try:
                    self._prepared = self._device.prepare_reasons(self._forest)
                except Unexplained as error:
                    raise not_explained(str(error)) from None
            return self._prepared
