"""The kernel for deep trees: rows walk from node to node, many side by side, without a branch.

Each step is one word of the tree and one quantised value; the rows' loads overlap.
"""

# Kernels have no annotations: numba infers their types, and types an intrinsic by its signature, not its arguments.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

import numba as nb
import numpy as np

from scorestream_server.device.forest_ranks import clear, copy_out, quantise
from scorestream_server.device.rank_pack import BLOCK

_U = np.uint64
_ROWS = 16
_BLOCK = _U(BLOCK)
_U16, _U32, _LOW16 = _U(16), _U(32), _U(0xFFFF)


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _walk(words, cells, root, depth, row, found):
    """Write the leaves that the rows from ``row`` on fall into."""
    for place in range(_U(_ROWS)):
        found[place] = root
    for _ in range(depth):
        moved = _U(0)
        for place in range(_U(_ROWS)):
            node = found[place]
            word = words[node]
            cell = _U(cells[((word >> _U16) & _LOW16) * _BLOCK + row + place])
            following = (word >> _U32) + _U(cell > (word & _LOW16))
            found[place] = following
            moved |= following ^ node
        if moved == 0:
            break


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _add_found(leaves, outputs, found, row, sums):
    for table in range(len(outputs)):
        total = sums[outputs[table]]
        for place in range(_U(_ROWS)):
            total[row + place] += leaves[found[place], _U(table)]


@nb.njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
def score_walk(tables, model, leaves, addresses, wide, rows, scratch, sums, out):
    """Sum the leaves of ``rows`` rows into ``out``; see `forest_planes.score_planes`."""
    cells = scratch.columns.words.reshape(-1)
    found = np.zeros(_ROWS, np.uint64)
    for block in range(_U(0), _U(rows), _BLOCK):
        count = min(_BLOCK, _U(rows) - block)
        quantise(tables, addresses, wide, block, count, scratch.keys, scratch.ranks, scratch.columns)
        clear(sums.narrow)
        clear(sums.wide)
        for tree in range(len(model.tree_starts)):
            root, depth, outputs = (
                _U(model.tree_starts[tree]),
                model.tree_depths[tree],
                model.table_outputs[tree],
            )
            for row in range(_U(0), count, _U(_ROWS)):
                _walk(model.words, cells, root, depth, row, found)
                if len(leaves.narrow):
                    _add_found(leaves.narrow, outputs, found, row, sums.narrow)
                else:
                    _add_found(leaves.wide, outputs, found, row, sums.wide)
        copy_out(sums.narrow, out.narrow, block, count)
        copy_out(sums.wide, out.wide, block, count)
