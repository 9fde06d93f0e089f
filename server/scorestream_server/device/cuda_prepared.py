"""Forests on a card: what devices make, and lanes work with."""

from dataclasses import dataclass
from typing import Any

from scorestream_server.device.cuda_calls import DeviceBlock
from scorestream_server.device.cuda_forest import CudaArrays, CudaForest
from scorestream_server.device.cuda_reasons import CudaReasonArrays, CudaReasons
from scorestream_server.device.forest_arrays import ForestArrays


@dataclass(frozen=True, eq=False)
class PreparedCudaForest:
    """A forest on a card; its memory is given back when nobody refers to it any more.

    Attributes:
        forest: as it was, for rows that the kernels cannot take.
        packed: the variant; None where NumPy has to score it.
        arrays: ``packed.arrays`` on the card, in ``block``.
        kernels: its kernels by name.
        digest: of the packed arrays.
    """

    forest: ForestArrays
    packed: CudaForest | None
    arrays: CudaArrays | None
    block: DeviceBlock | None
    kernels: dict[str, Any]
    digest: str


@dataclass(frozen=True, eq=False)
class PreparedCudaReasons:
    """A forest on a card, for its reasons; see `PreparedCudaForest`."""

    forest: ForestArrays
    packed: CudaReasons
    arrays: CudaReasonArrays
    block: DeviceBlock
    kernels: dict[str, Any]
