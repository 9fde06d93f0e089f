"""Which format a file has, by its ending."""

from pathlib import PurePath

import pyarrow as pa

from scorestream_server.domain.table import FileFormat

COMPRESSIONS = {
    ending: codec
    for ending, codec in {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}.items()
    if pa.Codec.is_available(codec)
}
"""What text may be compressed with, by the second ending that says so."""

_TEXTS = {
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".jsonl": FileFormat.JSON,
    ".ndjson": FileFormat.JSON,
}
INPUT_ENDINGS = {
    **_TEXTS,
    **{text + ending: form for text, form in _TEXTS.items() for ending in COMPRESSIONS},
    ".parquet": FileFormat.PARQUET,
    ".arrow": FileFormat.ARROW,
    ".feather": FileFormat.ARROW,
    ".ipc": FileFormat.ARROW,
}
ENDINGS_TOLD = (
    f"a data file ends with {', '.join(_TEXTS)} (also with {', '.join(COMPRESSIONS)}), .parquet, .arrow, "
    ".feather or .ipc"
)


def file_format(path: PurePath | str) -> FileFormat | None:
    """Return the format that a file's ending stands for, or None for an ending that is not known."""
    name = str(path).lower()
    return next((form for ending, form in INPUT_ENDINGS.items() if name.endswith(ending)), None)


def compression(path: str) -> str | None:
    """Return the codec that a text file is compressed with by its ending, or None."""
    return COMPRESSIONS.get(PurePath(path.lower()).suffix)


def delimiter(path: str) -> str:
    """Return what stands between the values of a CSV file, by its ending."""
    return "\t" if ".tsv" in PurePath(path.lower()).suffixes[-2:] else ","
