"""Writes a forest as an ONNX TreeEnsembleRegressor, so that ONNX Runtime can be measured without a converter.

Only the few parts of ONNX's protobuf that such a model needs are encoded here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import ForestArrays

_FLOAT, _INT64 = 1, 7
_ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_FLOATS, _ATTRIBUTE_INTS, _ATTRIBUTE_STRINGS = 2, 3, 6, 7, 8


def onnx_regressor(forest: ForestArrays) -> bytes:
    """Return a model over an input ``x``, float32, shape ``(rows, features)``, of a forest of one numeric output."""
    node = np.arange(len(forest.left))
    tree = np.repeat(np.arange(forest.trees), np.diff(forest.tree_starts))
    place = node - forest.tree_starts[:-1][tree]
    leaf = forest.left < 0
    start = forest.tree_starts[:-1][tree]
    modes = np.where(leaf, "LEAF", "BRANCH_LT" if forest.strict else "BRANCH_LEQ")
    attributes = [
        _strings("nodes_modes", modes.tolist()),
        _ints("nodes_treeids", tree),
        _ints("nodes_nodeids", place),
        _ints("nodes_featureids", forest.feature),
        _floats("nodes_values", _rounded_down(np.where(leaf, 0, forest.threshold))),
        _ints("nodes_truenodeids", np.where(leaf, 0, forest.left - start)),
        _ints("nodes_falsenodeids", np.where(leaf, 0, forest.right - start)),
        _ints("nodes_missing_value_tracks_true", forest.default_left),
        _ints("target_treeids", tree[leaf]),
        _ints("target_nodeids", place[leaf]),
        _ints("target_ids", np.zeros(leaf.sum(), np.int64)),
        _floats("target_weights", forest.leaves[leaf, 0] / (forest.trees if forest.average else 1)),
        _floats("base_values", forest.base_scores),
        _attribute("n_targets", _ATTRIBUTE_INT, _varint_field(3, 1)),
    ]
    operator = (
        _text(1, "x")
        + _text(2, "y")
        + _text(4, "TreeEnsembleRegressor")
        + b"".join(attributes)
        + _text(7, "ai.onnx.ml")
    )
    inputs, outputs = _tensor("x", forest.num_features), _tensor("y", 1)
    graph = _part(1, operator) + _text(2, "forest") + _part(11, inputs) + _part(12, outputs)
    opsets = _part(8, _text(1, "") + _varint_field(2, 17)) + _part(
        8, _text(1, "ai.onnx.ml") + _varint_field(2, 3)
    )
    return _varint_field(1, 8) + _part(7, graph) + opsets


def _rounded_down(thresholds: NDArray[Any]) -> NDArray[Any]:
    """Return float32 thresholds by which a float32 value goes where it went before."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _part(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _part(number, text.encode())


def _attribute(name: str, kind: int, content: bytes) -> bytes:
    return _part(5, _text(1, name) + content + _varint_field(20, kind))


def _ints(name: str, values: NDArray[Any]) -> bytes:
    packed = b"".join(_varint(int(value)) for value in values)
    return _attribute(name, _ATTRIBUTE_INTS, _part(8, packed))


def _floats(name: str, values: NDArray[Any]) -> bytes:
    return _attribute(name, _ATTRIBUTE_FLOATS, _part(7, np.asarray(values, "<f4").tobytes()))


def _strings(name: str, values: Sequence[str]) -> bytes:
    return _attribute(name, _ATTRIBUTE_STRINGS, b"".join(_text(9, value) for value in values))


def _tensor(name: str, columns: int) -> bytes:
    shape = _part(2, _part(1, _text(2, "rows")) + _part(1, _varint_field(1, columns)))
    return _text(1, name) + _part(2, _part(1, _varint_field(1, _FLOAT) + shape))
