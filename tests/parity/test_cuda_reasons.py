"""The CUDA kernels of reason codes, run on the host, give the bits of the CPU's for any forest, value and launch."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cuda_host.forests import HostForests
from cuda_host.harness import compiler
from cuda_host.log import KernelLog
from parity.kernel_proof import assert_reasons
from parity.random_forests import nasty_rows, random_forest
from scorestream_server.device.cuda_reasons import pack_cuda_reasons

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler (g++ or clang++)")


@pytest.fixture(scope="module")
def host(host_kernels: Path, kernel_log: KernelLog) -> HostForests:
    return HostForests(host_kernels, kernel_log)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    strict=st.booleans(),
    float32=st.booleans(),
    lightgbm=st.booleans(),
    width=st.sampled_from([1, 2]),
    rows=st.sampled_from([1, 7, 33, 129]),
    most_splits=st.sampled_from([1, 2, 30]),
    reasons=st.sampled_from([1, 3, 5]),
    block=st.sampled_from([32, 128]),
)
def test_reasons_have_the_bits_of_the_cpus_for_any_forest_and_value(
    host: HostForests,
    seed: int,
    *,
    strict: bool,
    float32: bool,
    lightgbm: bool,
    width: int,
    rows: int,
    most_splits: int,
    reasons: int,
    block: int,
) -> None:
    forest = random_forest(
        seed,
        strict=strict,
        float32=float32,
        width=width,
        trees=4,
        most_splits=most_splits,
        lightgbm=lightgbm,
    )
    assert_reasons(host, forest, nasty_rows(forest, rows, seed), reasons, block=block)


def test_paths_of_very_many_features_are_exact(host: HostForests) -> None:
    """More factors than a tile of usual size has room for in shared memory."""
    forest = random_forest(
        3, strict=True, float32=True, width=1, trees=3, most_splits=160, features=150, chains=True
    )
    assert pack_cuda_reasons(forest).packed.points > 32
    assert_reasons(host, forest, nasty_rows(forest, 33, 3), 100)


def test_the_order_in_which_threads_run_changes_nothing(host: HostForests) -> None:
    forest = random_forest(9, strict=True, float32=True, width=1)
    packed, columns = pack_cuda_reasons(forest), nasty_rows(forest, 70, 9)
    forwards = host.reasons(packed, columns, 0, 3, block=64)
    backwards = host.reasons(packed, columns, 0, 3, block=64, backwards=True)
    assert forwards[0].tobytes() == backwards[0].tobytes()
    assert forwards[1].tobytes() == backwards[1].tobytes()
