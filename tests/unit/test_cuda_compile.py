"""The CUDA kernels compile for every architecture, use no more registers than there are, and round as the CPU does."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cuda_host.log import KernelLog
from scorestream_server.device.cuda_compile import (
    ARCHITECTURES,
    OPTIONS,
    CudaCompileError,
    Program,
    all_programs,
    compile_program,
)

nvrtc: Any = pytest.importorskip("cupy.cuda", reason="needs CuPy and NVRTC, but no GPU").nvrtc
PROGRAMS = all_programs()


@pytest.mark.parametrize("program", PROGRAMS, ids=[program.name for program in PROGRAMS])
def test_every_kernel_compiles_for_every_architecture_and_spills_nothing(
    program: Program, kernel_log: KernelLog
) -> None:
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda architecture: compile_program(nvrtc, program, architecture), ARCHITECTURES)
        for architecture, compiled in zip(ARCHITECTURES, made, strict=True):
            kernel_log.add(program, architecture, compiled)
            assert compiled.cubin.startswith(b"\x7fELF")
            assert sorted(compiled.resources) == sorted(program.kernels)
            for kernel, resources in compiled.resources.items():
                assert resources.spilled == 0, f"{kernel} spills on sm_{architecture}"
                # The most threads of a block, 1,024, share 65,536 registers.
                assert 0 < resources.registers <= 64, f"{kernel} on sm_{architecture}"


@pytest.mark.parametrize(("options", "fused"), [(OPTIONS, False), ((), True)])
def test_nothing_is_fused_and_no_denormal_is_flushed(options: tuple[str, ...], *, fused: bool) -> None:
    """The second case shows that the first can fail."""
    source = """
        extern "C" __global__ void f(const float* a, float* b) { b[0] = a[0] * a[1] + a[2]; }
    """
    handle = nvrtc.createProgram(source, "f.cu", (), ())
    nvrtc.compileProgram(handle, ("-arch=compute_90", *options))
    text = nvrtc.getPTX(handle)
    nvrtc.destroyProgram(handle)
    instructions = text.decode() if isinstance(text, bytes) else text
    assert ("fma.rn.f32" in instructions) == fused
    assert ("mul.rn.f32" in instructions and "add.rn.f32" in instructions) != fused
    assert ".ftz" not in instructions


def test_a_program_that_nvrtc_refuses_is_named_with_what_it_said() -> None:
    program = dataclasses.replace(PROGRAMS[0], defines=(("CELL", "no_such_type"),))
    with pytest.raises(CudaCompileError, match=r"'rank uint8' for sm_90(.|\n)*no_such_type"):
        compile_program(nvrtc, program, 90)


def test_an_architecture_that_nvrtc_does_not_know_is_named() -> None:
    with pytest.raises(CudaCompileError, match="sm_10"):
        compile_program(nvrtc, PROGRAMS[0], 10)


def test_programs_have_names_and_sources_of_their_own() -> None:
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)
    assert len({program.source() for program in PROGRAMS}) == len(PROGRAMS)
