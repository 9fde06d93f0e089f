"""What the CUDA kernels have to prove wherever they run: the bits of the NumPy reference, in every variant."""

from typing import Any

import numpy as np
import pytest

from cuda_host.forests import KernelForests
from scorestream_server.device import forest_numpy
from scorestream_server.device.cpu import CpuDevice
from scorestream_server.device.cuda_forest import pack_variant
from scorestream_server.device.cuda_launch import largest_staged_block
from scorestream_server.device.cuda_reasons import pack_cuda_reasons
from scorestream_server.device.forest_arrays import Floats, ForestArrays

VARIANTS: list[tuple[type[Any], type[Any]]] = [
    (np.uint8, np.uint32),
    (np.uint8, np.uint64),
    (np.uint16, np.uint64),
]
KERNELS = ("walk_staged", "walk_global", "walk_row")
EXTREME_SHAPES = [
    pytest.param({"most_splits": 1}, 3, id="one leaf"),
    pytest.param({"most_splits": 2, "trees": 1}, 3, id="stump"),
    pytest.param({"most_splits": 3, "trees": 4000}, 2, id="4,000 trees"),
    pytest.param({"most_splits": 45, "chains": True}, 3, id="depth 30 and more"),
    pytest.param({"most_splits": 200, "features": 1000, "trees": 20}, 2, id="1,000 features"),
]
"""Arguments of `random_forest`, and how many variants fit: some have more than the 256 columns that short nodes tell
apart."""


def assert_bits(
    forests: KernelForests, forest: ForestArrays, columns: list[Floats], *, block: int = 32
) -> int:
    """Compare every variant that fits and every kernel with the reference; return how many variants fit."""
    rows = len(columns[0])
    expected = forest_numpy.margins(forest, columns).T
    fitting = [packed for cell, node in VARIANTS if (packed := pack_variant(forest, cell, node))]
    for packed in fitting:
        cells = forests.cells(packed, columns)
        for kernel in KERNELS:
            size = block
            if kernel == "walk_staged":
                size = largest_staged_block(packed, forests.shared_bytes, block)
                if not size:
                    continue
            sums = forests.sums(packed, cells, rows, kernel, block=size)
            assert sums.tobytes() == np.ascontiguousarray(expected).tobytes(), (
                kernel,
                packed.cell,
                packed.node,
            )
    return len(fitting)


def assert_reasons(
    forests: KernelForests, forest: ForestArrays, columns: list[Floats], reasons: int, *, block: int = 32
) -> None:
    """Compare the reasons of every output with those of the CPU's kernel."""
    packed, device = pack_cuda_reasons(forest), CpuDevice()
    prepared, lane = device.prepare_reasons(forest), device.open_lane()
    for output in range(forest.outputs):
        expected = lane.explain_forest(prepared, columns, output=output, reasons=reasons)
        features, contributions = forests.reasons(packed, columns, output, reasons, block=block)
        assert contributions.tobytes() == expected.contributions.tobytes()
        assert features.tobytes() == expected.features.tobytes()


def odd_sums(rows: int, outputs: int, dtype: np.dtype[Any]) -> Floats:
    """Return sums of leaves that link functions get wrong if they can: shape ``(rows, outputs)``, 14 rows or more."""
    rng = np.random.default_rng(3)
    ordinary = [0.0, -0.0, 1e-40, 5e-324, -1e-310, 88.9, -104.0, 710.0, -746.0, 1e30, -1e30]
    odd = np.array([np.nan, np.inf, -np.inf, *ordinary])
    sums = rng.standard_normal((rows, outputs)) * 10
    sums = np.where(rng.random(sums.shape) < 0.4, rng.choice(odd, sums.shape), sums)
    sums[: len(odd), 0] = odd
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(sums.astype(dtype))


def assert_close(scores: Floats, expected: Floats, *, denormals: bool = True) -> None:
    """Compare scores within what link functions may differ by; without `denormals` such results only roughly."""
    assert scores.dtype == expected.dtype
    tolerance = 1e-6 if expected.dtype == np.float32 else 1e-12
    smallest = 0.0 if denormals else float(np.finfo(expected.dtype).tiny)
    np.testing.assert_allclose(scores, expected, rtol=tolerance, atol=smallest)
