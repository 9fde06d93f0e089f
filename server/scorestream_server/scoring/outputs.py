"""The columns of models that give each target a number, or a number for each of its classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scorestream_server.domain.model import ColumnType, OutputColumn


def output_columns(classes: Sequence[int], score: ColumnType) -> tuple[OutputColumn, ...]:
    """Return what the columns are called: ``score``, or ``score_0`` and so on with the ``label``, target by target.

    Args:
        classes: how many each target has (1: a plain number).
        score: the scores' type.
    """
    columns: list[OutputColumn] = []
    several = len(classes) > 1
    for target, count in enumerate(classes):
        suffix = f"_{target}" if several else ""
        if count == 1:
            columns.append(OutputColumn(f"score{suffix}", score))
            continue
        columns += [OutputColumn(f"score{suffix}_{place}", score) for place in range(count)]
        columns.append(OutputColumn(f"label{suffix}", ColumnType.INT32))
    return tuple(columns)


def output_arrays(classes: Sequence[int], scores: NDArray[np.floating[Any]]) -> list[pa.Array]:
    """Return the columns; scores have shape ``(rows, outputs)``, each target's padded to the largest number of classes."""
    width = max(classes)
    results = []
    for target, count in enumerate(classes):
        part = scores[:, target * width : target * width + count]
        results += [pa.array(np.ascontiguousarray(part[:, place])) for place in range(count)]
        if count > 1:
            results.append(pa.array(np.argmax(part, axis=1).astype(np.int32)))
    return results
