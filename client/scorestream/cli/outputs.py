"""Options of the commands that write outputs."""

from typing import TYPE_CHECKING, Annotated

import typer

from scorestream.cli.shell import columns_of

if TYPE_CHECKING:
    from scorestream.outputs import OutputOptions

CompressionOption = Annotated[
    str,
    typer.Option(
        help="none, snappy, gzip, zstd, lz4 or brotli for Parquet; none, lz4 or zstd for Arrow.",
        show_default="as usual",
    ),
]
RowGroupOption = Annotated[
    int, typer.Option(help="Rows of a Parquet row group, at most.", show_default="1,048,576")
]
PartitionOption = Annotated[
    str, typer.Option(help="Lay a Parquet directory into COL=VALUE/ directories by these columns: COL,COL.")
]
RowNumberOption = Annotated[
    str, typer.Option(metavar="NAME", help="Add a column of this name with each row's number in the input.")
]

ExplainOption = Annotated[
    int, typer.Option(min=0, help="Add so many reasons a row: the features that moved its score most.")
]


def output_options(compression: str, row_group_rows: int, partition_by: str) -> "OutputOptions | None":
    """Return how files are to be written; None where nothing was said of it."""
    from scorestream.outputs import AS_USUAL, OutputOptions  # noqa: PLC0415 - keeps --help quick

    asked = OutputOptions(compression, row_group_rows, tuple(columns_of(partition_by)))
    return None if asked == AS_USUAL else asked
