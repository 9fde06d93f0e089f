"""On a real card every kernel and variant gives the bits of the NumPy reference, link functions its numbers."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu.card_forests import CardForests
from parity.kernel_proof import EXTREME_SHAPES, VARIANTS, assert_bits, assert_close, assert_reasons, odd_sums
from parity.random_forests import nasty_rows, perfect_tree, random_forest
from scorestream_server.device import forest_numpy
from scorestream_server.device.cuda_calls import CudaCalls
from scorestream_server.device.cuda_compile import Program, all_programs
from scorestream_server.device.cuda_forest import CudaForest, pack_cuda
from scorestream_server.device.forest_arrays import PostProcessor

pytestmark = pytest.mark.gpu

PROGRAMS = all_programs()


@pytest.mark.parametrize("program", PROGRAMS, ids=[program.name for program in PROGRAMS])
def test_every_program_loads(calls: CudaCalls, program: Program) -> None:
    """Compiled for this very card, each kernel found by its name."""
    assert set(calls.load(program)) == set(program.kernels)


def test_what_was_compiled_is_not_compiled_again(calls: CudaCalls, kernel_cache: Path) -> None:
    """The next process that opens the card takes the machine code from the cache."""
    from scorestream_server.device.cuda import CupyCalls  # noqa: PLC0415  # fails where CuPy is missing

    calls.load(PROGRAMS[0])
    before = {path: path.stat().st_mtime_ns for path in kernel_cache.iterdir()}
    assert set(CupyCalls(0, kernel_cache).load(PROGRAMS[0])) == set(PROGRAMS[0].kernels)
    assert {path: path.stat().st_mtime_ns for path in kernel_cache.iterdir()} == before


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    strict=st.booleans(),
    float32=st.booleans(),
    lightgbm=st.booleans(),
    width=st.sampled_from([1, 2, 5]),
    rows=st.sampled_from([1, 2, 127, 128, 129, 3001]),
    trees=st.sampled_from([1, 2, 7, 40]),
    most_splits=st.sampled_from([1, 2, 40, 255]),
    block=st.sampled_from([32, 64, 128, 256]),
)
def test_every_kernel_gives_the_references_bits_for_any_forest_and_value(
    forests: CardForests,
    seed: int,
    *,
    strict: bool,
    float32: bool,
    lightgbm: bool,
    width: int,
    rows: int,
    trees: int,
    most_splits: int,
    block: int,
) -> None:
    """NaN, infinities, denormals, both zeros, categories out of range, and values equal and next to thresholds."""
    forest = random_forest(
        seed,
        strict=strict,
        float32=float32,
        width=width,
        trees=trees,
        most_splits=most_splits,
        lightgbm=lightgbm,
    )
    assert assert_bits(forests, forest, nasty_rows(forest, rows, seed), block=block) >= 2


@pytest.mark.parametrize("float32", [True, False])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(("shape", "variants"), EXTREME_SHAPES)
def test_extreme_shapes_are_exact(
    forests: CardForests, shape: dict[str, Any], variants: int, width: int, *, float32: bool
) -> None:
    """Leaves alone, very deep, very many and very wide."""
    forest = random_forest(11, strict=float32, float32=float32, width=width, **shape)
    assert assert_bits(forests, forest, nasty_rows(forest, 1037, 12), block=64) == variants


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("float32", [True, False])
def test_reasons_have_the_bits_of_the_cpus(forests: CardForests, width: int, *, float32: bool) -> None:
    """Repeated features, missing values, categories and deep paths."""
    for seed, chains in ((3, False), (4, True)):
        forest = random_forest(seed, strict=float32, float32=float32, width=width, chains=chains)
        assert_reasons(forests, forest, nasty_rows(forest, 3001, seed), 4, block=128)


def test_a_tree_too_wide_for_short_nodes_is_exact_with_long_ones(forests: CardForests) -> None:
    """131,072 leaves."""
    forest = perfect_tree(17)
    assert assert_bits(forests, forest, nasty_rows(forest, 5000, 6), block=128) == len(VARIANTS) - 1


@pytest.mark.parametrize("float32", [True, False])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("kind", PostProcessor)
def test_every_post_processor_is_the_references(
    forests: CardForests, kind: PostProcessor, *, average: bool, float32: bool
) -> None:
    """Within 1e-6 in float32 and 1e-12 in float64, also where exp overflows; NaN is NaN, infinities have their sign."""
    forest = random_forest(4, strict=True, float32=float32, width=6)
    forest = dataclasses.replace(
        forest,
        postprocessor=kind,
        average=average,
        classes=(3, 2),
        base_scores=np.random.default_rng(3).standard_normal(6),
        sigmoid_alpha=0.7,
        ratio_c=3.3,
    )
    packed = pack_cuda(forest)
    assert isinstance(packed, CudaForest)
    sums = odd_sums(131, 6, forest.leaves.dtype)
    # The last bit of a denormal number is more than 1e-6 of it, and exp may differ in its last bit.
    assert_close(
        forests.finish(packed, sums), forest_numpy.post_process(forest, sums.copy()), denormals=False
    )
