"""Whether the trees of a LightGBM text are trees: treelite follows every index in it, out of bounds and in circles."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_OF_A_NODE = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_MAYBE_OF_A_NODE = ("split_gain", "internal_value", "internal_weight", "internal_count")
_MAYBE_OF_A_LEAF = ("leaf_weight", "leaf_count")
_CATEGORICAL = 1


def fault_of(trees: str, features: int) -> str:
    """Return what is wrong with the trees of a model, a phrase; empty where they are sound.

    Args:
        trees: the part of the file from the first tree's number to the end of the trees.
        features: how many features the model says it has.

    Raises:
        ValueError, KeyError, OverflowError: something is missing, or is no number.
    """
    for place, text in enumerate(trees.split("\nTree=")):
        tree = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        if fault := _fault_of_tree(tree, features):
            return f"tree {place:,}: {fault}"
    return ""


def _fault_of_tree(tree: Mapping[str, str], features: int) -> str:
    leaves = int(tree["num_leaves"])
    if leaves < 1 or len(tree["leaf_value"].split()) != leaves:
        return "its parts differ in length"
    if leaves == 1:
        return ""
    kept = [name for name in _MAYBE_OF_A_NODE if tree.get(name)]
    lengths = {len(tree[name].split()) for name in (*_OF_A_NODE, *kept)}
    of_leaves = {len(tree[name].split()) for name in _MAYBE_OF_A_LEAF if tree.get(name)}
    if lengths != {leaves - 1} or of_leaves - {leaves}:
        return "its parts differ in length"
    split = _whole(tree["split_feature"])
    if np.any((split < 0) | (split >= features)):
        return "it asks for features that the model does not have"
    children = np.concatenate([_whole(tree["left_child"]), _whole(tree["right_child"])])
    inside = (children >= -leaves) & (children < leaves - 1) & (children != 0)
    # With one parent each, and none for the root, no path comes back to where it was.
    if not inside.all() or len(np.unique(children)) != len(children):
        return "it is no tree"
    return _fault_of_categories(tree)


def _fault_of_categories(tree: Mapping[str, str]) -> str:
    categorical = (_whole(tree["decision_type"]) & _CATEGORICAL).astype(bool)
    count = int(tree.get("num_cat", "0"))
    if not count and not categorical.any():
        return ""
    sets = np.array(tree["threshold"].split(), np.float64)[categorical]
    ends = _whole(tree["cat_boundaries"])
    if count < 0 or len(ends) != count + 1 or not np.all((sets >= 0) & (sets < count)):
        return "its categories lie outside of it"
    if ends[0] or np.any(np.diff(ends) < 0) or ends[-1] != len(tree["cat_threshold"].split()):
        return "its categories lie outside of it"
    return ""


def _whole(text: str) -> NDArray[np.int64]:
    return np.array(text.split(), np.int64)
