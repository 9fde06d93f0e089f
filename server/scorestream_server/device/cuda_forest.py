"""Lays a forest out for the CUDA kernels in ``kernels/``. Plain NumPy: the arrays are copied to a device elsewhere."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scorestream_server.device.cuda_compile import (
    POST_NUMBERS,
    Program,
    finish_program,
    rank_program,
    walk_program,
)
from scorestream_server.device.forest_arrays import ForestArrays
from scorestream_server.device.rank_pack import RankTables
from scorestream_server.device.walk_pack import MOST_COLUMNS, Questions, ask, siblings_together

_BYTE_SPAN, _WORD_SPAN = 255, 65535
_SHORT_COLUMNS, _SHORT_DISTANCES = 1 << 8, 1 << 16
_SEARCH = np.dtype(
    [
        ("low", np.float64),
        ("scale", np.float64),
        ("first_value", np.int64),
        *(
            (name, np.int32)
            for name in ("feature", "steps", "category", "narrow", "first_column", "end_column")
        ),
    ]
)


class CudaArrays(NamedTuple):
    """What the kernels read: NumPy arrays, or their copies on a device. ``O`` outputs, ``N`` nodes, ``T`` trees.

    Attributes:
        searches: uint8, shape ``(U, 48)``: the bytes of ``struct Search`` in ``rank.cu``.
        columns: int32, shape ``(C, 3)``: kind, low, missing of each quantised column.
        values, buckets, members: see `RankTables`.
        nodes: uint32 or uint64, shape ``(N,)``: see ``walk.cu``.
        trees: int32, shape ``(T, 4)``: root, depth, first output, step to the next output. Where a leaf has one
            value they are ordered by output, else as in the forest.
        output_starts: int32, shape ``(O + 1,)``: the first tree of each output; all 0 where leaves have more values.
        leaves: float32 or float64, shape ``(N, W)``.
        divisors, base_scores: shape ``(O,)``, in the type of the leaves.
        classes: int32, the number of classes of each target.
    """

    searches: NDArray[np.uint8]
    columns: NDArray[np.int32]
    values: NDArray[np.float64]
    buckets: NDArray[np.int32]
    members: NDArray[np.uint8]
    nodes: NDArray[np.unsignedinteger[Any]]
    trees: NDArray[np.int32]
    output_starts: NDArray[np.int32]
    leaves: NDArray[np.floating[Any]]
    divisors: NDArray[np.floating[Any]]
    base_scores: NDArray[np.floating[Any]]
    classes: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class CudaForest:
    """A forest for the CUDA kernels.

    Attributes:
        arrays: what the kernels read.
        cell, node, leaf: the types that say which programs fit: uint8 or uint16, uint32 or uint64, float32 or float64.
        used_features: how many searches there are; 0 where no tree has a split.
        category_floor, strict: see `RankTables`.
        post_number: see `POST_NUMBERS`.
        sigmoid_alpha, ratio_c: see `ForestArrays`.
    """

    arrays: CudaArrays
    cell: np.dtype[Any]
    node: np.dtype[Any]
    leaf: np.dtype[Any]
    category_floor: float
    strict: bool
    post_number: int
    sigmoid_alpha: float
    ratio_c: float

    @property
    def used_features(self) -> int:
        """How many features are searched; one both compared and asked for categories counts twice."""
        return len(self.arrays.searches)

    @property
    def columns(self) -> int:
        """How many quantised columns a row has; 0 where no tree has a split."""
        return len(self.arrays.columns)

    @property
    def outputs(self) -> int:
        """How many sums, and scores, a row has."""
        return len(self.arrays.base_scores)

    @property
    def width(self) -> int:
        """How many values a leaf has."""
        return int(self.arrays.leaves.shape[1])

    def programs(self) -> tuple[Program, Program, Program]:
        """Return the programs that quantise rows, sum leaves, and finish scores."""
        return (
            rank_program(self.cell),
            walk_program(self.cell, self.node, self.leaf, vector=self.width > 1),
            finish_program(self.leaf),
        )


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why the CUDA kernels cannot score a forest; ``reason`` is a phrase for a person."""

    reason: str


def pack_cuda(forest: ForestArrays) -> CudaForest | Unfit:
    """Lay a forest out in the variant that reads the fewest bytes a row and a node.

    Returns:
        What the kernels read, or why they cannot take this forest.
    """
    if not _one_place_an_output(forest):
        return Unfit("its trees add different values of their leaves to one output")
    octets, words = ask(forest, _BYTE_SPAN), ask(forest, _WORD_SPAN)
    if octets and words and len(octets.ranks.column_low) > 2 * len(words.ranks.column_low):
        octets = None
    for questions, cell, node in (
        (octets, np.uint8, np.uint32),
        (octets, np.uint8, np.uint64),
        (words, np.uint16, np.uint64),
    ):
        if questions and (packed := _pack(forest, questions, np.dtype(cell), np.dtype(node))):
            return packed
    return Unfit(f"its splits need more than {MOST_COLUMNS:,} quantised columns")


def pack_variant(forest: ForestArrays, cell: type[Any], node: type[Any]) -> CudaForest | None:
    """Lay a forest out in one variant; None where it does not fit.

    Args:
        forest: one that `pack_cuda` takes.
        cell: ``np.uint8`` or ``np.uint16``.
        node: ``np.uint32`` (with ``np.uint8`` only) or ``np.uint64``.
    """
    questions = ask(forest, _BYTE_SPAN if cell is np.uint8 else _WORD_SPAN)
    return _pack(forest, questions, np.dtype(cell), np.dtype(node)) if questions else None


def rank_arrays(tables: RankTables, narrow: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return `CudaArrays.searches` and `CudaArrays.columns` for tables; ``narrow``: see `ForestArrays`."""
    searches = np.zeros(len(tables.features), _SEARCH)
    searches["low"], searches["scale"] = tables.low, tables.scale
    searches["first_value"] = tables.value_starts[:-1]
    searches["feature"], searches["steps"] = tables.features, tables.steps
    searches["category"], searches["narrow"] = tables.is_category, narrow[tables.features]
    searches["first_column"], searches["end_column"] = tables.column_starts[:-1], tables.column_starts[1:]
    columns = np.stack([tables.column_kind, tables.column_low, tables.column_missing], axis=1)
    return searches.view(np.uint8).reshape(-1, _SEARCH.itemsize), columns.astype(np.int32)


def _pack(
    forest: ForestArrays, questions: Questions, cell: np.dtype[Any], node: np.dtype[Any]
) -> CudaForest | None:
    tables = questions.ranks
    order, place, child = siblings_together(forest)
    if node == np.uint32:
        distance = child - place
        if len(tables.column_low) > _SHORT_COLUMNS or np.any(distance >= _SHORT_DISTANCES):
            return None
        nodes = (distance << 16) | (questions.column << 8) | questions.highest
    else:
        nodes = (child << 32) | (questions.column << 16) | questions.highest
    trees = np.stack(
        [place[forest.tree_starts[:-1]], forest.tree_depths(), forest.tree_output, forest.output_step], axis=1
    ).astype(np.int32)
    output_starts = np.zeros(forest.outputs + 1, np.int32)
    if forest.leaves.shape[1] == 1:
        trees = trees[np.argsort(forest.tree_output, kind="stable")]
        output_starts[1:] = np.cumsum(np.bincount(forest.tree_output, minlength=forest.outputs))
    leaf = forest.leaves.dtype
    divisors = forest.trees_of_output() if forest.average else np.ones(forest.outputs)
    arrays = CudaArrays(
        *rank_arrays(tables, forest.narrow),
        values=tables.values,
        buckets=tables.buckets,
        members=tables.members,
        nodes=nodes[order].astype(node),
        trees=trees,
        output_starts=output_starts,
        leaves=np.ascontiguousarray(forest.leaves[order]),
        divisors=divisors.astype(leaf),
        base_scores=forest.base_scores.astype(leaf),
        classes=np.array(forest.classes, np.int32),
    )
    return CudaForest(
        arrays=arrays,
        cell=cell,
        node=node,
        leaf=leaf,
        category_floor=tables.category_floor,
        strict=tables.strict,
        post_number=POST_NUMBERS[forest.postprocessor],
        sigmoid_alpha=forest.sigmoid_alpha,
        ratio_c=forest.ratio_c,
    )


def _one_place_an_output(forest: ForestArrays) -> bool:
    """Tell whether each output is always added to by the same value of a leaf, so that one thread may own it."""
    places = np.arange(forest.leaves.shape[1])
    outputs = forest.tree_output[:, None] + places * forest.output_step[:, None]
    pairs = np.unique(
        np.stack([outputs, np.broadcast_to(places, outputs.shape)], axis=-1).reshape(-1, 2), axis=0
    )
    return len(np.unique(pairs[:, 0])) == len(pairs)
