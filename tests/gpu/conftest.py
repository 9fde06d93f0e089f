"""Tests on a real card, through the product's own way to it; each is skipped, with the reason, where there is none."""

from pathlib import Path

import pytest

from gpu.card_forests import CardForests
from scorestream_server.device.base import DeviceFault
from scorestream_server.device.cuda_calls import CudaCalls


@pytest.fixture(scope="session")
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this run keeps what it compiles: none of it was compiled before."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="session", autouse=True)
def calls(kernel_cache: Path) -> CudaCalls:
    """The first card that this process sees."""
    try:
        from scorestream_server.device.cuda import CupyCalls  # noqa: PLC0415  # fails where CuPy is missing

        return CupyCalls(0, kernel_cache)
    except (ImportError, DeviceFault) as error:
        pytest.skip(f"no CUDA device: {error}")


@pytest.fixture(scope="session")
def forests(calls: CudaCalls) -> CardForests:
    """Single launches on that card."""
    return CardForests(calls)
