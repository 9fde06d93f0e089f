"""The kernel of reason codes: which features moved each row's score most, and by how much (see `reason_pack`).

Every step of a tree's program is taken by many rows side by side; what a step does to a row does not depend on the
others, so the result does not depend on how rows are cut.
"""

# Kernels have no annotations: numba infers their types.
# ruff: noqa: ANN001, ANN201, ANN202, D417
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.forest_ranks import quantise
from scorestream_server.device.rank_pack import BLOCK, Cells
from scorestream_server.device.reason_pack import DOWN, LEAF, UP, PackedReasons

_U = np.uint64
_U1, _U2, _U3 = _U(1), _U(2), _U(3)
_BOTH, _LOST, _NEITHER, _OWES_BOTH, _OWES_LOST = (_U(number) for number in range(5))
_FACTORS = 5


class ReasonScratch(NamedTuple):
    """Memory that one lane needs to explain with a `PackedReasons`. ``L`` levels, ``P`` points, ``R`` rows at once.

    Attributes:
        keys, ranks, columns: see `forest_ranks.quantise`.
        down: shape ``(L, P, R)``: the product of the edges from the root, at each point.
        up: likewise: the sum of the leaves below.
        satisfied: int64, shape ``(L, R)``: whether a row satisfies all that is asked of the edge's feature so far.
        factors: shape ``(L, 5, P)``: see `_set_factors`.
        owed: shape ``(S, R)``: each feature's contribution.
        sizes, chosen: shape ``(MOST_REASONS,)``: a row's largest contributions so far, and their slots.
    """

    keys: NDArray[np.float64]
    ranks: NDArray[np.int32]
    columns: Cells
    down: NDArray[np.float64]
    up: NDArray[np.float64]
    satisfied: NDArray[np.int64]
    factors: NDArray[np.float64]
    owed: NDArray[np.float64]
    sizes: NDArray[np.float64]
    chosen: NDArray[np.int64]


def reason_scratch(packed: PackedReasons) -> ReasonScratch:
    """Allocate what explaining with a model needs."""
    rows, levels, points = packed.rows_at_once, packed.levels, packed.points
    slots = len(packed.model.slot_features)
    return ReasonScratch(
        keys=np.zeros(BLOCK),
        ranks=np.zeros(BLOCK, np.int32),
        columns=Cells(
            np.zeros((0, 1), np.uint8), np.zeros((max(len(packed.ranks.column_low), 1), BLOCK), np.uint16)
        ),
        down=np.zeros((levels, points, rows)),
        up=np.zeros((levels, points, rows)),
        satisfied=np.ones((levels, rows), np.int64),
        factors=np.zeros((levels, _FACTORS, points)),
        owed=np.zeros((slots, rows)),
        sizes=np.zeros(slots),
        chosen=np.zeros(slots, np.int64),
    )


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _set_factors(points, count, share, earlier_share, factors):
    """Write what an edge does at each point.

    A row's product is multiplied by factor 0 where the row satisfies the feature here and above, 1 where it did above
    and does not here, 2 where it did not above. Times factor 3 or 4, a sum of leaves is what the edge's feature owes
    them in the first two cases, less what it owed them above; in the third there is nothing new.
    """
    whole = earlier_share * share
    for point in range(count):
        t = points[point]
        rest = 1.0 - t
        here = t + rest * whole
        above = 1.0 / (t + rest * earlier_share)
        owed_above = (1.0 - earlier_share) * above
        factors[_BOTH, point] = here * above
        factors[_LOST, point] = rest * whole * above
        factors[_NEITHER, point] = share
        factors[_OWES_BOTH, point] = (1.0 - whole) / here - owed_above
        factors[_OWES_LOST, point] = -1.0 / rest - owed_above


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _satisfy(cells, highest, right, above, count, satisfied):
    if right:
        for row in range(count):
            satisfied[row] = above[row] if cells[row] > highest else 0
    else:
        for row in range(count):
            satisfied[row] = above[row] if cells[row] <= highest else 0


# Each loop twice: most edges are the first of their feature, where all rows satisfied what was asked before.


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _go_down(down, satisfied, above, first, both, lost, neither, count, down_here, up_here):
    if first:
        for row in range(count):
            down_here[row] = down[row] * (both if satisfied[row] else lost)
            up_here[row] = 0.0
    else:
        for row in range(count):
            factor = both if satisfied[row] else (lost if above[row] else neither)
            down_here[row] = down[row] * factor
            up_here[row] = 0.0


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _come_up(up_here, satisfied, above, first, owes_both, owes_lost, count, up, owed):
    if first:
        for row in range(count):
            leaves = up_here[row]
            up[row] += leaves
            owed[row] += leaves * (owes_both if satisfied[row] else owes_lost)
    else:
        for row in range(count):
            leaves = up_here[row]
            up[row] += leaves
            owed[row] += leaves * (owes_both if satisfied[row] else (owes_lost if above[row] else 0.0))


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _add_leaf(
    down, satisfied, above, first, value, both, lost, neither, owes_both, owes_lost, count, up, owed
):
    if first:
        for row in range(count):
            leaf = down[row] * (both if satisfied[row] else lost) * value
            up[row] += leaf
            owed[row] += leaf * (owes_both if satisfied[row] else owes_lost)
    else:
        for row in range(count):
            leaf = down[row] * (both if satisfied[row] else (lost if above[row] else neither)) * value
            up[row] += leaf
            owed[row] += leaf * (owes_both if satisfied[row] else (owes_lost if above[row] else 0.0))


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _explain_tree(model, tree, values, cells, start, count, scratch):
    """Add what every feature owes to one tree, for the rows ``start:start + count`` of a block."""
    size = _U(model.tree_points[tree])
    points, weights = model.points[size - _U1], model.weights[size - _U1]
    for point in range(size):
        row_weights = scratch.down[_U(0), point]
        for row in range(count):
            row_weights[row] = weights[point]
    for place in range(model.step_starts[tree], model.step_starts[tree + 1]):
        step = _U(model.steps[_U(place)])
        node, kind = step >> _U2, step & _U3
        level, earlier = _U(model.level[node]), _U(model.earlier[node])
        first = earlier == _U(0)
        factors, above, satisfied = (
            scratch.factors[level],
            scratch.satisfied[earlier],
            scratch.satisfied[level],
        )
        if kind != UP:
            _set_factors(points, size, model.share[node], model.earlier_share[node], factors)
            column = cells[_U(model.column[node])][start : start + count]
            _satisfy(column, np.uint16(model.highest[node]), model.right[node], above, count, satisfied)
        owed = scratch.owed[_U(model.slot[node])]
        for point in range(size):
            down, up = scratch.down[level - _U1, point], scratch.up[level - _U1, point]
            both, lost, neither = factors[_BOTH, point], factors[_LOST, point], factors[_NEITHER, point]
            owes_both, owes_lost = factors[_OWES_BOTH, point], factors[_OWES_LOST, point]
            if kind == LEAF:
                _add_leaf(
                    down,
                    satisfied,
                    above,
                    first,
                    values[node],
                    both,
                    lost,
                    neither,
                    owes_both,
                    owes_lost,
                    count,
                    up,
                    owed,
                )
            elif kind == DOWN:
                down_here, up_here = scratch.down[level, point], scratch.up[level, point]
                _go_down(down, satisfied, above, first, both, lost, neither, count, down_here, up_here)
            else:
                up_here = scratch.up[level, point]
                _come_up(up_here, satisfied, above, first, owes_both, owes_lost, count, up, owed)


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _choose(owed, divisor, row, wanted, sizes, chosen):
    """Write the slots of a row's largest contributions, of equal ones the first; what is no number comes last."""
    filled = _U(0)
    for slot in range(_U(len(owed))):
        size = abs(owed[slot, row] / divisor)
        size = size if size >= 0.0 else -1.0
        place = filled
        while place > _U(0) and size > sizes[place - _U1]:
            if place < wanted:
                sizes[place], chosen[place] = sizes[place - _U1], chosen[place - _U1]
            place -= _U1
        if place < wanted:
            sizes[place], chosen[place] = size, slot
            filled = min(filled + _U1, wanted)


@nb.njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
def explain_rows(tables, model, trees, divisor, addresses, wide, rows, scratch, features, contributions):
    """Write each row's largest contributions to one output, largest first.

    Args:
        tables, model: of a `PackedReasons`.
        trees: int64, shape ``(trees, 2)``: those of the output, see `PackedReasons.output_trees`.
        divisor: how many trees the output is the mean of.
        addresses, wide: see `forest_ranks.quantise`.
        rows: how many rows the columns have.
        scratch: a `ReasonScratch` of this model's size, owned by the caller's lane.
        features: int32, shape ``(reasons, rows)``: the result, at most as many reasons as there are slots.
        contributions: float64, shape ``(reasons, rows)``: the result.
    """
    cells = scratch.columns.words
    wanted, step = _U(len(features)), _U(scratch.owed.shape[1])
    for block in range(_U(0), _U(rows), _U(BLOCK)):
        in_block = min(_U(BLOCK), _U(rows) - block)
        quantise(tables, addresses, wide, block, in_block, scratch.keys, scratch.ranks, scratch.columns)
        for start in range(_U(0), in_block, step):
            count = min(step, in_block - start)
            for feature in range(len(scratch.owed)):
                owed = scratch.owed[_U(feature)]
                for row in range(count):
                    owed[row] = 0.0
            for place in range(_U(len(trees))):
                tree, value = trees[place, 0], _U(trees[place, 1])
                _explain_tree(model, tree, model.values[value], cells, start, count, scratch)
            for row in range(count):
                _choose(scratch.owed, divisor, row, wanted, scratch.sizes, scratch.chosen)
                for place in range(wanted):
                    slot = _U(scratch.chosen[place])
                    features[place, block + start + row] = model.slot_features[slot]
                    contributions[place, block + start + row] = scratch.owed[slot, row] / divisor
