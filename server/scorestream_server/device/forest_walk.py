"""The kernel for deep trees: rows walk from node to node, eight side by side, without a branch.

Each step is one word of the tree and one quantised value; the eight rows' loads overlap.
"""

import numba as nb
import numpy as np

from scorestream_server.device.forest_ranks import clear, copy_out, quantise
from scorestream_server.device.rank_pack import BLOCK

_U = np.uint64
_ROWS = 8
_BLOCK = _U(BLOCK)
_U16, _U32, _LOW16 = _U(16), _U(32), _U(0xFFFF)
_STEPS_TOGETHER = 4
"""Steps between two looks at whether all eight rows have come to their leaves."""


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _step(words, cells, node, row):  # type: ignore[no-untyped-def]
    word = words[node]
    cell = _U(cells[((word >> _U16) & _LOW16) * _BLOCK + row])
    return (word >> _U32) + _U(cell > (word & _LOW16))


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _walk(words, cells, root, depth, row, found):  # type: ignore[no-untyped-def]
    """Write the leaves that the eight rows from ``row`` on fall into."""
    n0 = n1 = n2 = n3 = n4 = n5 = n6 = n7 = root
    for _ in range(0, depth, _STEPS_TOGETHER):
        before = n0 + n1 + n2 + n3 + n4 + n5 + n6 + n7
        for _step_of in range(_STEPS_TOGETHER):
            n0 = _step(words, cells, n0, row)
            n1 = _step(words, cells, n1, row + _U(1))
            n2 = _step(words, cells, n2, row + _U(2))
            n3 = _step(words, cells, n3, row + _U(3))
            n4 = _step(words, cells, n4, row + _U(4))
            n5 = _step(words, cells, n5, row + _U(5))
            n6 = _step(words, cells, n6, row + _U(6))
            n7 = _step(words, cells, n7, row + _U(7))
        # A child's place is above its parent's, so a sum that stays means that nobody moved.
        if n0 + n1 + n2 + n3 + n4 + n5 + n6 + n7 == before:
            break
    found[0], found[1], found[2], found[3] = n0, n1, n2, n3
    found[4], found[5], found[6], found[7] = n4, n5, n6, n7


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _add_found(leaves, outputs, found, row, sums):  # type: ignore[no-untyped-def]
    for table in range(len(outputs)):
        total = sums[outputs[table]]
        for place in range(_U(_ROWS)):
            total[row + place] += leaves[found[place], _U(table)]


@nb.njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
def score_walk(tables, model, leaves, addresses, wide, rows, scratch, sums, out):  # type: ignore[no-untyped-def]
    """Sum the leaves of ``rows`` rows into ``out``; see `forest_planes.score_planes`."""
    cells = scratch.columns.reshape(-1)
    found = np.zeros(_ROWS, np.uint64)
    for block in range(_U(0), _U(rows), _BLOCK):
        count = min(_BLOCK, _U(rows) - block)
        quantise(tables, addresses, wide, block, count, scratch.ranks, scratch.columns)
        clear(sums.narrow)
        clear(sums.wide)
        for tree in range(len(model.tree_starts)):
            root, depth, outputs = _U(model.tree_starts[tree]), model.tree_depths[tree], model.table_outputs[tree]
            for row in range(_U(0), count, _U(_ROWS)):
                _walk(model.words, cells, root, depth, row, found)
                if len(leaves.narrow):
                    _add_found(leaves.narrow, outputs, found, row, sums.narrow)
                else:
                    _add_found(leaves.wide, outputs, found, row, sums.wide)
        copy_out(sums.narrow, out.narrow, block, count)
        copy_out(sums.wide, out.wide, block, count)
