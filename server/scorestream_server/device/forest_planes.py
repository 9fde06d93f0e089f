"""Kernels that score 512 rows at once with one bit a row: *bit planes*.

A *plane* is 512 bits, one for each row of a block: does the row go left at this split? Splits that ask the
same question (same column, same threshold) share a plane, so a block needs each question answered once, by
comparing bytes. A tree is then evaluated by boolean operations on whole planes, which yields for each row
the number of its leaf, in one byte; a table turns that into the leaf's value.

No row ever branches, and nothing depends on how rows are cut into blocks: trees add up in their own order.
The vector code is written as LLVM IR over plain vector types, so it runs on any CPU, and well on wide ones.
"""

# Kernels have no annotations: numba infers their types, and types an intrinsic by its signature, not its arguments.
# ruff: noqa: ANN001, ANN201, ANN202, ARG001, D417
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from typing import Any

import numba as nb
import numba.extending
import numpy as np
from llvmlite import ir
from numba.core import types

from scorestream_server.device.forest_ranks import clear, copy_out, quantise
from scorestream_server.device.plane_pack import CODE_BITS, PLANE_BYTES
from scorestream_server.device.rank_pack import BLOCK

_I8, _I64 = ir.IntType(8), ir.IntType(64)
_BYTES64 = ir.VectorType(_I8, 64)
_BITS64 = ir.VectorType(ir.IntType(1), 64)
_PLANE = ir.VectorType(_I64, 8)

_U = np.uint64

intrinsic: Any = numba.extending.intrinsic
"""As its users see it: a call passes all arguments but the first, which is numba's own."""
_U0, _U1, _U8, _U32 = _U(0), _U(1), _U(8), _U(32)
_LOW32 = _U(0xFFFFFFFF)


def _load(builder: Any, address: Any, kind: Any) -> Any:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=1)


def _splat(builder: Any, scalar: Any, kind: Any) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(
        first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    )


def _add(builder: Any, address: Any, offset: int) -> Any:
    return builder.add(address, ir.Constant(_I64, offset))


@intrinsic
def _compare(_: Any, column: Any, value: Any, equal: Any, plane: Any) -> Any:
    """Store which of 512 bytes are ``<= value`` (or ``== value``) as a plane."""

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        column_at, byte, is_equal, plane_at = arguments
        wanted = _splat(builder, builder.trunc(byte, _I8), _BYTES64)
        with builder.if_else(builder.icmp_unsigned("!=", is_equal, ir.Constant(_I64, 0))) as (
            then,
            otherwise,
        ):
            for branch, operator in ((then, "=="), (otherwise, "<=")):
                with branch:
                    for word in range(8):
                        bytes_ = _load(builder, _add(builder, column_at, 64 * word), _BYTES64)
                        bits = builder.bitcast(builder.icmp_unsigned(operator, bytes_, wanted), _I64)
                        _store(builder, bits, _add(builder, plane_at, 8 * word))
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.uint64, types.uint64), build


@intrinsic
def _split(_: Any, source: Any, plane: Any, pair: Any) -> Any:
    """Split the rows at ``source`` by a plane: those that go left to ``pair``, the others behind them."""

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        source_at, plane_at, pair_at = arguments
        rows, goes_left = _load(builder, source_at, _PLANE), _load(builder, plane_at, _PLANE)
        left = builder.and_(rows, goes_left)
        _store(builder, left, pair_at)
        _store(builder, builder.xor(rows, left), _add(builder, pair_at, PLANE_BYTES))
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.uint64), build


@intrinsic
def _gather_xor(_: Any, indices: Any, count: Any, pairs: Any, plane: Any) -> Any:
    """Store the exclusive or of the ``count`` planes that uint32 ``indices`` name."""

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        indices_at, number, pairs_at, plane_at = arguments
        entry = builder.block
        head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        place, total = builder.phi(_I64), builder.phi(_PLANE)
        place.add_incoming(ir.Constant(_I64, 0), entry)
        total.add_incoming(ir.Constant(_PLANE, None), entry)
        builder.cbranch(builder.icmp_unsigned("<", place, number), body, done)
        builder.position_at_end(body)
        index_at = builder.add(indices_at, builder.shl(place, ir.Constant(_I64, 2)))
        index = builder.zext(_load(builder, index_at, ir.IntType(32)), _I64)
        term = _load(builder, builder.add(pairs_at, builder.shl(index, ir.Constant(_I64, 6))), _PLANE)
        place.add_incoming(builder.add(place, ir.Constant(_I64, 1)), body)
        total.add_incoming(builder.xor(total, term), body)
        builder.branch(head)
        builder.position_at_end(done)
        _store(builder, total, plane_at)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.uint64, types.uint64), build


@intrinsic
def _clear(_: Any, plane: Any) -> Any:
    """Make a plane empty."""

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _store(builder, ir.Constant(_PLANE, [0] * 8), arguments[0])
        return context.get_dummy_value()

    return types.void(types.uint64), build


@intrinsic
def _or_into(_: Any, source: Any, plane: Any) -> Any:
    """Add the rows of one plane to another."""

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        source_at, plane_at = arguments
        both = builder.or_(_load(builder, source_at, _PLANE), _load(builder, plane_at, _PLANE))
        _store(builder, both, plane_at)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), build


@intrinsic
def _spread(_: Any, planes: Any, codes: Any) -> Any:
    """Turn eight planes, the bits of 512 numbers, into 512 bytes."""

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        planes_at, codes_at = arguments
        nothing = ir.Constant(_BYTES64, [0] * 64)
        for word in range(8):
            total = nothing
            for bit in range(CODE_BITS):
                bits = _load(builder, _add(builder, planes_at, PLANE_BYTES * bit + 8 * word), _I64)
                value = ir.Constant(_BYTES64, [1 << bit] * 64)
                total = builder.or_(total, builder.select(builder.bitcast(bits, _BITS64), value, nothing))
            _store(builder, total, _add(builder, codes_at, 64 * word))
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), build


@nb.njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
def score_planes(tables, model, leaves, addresses, wide, rows, scratch, sums, out):
    """Sum the leaves of ``rows`` rows into ``out``, shape ``(outputs, rows)``.

    Args:
        tables, model, leaves: a `PackedPlanes`, its leaves as a `Pair`.
        addresses, wide: see `forest_ranks.quantise`.
        rows: how many rows the columns have.
        scratch: a `PlaneScratch` of this model's size, owned by the caller's lane.
        sums: `Pair` of shape ``(outputs, BLOCK)``.
        out: `Pair`: the result.
    """
    columns_at = _U(scratch.columns.octets.ctypes.data)
    planes_at = _U(scratch.planes.ctypes.data)
    pairs_at = _U(scratch.pairs.ctypes.data)
    bits_at = _U(scratch.bits.ctypes.data)
    codes_at = _U(scratch.codes.ctypes.data)
    xors_at = _U(model.xors.ctypes.data)
    for block in range(_U0, _U(rows), _U(BLOCK)):
        count = min(_U(BLOCK), _U(rows) - block)
        quantise(tables, addresses, wide, block, count, scratch.keys, scratch.ranks, scratch.columns)
        clear(sums.narrow)
        clear(sums.wide)
        for group in range(len(model.group_trees) - 1):
            for place in range(_U(model.group_planes[group]), _U(model.group_planes[group + 1])):
                question = model.questions[place]
                column = question >> _U32
                plane = planes_at + (place - _U(model.group_planes[group])) * _U(PLANE_BYTES)
                equal = _U(model.asks_equal[column])
                _compare(columns_at + column * _U(BLOCK), question & _LOW32, equal, plane)
            _join_sets(model, group, planes_at)
            for tree in range(model.group_trees[group], model.group_trees[group + 1]):
                _leaf_codes(model, tree, planes_at, pairs_at, bits_at, xors_at, codes_at)
                for table in range(model.table_outputs.shape[1]):
                    output, place = (
                        model.table_outputs[tree, table],
                        tree * model.table_outputs.shape[1] + table,
                    )
                    if len(leaves.narrow):
                        _add_leaves(leaves.narrow[place], scratch.codes, sums.narrow[output])
                    else:
                        _add_leaves(leaves.wide[place], scratch.codes, sums.wide[output])
        copy_out(sums.narrow, out.narrow, block, count)
        copy_out(sums.wide, out.wide, block, count)


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _join_sets(model, group, planes_at):
    """Make the planes of sets of categories from the planes of their members."""
    plane = planes_at + _U(model.group_planes[group + 1] - model.group_planes[group]) * _U(PLANE_BYTES)
    for place in range(_U(model.group_sets[group]), _U(model.group_sets[group + 1])):
        _clear(plane)
        for member in range(_U(model.set_starts[place]), _U(model.set_starts[place + _U1])):
            _or_into(planes_at + _U(model.set_members[member]) * _U(PLANE_BYTES), plane)
        plane += _U(PLANE_BYTES)


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _leaf_codes(model, tree, planes_at, pairs_at, bits_at, xors_at, codes_at):
    """Write for each row the number of the leaf that it falls into."""
    first, last = _U(model.tree_splits[tree]), _U(model.tree_splits[tree + 1])
    pair = pairs_at + _U(2 * PLANE_BYTES)
    for place in range(first, last):
        source, plane = _U(model.split_sources[place]), _U(model.split_planes[place])
        _split(pairs_at + source * _U(PLANE_BYTES), planes_at + plane * _U(PLANE_BYTES), pair)
        pair += _U(2 * PLANE_BYTES)
    base = _U(tree) * _U8
    for bit in range(_U(CODE_BITS)):
        begin, end = _U(model.xor_starts[base + bit]), _U(model.xor_starts[base + bit + _U1])
        _gather_xor(xors_at + begin * _U(4), end - begin, pairs_at, bits_at + bit * _U(PLANE_BYTES))
    _spread(bits_at, codes_at)


@nb.njit(nogil=True, error_model="numpy", boundscheck=False)
def _add_leaves(leaves, codes, total):
    """Add each row's leaf to its sum."""
    for row in range(_U(BLOCK)):
        total[row] += leaves[codes[row]]
