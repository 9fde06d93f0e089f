"""From a treelite model to `ForestArrays`, in their normal form."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import treelite
from numpy.typing import NDArray

from scorestream_server.device.forest_arrays import Floats, ForestArrays, PostProcessor, structure_faults
from scorestream_server.domain.errors import ErrorCode, ScorestreamError, invalid
from scorestream_server.scoring.kinds import MOST_FEATURES, MOST_NODES, MOST_OUTPUTS

_LIGHTGBM_ZERO = np.float64(np.float32(1e-35))
"""LightGBM takes what is no larger than this for 0 when it reads a row to score."""

_NUMERIC, _CATEGORICAL = 1, 2  # treelite's node types; 0 is a leaf
_EQ, _LT, _LE, _GT, _GE = 1, 2, 3, 4, 5  # treelite's comparison operators; 0 is none

_FLOAT32_MIDPOINT_BITS = 32


@dataclass(frozen=True, slots=True)
class _Tree:
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Floats
    default_left: NDArray[np.bool_]
    categorical: NDArray[np.bool_]
    category_counts: NDArray[np.int64]
    categories: NDArray[np.uint32]
    leaves: Floats
    strict: NDArray[np.bool_]
    covers: NDArray[np.float64]


def forest_from_treelite(
    model: treelite.Model, *, lightgbm: bool, sigmoid_alpha: float | None = None
) -> ForestArrays:
    """Copy a treelite model into arrays.

    Args:
        model: any model that treelite holds.
        lightgbm: whether LightGBM trained it: its rows take tiny values for 0 and cut category numbers
            to whole ones.
        sigmoid_alpha: the sigmoid's factor where the file has it; treelite keeps a float32 of it.

    Raises:
        ScorestreamError: the model is empty, uses an operator that no trainer writes, or is not sound.
    """
    header = model.get_header_accessor()
    trees = int(model.num_tree)
    if not trees:
        raise invalid(
            "MODEL_EMPTY", "The model holds no trees: train it for at least one round and save it again."
        )
    if not 0 < model.num_feature <= MOST_FEATURES:
        raise invalid(
            "MODEL_TOO_LARGE",
            f"The model has {model.num_feature:,} features, at most {MOST_FEATURES:,} are taken.",
        )
    classes = tuple(int(count) for count in header.get_field("num_class"))
    if sum(classes) > MOST_OUTPUTS:
        raise invalid(
            "MODEL_TOO_LARGE",
            f"The model has {sum(classes):,} outputs, at most {MOST_OUTPUTS:,} are taken.",
        )
    vector_shape = [int(size) for size in header.get_field("leaf_vector_shape")]
    width = vector_shape[0] * vector_shape[1]
    accessors = [model.get_tree_accessor(index) for index in range(trees)]
    nodes = sum(int(tree.get_field("num_nodes")[0]) for tree in accessors)
    if nodes > MOST_NODES:
        raise ScorestreamError(
            ErrorCode.RESOURCE_EXHAUSTED,
            "MODEL_TOO_LARGE",
            f"The model has {nodes:,} nodes, at most {MOST_NODES:,} are taken. Train fewer or shallower trees.",
            metadata={"limit": str(MOST_NODES)},
        )
    parts = [_read_tree(tree, width, counts_first=lightgbm) for tree in accessors]
    starts = np.concatenate([[0], np.cumsum([len(part.left) for part in parts])]).astype(np.int64)
    if any(
        np.any(part.feature >= model.num_feature) for part in parts
    ):  # before anything is counted by feature
        raise invalid("MODEL_CORRUPT", "The model asks for features that it does not have. Save it again.")
    threshold, strict = _one_operator(parts)
    if lightgbm:
        threshold = _fold_tiny_values(threshold)
    tree_output, output_step = _output_places(header, max(classes), vector_shape)
    forest = ForestArrays(
        num_features=int(model.num_feature),
        classes=classes,
        tree_starts=starts,
        left=_children([part.left for part in parts], starts),
        right=_children([part.right for part in parts], starts),
        feature=np.concatenate([part.feature for part in parts]),
        threshold=threshold,
        narrow=_narrow_features(int(model.num_feature), threshold, parts, lightgbm=lightgbm),
        default_left=np.concatenate([part.default_left for part in parts]),
        categorical=np.concatenate([part.categorical for part in parts]),
        category_starts=np.concatenate(
            [[0], np.cumsum(np.concatenate([part.category_counts for part in parts]))]
        ),
        categories=np.concatenate([part.categories for part in parts]),
        leaves=np.concatenate([part.leaves for part in parts]),
        tree_output=tree_output,
        output_step=output_step,
        # A field is a view of treelite's memory, which goes with the model.
        base_scores=np.array(header.get_field("base_scores"), np.float64),
        average=bool(header.get_field("average_tree_output")[0]),
        strict=strict,
        fractions_above_minus_one=lightgbm,
        postprocessor=PostProcessor(str(header.get_field("postprocessor"))),
        sigmoid_alpha=float(header.get_field("sigmoid_alpha")[0]) if sigmoid_alpha is None else sigmoid_alpha,
        ratio_c=_exact_path_length(float(header.get_field("ratio_c")[0])),
        covers=_covers(parts),
    )
    faults = structure_faults(forest)
    if faults:
        raise invalid(
            "MODEL_CORRUPT", f"The model's trees are not sound: {'; '.join(faults)}. Save the model again."
        )
    return forest


def _read_tree(accessor: Any, width: int, *, counts_first: bool) -> _Tree:
    """Copy one tree; categorical sets that send right, and ``>`` and ``>=``, become their mirror images."""
    field = accessor.get_field
    left, right = field("cleft").astype(np.int32), field("cright").astype(np.int32)
    node_type, operator = field("node_type"), field("cmp")
    categorical = node_type == _CATEGORICAL
    numeric = node_type == _NUMERIC
    if np.any(numeric & ~np.isin(operator, (_LT, _LE, _GT, _GE))):
        raise invalid(
            "MODEL_OPERATOR", "The model has splits that ask for equality, which no known trainer writes."
        )
    default_left = field("default_left").astype(bool)
    mirrored = (categorical & field("category_list_right_child").astype(bool)) | (
        numeric & np.isin(operator, (_GT, _GE))
    )
    left, right = np.where(mirrored, right, left), np.where(mirrored, left, right)
    begin, end = field("category_list_begin").astype(np.int64), field("category_list_end").astype(np.int64)
    counts = np.where(categorical, end - begin, 0)
    listed = field("category_list").astype(np.uint32)
    categories = [np.unique(listed[begin[node] : end[node]]) for node in np.flatnonzero(categorical)]
    counts[categorical] = [len(part) for part in categories]
    tree = _Tree(
        left=left,
        right=right,
        feature=np.maximum(field("split_index"), 0).astype(np.int32),
        threshold=field("threshold"),
        default_left=default_left ^ mirrored,
        categorical=categorical,
        category_counts=counts,
        categories=np.concatenate([*categories, np.zeros(0, np.uint32)]).astype(np.uint32),
        leaves=_leaves(field, width, left < 0),
        # x > t is the mirror image of x <= t.
        strict=np.where(numeric, np.isin(operator, (_LT, _GE)), False),
        covers=_covers_of_tree(field, counts_first=counts_first),
    )
    inner = np.flatnonzero(left >= 0)
    children = np.concatenate([left[inner], right[inner]])
    in_order = np.all(left[inner] > inner) and np.all(right[inner] > inner)
    return tree if in_order and len(children) == len(left) - 1 else _parents_first(tree)


def _leaves(field: Any, width: int, leaf: NDArray[np.bool_]) -> Floats:
    scalars = field("leaf_value")
    if width == 1 and not len(field("leaf_vector")):
        return np.asarray(scalars.reshape(-1, 1))
    begin, end, vectors = field("leaf_vector_begin"), field("leaf_vector_end"), field("leaf_vector")
    leaves = np.zeros((len(scalars), width), scalars.dtype)
    if np.any((end - begin)[leaf] != width):
        raise invalid("MODEL_CORRUPT", "The model's leaves are not all of one length. Save the model again.")
    leaves[leaf] = vectors[begin[leaf].astype(np.int64)[:, None] + np.arange(width)]
    return leaves


def _covers_of_tree(field: Any, *, counts_first: bool) -> NDArray[np.float64]:
    """Return each node's cover as its library takes it: LightGBM counts rows, others sum second derivatives or weights.

    Empty where not every node has one.
    """
    names = ("data_count", "sum_hess")
    for name in names if counts_first else names[::-1]:
        present = field(f"{name}_present")
        if len(present) and np.all(present):
            return np.asarray(field(name), np.float64)
    return np.zeros(0)


def _covers(parts: list[_Tree]) -> NDArray[np.float64]:
    """Return all covers; none where a tree lacks them, or where one is no number of at least 0."""
    covers = np.concatenate([part.covers for part in parts])
    whole = len(covers) == sum(len(part.left) for part in parts)
    return covers if whole and np.all(np.isfinite(covers) & (covers >= 0)) else np.zeros(0)


def _parents_first(tree: _Tree) -> _Tree:
    """Renumber the nodes breadth first, for trainers that keep pruned nodes or reuse their numbers."""
    order, reached = [0], {0}
    for node in order:
        if tree.left[node] < 0:
            continue
        for child in (int(tree.left[node]), int(tree.right[node])):
            if not 0 <= child < len(tree.left) or child in reached:
                raise invalid("MODEL_CORRUPT", "The model's trees are not trees. Save the model again.")
            reached.add(child)
            order.append(child)
    new = np.full(len(tree.left), -1, np.int32)
    new[order] = np.arange(len(order), dtype=np.int32)
    starts = np.concatenate([[0], np.cumsum(tree.category_counts)])
    kept = [tree.categories[starts[node] : starts[node + 1]] for node in order]

    def children(old: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.where(old[order] < 0, -1, new[old[order]]).astype(np.int32)

    return _Tree(
        left=children(tree.left),
        right=children(tree.right),
        feature=tree.feature[order],
        threshold=tree.threshold[order],
        default_left=tree.default_left[order],
        categorical=tree.categorical[order],
        category_counts=tree.category_counts[order],
        categories=np.concatenate([*kept, np.zeros(0, np.uint32)]).astype(np.uint32),
        leaves=tree.leaves[order],
        strict=tree.strict[order],
        covers=tree.covers[order] if len(tree.covers) else tree.covers,
    )


def _children(parts: list[NDArray[np.int32]], starts: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.concatenate(
        [np.where(part < 0, -1, part + start) for part, start in zip(parts, starts, strict=False)]
    ).astype(np.int32)


def _one_operator(parts: list[_Tree]) -> tuple[Floats, bool]:
    """Return all thresholds, and whether ``<`` compares with them rather than ``<=``."""
    threshold = np.concatenate([part.threshold for part in parts])
    strict = np.concatenate([part.strict for part in parts])
    numeric = np.concatenate([(part.left >= 0) & ~part.categorical for part in parts])
    if strict[numeric].all():
        return threshold, True
    # Both in one forest (a hand-built one): x < t is x <= the number before t.
    below = np.nextafter(threshold, threshold.dtype.type(-np.inf))
    return np.where(strict, below, threshold), False


def _fold_tiny_values(threshold: Floats) -> Floats:
    """Move thresholds so that values within LightGBM's zero go where 0 goes, at no cost a row."""
    below = (threshold >= -_LIGHTGBM_ZERO) & (threshold < 0)
    above = (threshold >= 0) & (threshold < _LIGHTGBM_ZERO)
    threshold = np.where(below, np.nextafter(-_LIGHTGBM_ZERO, -np.inf), threshold)
    return np.where(above, _LIGHTGBM_ZERO, threshold)


def _narrow_features(
    count: int, threshold: Floats, parts: list[_Tree], *, lightgbm: bool
) -> NDArray[np.bool_]:
    """Return which features are cast to float32 before they are compared, shape ``(features,)``.

    XGBoost casts all of them, LightGBM none. scikit-learn's forests and gradient boosting do, its histogram
    gradient boosting does not, and a checkpoint does not say which of them it holds. Its thresholds do:
    midpoints of float32 values have few significant bits, those of float64 values nearly all 53. (Where
    float64 values happen to be that round, casting changes nothing.)
    """
    if threshold.dtype == np.float32:
        return np.ones(count, bool)
    if lightgbm:
        return np.zeros(count, bool)
    feature = np.concatenate([part.feature for part in parts])
    numeric = np.concatenate([(part.left >= 0) & ~part.categorical for part in parts])
    used = numeric & np.isfinite(threshold)
    mantissa = np.frexp(threshold[used])[0] * 2.0**_FLOAT32_MIDPOINT_BITS
    few = mantissa == np.rint(mantissa)
    splits = np.bincount(feature[used], minlength=count)
    few_splits = np.bincount(feature[used][few], minlength=count)
    return few_splits * 2 > splits


def _output_places(header: Any, width: int, vector_shape: Any) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the first output that each tree adds to, and the distance to its next."""
    target, klass = header.get_field("target_id"), header.get_field("class_id")
    first = np.maximum(target, 0) * width + np.maximum(klass, 0)
    # A leaf with a value for each target and one class steps from target to target.
    step = np.where((target < 0) & (klass >= 0) | (vector_shape[1] == 1), width, 1)
    return first.astype(np.int32), step.astype(np.int32)


def _exact_path_length(rounded: float) -> float:
    """Return the mean path length that an isolation forest divides by, which treelite keeps as a float32.

    It is a function of a whole number, the samples a tree was grown from; the one that rounds to the kept
    value gives back the other digits.
    """
    low, high = 3, 2**24
    while low < high:
        middle = (low + high) // 2
        if np.float32(_mean_path_length(middle)) < rounded:
            low = middle + 1
        else:
            high = middle
    exact = _mean_path_length(low)
    return exact if float(np.float32(exact)) == rounded else rounded


def _mean_path_length(samples: int) -> float:
    return 2.0 * (math.log(samples - 1.0) + float(np.euler_gamma)) - 2.0 * (samples - 1.0) / samples
