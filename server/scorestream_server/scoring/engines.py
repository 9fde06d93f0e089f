"""What this server can work with, taken from what its code accepts and from what is installed."""

import functools
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from scorestream_server.domain.device import CPU, Device
from scorestream_server.domain.engine import Engine, EngineKind
from scorestream_server.domain.limits import Limits
from scorestream_server.domain.table import FileFormat, OutputFormat
from scorestream_server.scoring.kinds import KINDS
from scorestream_server.tables.arrow_source import MAX_COMPRESSED_BATCH
from scorestream_server.tables.csv_source import MOST_COLUMNS
from scorestream_server.tables.formats import INPUT_ENDINGS
from scorestream_server.tables.paths import MAX_FILES, OUTPUT_ENDINGS

_CUPY = ("cupy-cuda13x", "cupy-cuda12x", "cupy")
"""The distributions that there may be of it."""
_FORMATS = {
    "arrow": "Arrow IPC",
    "csv": "delimited text",
    "dataset": "directory of Parquet files",
    "json": "JSON, an object a line",
    "parquet": "Parquet",
}
_FORMAT_LIMITS = {
    FileFormat.CSV.value: {"columns": MOST_COLUMNS},
    FileFormat.ARROW.value: {"compressed_batch_bytes": MAX_COMPRESSED_BATCH},
}


def engines(devices: Iterable[Device], limits: Limits) -> list[Engine]:
    """Return everything that the server can work with: devices, then formats, then kinds of models."""
    return [*map(_device, devices), *_formats(), *_models(limits)]


def _device(device: Device) -> Engine:
    library = "numba" if device.id == CPU else next(filter(_version, _CUPY), "")
    limits = {"lanes": device.lanes}
    if device.memory_total is not None:
        limits["memory_bytes"] = device.memory_total
    return Engine(
        device.id,
        EngineKind.DEVICE,
        device.name,
        library=library,
        library_version=_version(library),
        limits=limits,
    )


def _formats() -> list[Engine]:
    found = []
    for name in sorted({form.value for form in (*FileFormat, *OutputFormat)}):
        reads = tuple(ending for ending, form in INPUT_ENDINGS.items() if form.value == name)
        writes = tuple(ending for ending, form in OUTPUT_ENDINGS.items() if form.value == name)
        most = {"files": MAX_FILES} | _FORMAT_LIMITS.get(name, {}) if reads else {}
        found.append(
            Engine(
                name,
                EngineKind.FORMAT,
                _FORMATS[name],
                reads,
                writes,
                "pyarrow",
                _version("pyarrow"),
                most,
            )
        )
    return found


def _models(limits: Limits) -> list[Engine]:
    return [
        Engine(
            kind.value,
            EngineKind.MODEL,
            facts.description,
            facts.endings,
            (),
            facts.library,
            _version(facts.library),
            {"bytes": limits.model_bytes, **facts.limits},
        )
        for kind, facts in KINDS.items()
    ]


@functools.cache
def _version(library: str) -> str:
    """Return a distribution's version as it is installed; nothing where it is not."""
    try:
        return version(library) if library else ""
    except PackageNotFoundError:
        return ""
