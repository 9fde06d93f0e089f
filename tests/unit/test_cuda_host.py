"""The harness that runs CUDA kernels on the host notices what a device would punish, and some that it would not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_host.harness import KernelError, build, compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler (g++ or clang++)")

REVERSE = """
    extern "C" __global__ void reverse(const int* in, int* out, int count) {
        extern __shared__ __align__(16) unsigned char dynamic_shared[];
        int* tile = (int*)dynamic_shared;
        const int row = blockIdx.x * blockDim.x + threadIdx.x;
        tile[threadIdx.x] = row < count ? in[row] : 0;
        BARRIER
        const int from = blockDim.x - 1 - threadIdx.x;
        if (row < count) out[row] = tile[from];
    }
"""


def reversed_blocks(source: str, folder: Path, *, shared_bytes: int = 256, backwards: bool = False) -> Any:
    given = np.arange(150, dtype=np.int32)
    out = np.zeros(150, np.int32)
    arguments = (given, out, np.int32(150))
    build(source, folder).launch("reverse", (3,), 64, shared_bytes, arguments, backwards=backwards)
    return out


def test_threads_of_a_block_meet_at_barriers(tmp_path: Path) -> None:
    source = REVERSE.replace("BARRIER", "__syncthreads();")
    expected = np.concatenate([np.arange(63, -1, -1), np.arange(127, 63, -1)])
    for backwards in (False, True):
        out = reversed_blocks(source, tmp_path, backwards=backwards)
        np.testing.assert_array_equal(out[:128], expected)
        np.testing.assert_array_equal(out[128:], [0] * 22)


def test_a_missing_barrier_shows_in_the_other_order_of_threads(tmp_path: Path) -> None:
    source = REVERSE.replace("BARRIER", "")
    one, other = (reversed_blocks(source, tmp_path, backwards=backwards) for backwards in (False, True))
    assert (one != other).any()


def test_a_write_behind_the_shared_memory_is_noticed(tmp_path: Path) -> None:
    source = REVERSE.replace("BARRIER", "__syncthreads();")
    with pytest.raises(KernelError, match="reverse: a thread wrote behind"):
        reversed_blocks(source, tmp_path, shared_bytes=252)


def test_a_barrier_that_only_some_threads_reach_is_noticed(tmp_path: Path) -> None:
    source = REVERSE.replace("BARRIER", "if (row < count) __syncthreads();")
    with pytest.raises(KernelError, match="waited at a barrier"):
        reversed_blocks(source, tmp_path)


def test_a_launch_that_no_device_takes_is_refused(tmp_path: Path) -> None:
    source = 'extern "C" __global__ void f(int* a) { a[0] = 1; }'
    module = build(source, tmp_path)
    for grid, block in (((0,), 32), ((1, 70_000), 32), ((1,), 0), ((1,), 1056)):
        with pytest.raises(KernelError, match="no device"):
            module.launch("f", grid, block, 0, (np.zeros(1, np.int32),))


def test_arguments_of_another_type_or_number_are_refused(tmp_path: Path) -> None:
    source = """
        struct Pair { int a, b; };
        extern "C" __global__ void f(const Pair* pairs, double* out, float scale, unsigned long long at) {
            out[at] = pairs[0].a * scale;
        }
    """
    module = build(source, tmp_path)
    out = np.zeros(3)
    good = (np.array([7, 8], np.int32), out, np.float32(2), np.uint64(1))
    module.launch("f", (1,), 1, 0, good)
    np.testing.assert_array_equal(out, [0, 14, 0])
    for place, wrong in ((0, np.int32(1)), (1, out.astype(np.float32)), (2, np.float64(2)), (3, np.int64(1))):
        with pytest.raises(TypeError, match=f"argument {place} of f"):
            module.launch("f", (1,), 1, 0, (*good[:place], wrong, *good[place + 1 :]))
    with pytest.raises(TypeError, match="not contiguous"):
        module.launch("f", (1,), 1, 0, (good[0], np.zeros(6)[::2], *good[2:]))
    with pytest.raises(TypeError, match="4 arguments, not 3"):
        module.launch("f", (1,), 1, 0, good[:3])


def test_all_three_dimensions_are_walked(tmp_path: Path) -> None:
    source = """
        extern "C" __global__ void count(int* out) {
            const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
            const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
            out[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1;
        }
    """
    out = np.zeros(2 * 3 * 4 * 5 * 2 * 3, np.int32)
    build(source, tmp_path).launch("count", (2, 3, 4), (5, 2, 3), 0, (out,))
    np.testing.assert_array_equal(out, np.ones_like(out))


def test_what_the_host_cannot_run_is_refused_when_built(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dynamic_shared"):
        build('extern "C" __global__ void f() { __shared__ int a[4]; a[0] = 1; }', tmp_path)
    with pytest.raises(RuntimeError, match="no_such_function"):
        build('extern "C" __global__ void f(int* a) { a[0] = no_such_function(); }', tmp_path)
    source = "extern __shared__ int elsewhere[];"
    with pytest.raises(RuntimeError, match="elsewhere"):
        build(f'extern "C" __global__ void f(int* a) {{ {source} a[0] = elsewhere[0]; }}', tmp_path)
