"""A tree ensemble as plain arrays: what the importers make, and what every device's kernels are packed from.

The arrays hold a forest in one normal form, so that no kernel knows which library trained it:

- A row goes *left* at a numeric split when ``value < threshold`` (`ForestArrays.strict`) or
  ``value <= threshold``; at a categorical split when its category is in the node's set.
- Children come after their parents, so one pass forwards over the nodes sees every parent first; every
  node but a root has one parent.
- Leaf values of a tree go to the outputs ``tree_output + j * output_step`` for ``j`` in ``range(leaf width)``.
"""

import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


class PostProcessor(enum.StrEnum):
    """What turns a margin (the sum of leaves) into a score; named as treelite names them."""

    IDENTITY = "identity"
    IDENTITY_MULTICLASS = "identity_multiclass"
    SIGNED_SQUARE = "signed_square"
    HINGE = "hinge"
    SIGMOID = "sigmoid"
    EXPONENTIAL = "exponential"
    EXPONENTIAL_STANDARD_RATIO = "exponential_standard_ratio"
    LOGARITHM_ONE_PLUS_EXP = "logarithm_one_plus_exp"
    SOFTMAX = "softmax"
    MULTICLASS_OVA = "multiclass_ova"


@dataclass(frozen=True, slots=True, eq=False)
class ForestArrays:
    """A tree ensemble; ``N`` nodes in all, ``T`` trees, ``W`` values a leaf, ``O`` outputs.

    Attributes:
        num_features: how many columns a row has.
        classes: the number of classes of each target (1: a plain number). Outputs lie target by target,
            each padded to the largest number of classes, so ``O = len(classes) * max(classes)``.
        tree_starts: int64, shape ``(T + 1,)``: the nodes of tree ``t`` are ``tree_starts[t]:tree_starts[t + 1]``,
            its root the first of them.
        left, right: int32, shape ``(N,)``: children, as indexes into all nodes; -1 at a leaf.
        feature: int32, shape ``(N,)``: the column that a split reads; 0 at a leaf.
        threshold: float32 or float64, shape ``(N,)``.
        narrow: bool, shape ``(num_features,)``: whether a feature is cast to float32 before it is compared.
        default_left: bool, shape ``(N,)``: where a missing value goes.
        categorical: bool, shape ``(N,)``: whether a split asks for a category instead of comparing.
        category_starts: int64, shape ``(N + 1,)``, into ``categories``.
        categories: uint32: the categories that go left at each node, ascending within a node.
        leaves: float32 or float64, shape ``(N, W)``. Its type is the type that leaves are summed in.
        tree_output, output_step: int32, shape ``(T,)``: which outputs a tree's leaves add to.
        base_scores: float64, shape ``(O,)``, added to the sums.
        average: whether an output is the mean over its trees rather than their sum.
        strict: whether a value equal to its threshold goes right.
        fractions_above_minus_one: whether a category in (-1, 0) is category 0 (LightGBM truncates)
            rather than no category.
        postprocessor, sigmoid_alpha, ratio_c: from margin to score.
        covers: float64, shape ``(N,)``: how much of the training data came to each node, by which reason codes weigh
            the ways that a row did not go; empty where the model does not say.
    """

    num_features: int
    classes: tuple[int, ...]
    tree_starts: NDArray[np.int64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Floats
    narrow: NDArray[np.bool_]
    default_left: NDArray[np.bool_]
    categorical: NDArray[np.bool_]
    category_starts: NDArray[np.int64]
    categories: NDArray[np.uint32]
    leaves: Floats
    tree_output: NDArray[np.int32]
    output_step: NDArray[np.int32]
    base_scores: NDArray[np.float64]
    average: bool
    strict: bool
    fractions_above_minus_one: bool
    postprocessor: PostProcessor
    sigmoid_alpha: float
    ratio_c: float
    covers: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @property
    def trees(self) -> int:
        """How many trees there are."""
        return len(self.tree_starts) - 1

    @property
    def outputs(self) -> int:
        """How many margins, and scores, a row has."""
        return len(self.base_scores)

    def trees_of_output(self) -> NDArray[np.int64]:
        """Return how many trees add to each output, shape ``(O,)``; at least 1 each."""
        counts = np.zeros(self.outputs, np.int64)
        for place in range(self.leaves.shape[1]):
            np.add.at(counts, self.tree_output + place * self.output_step, 1)
        return np.maximum(counts, 1)

    def tree_depths(self) -> NDArray[np.int32]:
        """Return the number of splits on the longest path of each tree, shape ``(T,)``."""
        level = np.zeros(len(self.left), np.int32)
        depths = np.zeros(self.trees, np.int32)
        frontier = self.tree_starts[:-1]
        while len(frontier):
            frontier = frontier[self.left[frontier] >= 0]
            for child in (self.left[frontier], self.right[frontier]):
                level[child] = level[frontier] + 1
            frontier = np.concatenate([self.left[frontier], self.right[frontier]]).astype(np.int64)
        if len(level):
            depths[:] = np.maximum.reduceat(level, self.tree_starts[:-1])
        return depths


def structure_faults(forest: ForestArrays) -> list[str]:
    """Return what makes a forest unsafe to walk; an empty list for a sound one.

    A file comes from a client, and kernels check no bounds: every index is proved here, once.
    """
    faults = []
    nodes = len(forest.left)
    place = np.arange(nodes)
    tree_of_node = np.repeat(np.arange(forest.trees), np.diff(forest.tree_starts))
    last = forest.tree_starts[1:][tree_of_node]
    inner = forest.left >= 0
    if np.any((np.diff(forest.tree_starts)) < 1):
        faults.append("a tree has no nodes")
    if np.any(inner != (forest.right >= 0)):
        faults.append("a node has one child")
    if any(
        np.any(child[inner] <= place[inner]) or np.any(child[inner] >= last[inner])
        for child in (forest.left, forest.right)
    ):
        faults.append("a child lies outside its tree")
    else:
        parents = np.bincount(np.concatenate([forest.left[inner], forest.right[inner]]), minlength=nodes)
        parents[forest.tree_starts[:-1]] += 1
        if np.any(parents != 1):
            faults.append("a node has no parent, or two")
    if np.any(forest.feature < 0) or np.any(forest.feature >= max(forest.num_features, 1)):
        faults.append("a split reads a column that the model does not have")
    if np.any(np.isnan(forest.threshold[inner])):
        faults.append("a threshold is not a number")
    lowest = forest.tree_output
    highest = lowest + (forest.leaves.shape[1] - 1) * forest.output_step
    if np.any(lowest < 0) or np.any(forest.output_step < 0) or np.any(highest >= forest.outputs):
        faults.append("a tree adds to an output that the model does not have")
    return faults
