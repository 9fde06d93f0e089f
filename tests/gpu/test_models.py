"""Models of every library score on a real card as on the CPU: 1e-6 relative in float32, 1e-12 in float64."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from parity.forest_models import CASES
from parity.kernel_proof import assert_close
from scorestream_server.device.cpu import CpuDevice
from scorestream_server.device.cuda_calls import CudaCalls
from scorestream_server.device.cuda_device import CudaDevice
from scorestream_server.device.cuda_lane import CudaLane
from scorestream_server.scoring.load import load_scorer

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def device(calls: CudaCalls, tmp_path_factory: pytest.TempPathFactory) -> CudaDevice:
    return CudaDevice(calls, 512 << 20, 1, tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def lane(device: CudaDevice) -> CudaLane:
    return device.open_lane()


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_the_cpu(name: str, device: CudaDevice, lane: CudaLane, tmp_path: Path) -> None:
    """The whole table, repeated to many rows, and a few rows of it: large calls and small take different kernels."""
    case = CASES[name](tmp_path)
    cpu = CpuDevice()
    on_cpu, on_card = (load_scorer(case.path, case.kind, where) for where in (cpu, device))
    assert on_card.schema == on_cpu.schema
    many = [pa.chunked_array([column] * 40).combine_chunks() for column in case.columns]
    few = [column.slice(3, 5) for column in case.columns]
    for columns in (many, few):
        expected = on_cpu.score(columns, cpu.open_lane())
        for output, found, wanted in zip(
            on_cpu.schema.outputs, on_card.score(columns, lane), expected, strict=True
        ):
            assert found.type == wanted.type
            if pa.types.is_floating(found.type):
                assert_close(found.to_numpy(), wanted.to_numpy(), denormals=False)
            else:
                np.testing.assert_array_equal(found.to_numpy(), wanted.to_numpy(), err_msg=output.name)
