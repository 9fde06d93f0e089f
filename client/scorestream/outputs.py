"""How the output of a job is written."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How files are written; what is left out is as the format is usually written.

    Attributes:
        compression: ``none``, ``snappy``, ``gzip``, ``zstd``, ``lz4`` or ``brotli`` for Parquet (else snappy); ``none``,
            ``lz4`` or ``zstd`` for Arrow (else none, so that it can be mapped). A CSV file's ending says it.
        row_group_rows: rows of a Parquet row group, at most; from 1,000 to 10,000,000. 0: 1,048,576. A row group also
            ends at 64 MiB.
        partition_by: columns of the result by whose values a data set is laid into directories, the outermost first:
            ``segment=A/year=2024``. Texts, whole numbers, dates or truth values; at most 10,000 directories.
    """

    compression: str = ""
    row_group_rows: int = 0
    partition_by: Sequence[str] = ()


AS_USUAL = OutputOptions()
