"""Whether the trees of an XGBoost document are trees: treelite follows every index in it, out of bounds and in circles."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NODE_ARRAYS = ("left_children", "right_children", "split_indices", "split_conditions", "default_left")
_CATEGORY_ARRAYS = ("categories_nodes", "categories_segments", "categories_sizes")


def fault_of(model: Mapping[str, Any]) -> str:
    """Return what is wrong with the trees of a ``gbtree`` model, a phrase; empty where they are sound.

    Args:
        model: the object with ``trees`` and ``tree_info``, as parsed.

    Raises:
        ValueError, KeyError, TypeError, OverflowError: something is missing, or has another type.
    """
    trees = model["trees"]
    if len(model["tree_info"]) != len(trees):
        return f"it has {len(trees):,} trees, and the groups of {len(model['tree_info']):,}"
    for place, tree in enumerate(trees):
        if fault := _fault_of_tree(tree):
            return f"tree {place:,}: {fault}"
    return ""


def _fault_of_tree(tree: Mapping[str, Any]) -> str:
    nodes = int(tree["tree_param"]["num_nodes"])
    left, right = _whole(tree["left_children"]), _whole(tree["right_children"])
    if nodes < 1 or any(len(tree[name]) != nodes for name in _NODE_ARRAYS):
        return "its parts differ in length"
    inner = left >= 0
    children = np.concatenate([left[inner], right[inner]])
    # With one parent each, and none for the root, no path comes back to where it was.
    if np.any((children < 1) | (children >= nodes)) or len(np.unique(children)) != len(children):
        return "it is no tree"
    if (
        "leaf_weights" in tree
    ):  # a leaf with several values keeps their place among all leaves in its right child
        width = int(tree["tree_param"]["size_leaf_vector"])
        if np.any((right[~inner] < 0) | (right[~inner] >= len(tree["leaf_weights"]) // max(1, width))):
            return "its leaves lie outside of it"
    return _fault_of_categories(tree, nodes)


def _fault_of_categories(tree: Mapping[str, Any], nodes: int) -> str:
    if not any(name in tree for name in _CATEGORY_ARRAYS):
        return ""  # as versions before 1.3 write
    at, begins, sizes = (_whole(tree[name]) for name in _CATEGORY_ARRAYS)
    if not len(at) == len(begins) == len(sizes):
        return "its categories differ in length"
    if np.any((at < 0) | (at >= nodes)) or np.any((begins < 0) | (sizes < 0)):
        return "its categories lie outside of it"
    if np.any(begins > len(tree["categories"])) or np.any(sizes > len(tree["categories"]) - begins):
        return "its categories lie outside of it"
    return ""


def _whole(values: Any) -> NDArray[np.int64]:
    found = np.asarray(values)
    if found.size and found.dtype.kind not in "iub":
        raise ValueError("an index is no whole number")
    return found.astype(np.int64)
