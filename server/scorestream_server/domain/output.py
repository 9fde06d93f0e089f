"""How the output of a job is written, beside where it goes."""

from dataclasses import dataclass

DEFAULT_GROUP_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What a client may choose of an output; the defaults are what the format is usually written with.

    Attributes:
        compression: of Parquet and Arrow files, by name; empty: snappy for Parquet, none for Arrow, so that it can be
            mapped. What compresses a CSV file is said by its ending.
        row_group_rows: rows of a Parquet row group, at most; 0: 1,048,576. A row group also ends at 64 MiB.
        partition_by: columns by whose values the rows of a data set are laid into directories, the outermost first.
    """

    compression: str = ""
    row_group_rows: int = 0
    partition_by: tuple[str, ...] = ()


AS_USUAL = OutputOptions()
