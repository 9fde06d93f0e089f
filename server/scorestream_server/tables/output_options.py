"""Whether what a client asks of an output can be done: options, format and columns must fit each other."""

from collections.abc import Sequence

import pyarrow as pa

from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.output import OutputOptions
from scorestream_server.domain.table import OutputFormat
from scorestream_server.tables.partitioned import may_partition

PARQUET_COMPRESSION = ("none", "snappy", "gzip", "zstd", "lz4", "brotli")
ARROW_COMPRESSION = ("none", "lz4", "zstd")
LEAST_GROUP_ROWS = 1_000
MOST_GROUP_ROWS = 10_000_000
MOST_COLUMNS = 16
"""By which a data set is partitioned."""


def check_options(
    options: OutputOptions,
    form: OutputFormat | None,
    schema: pa.Schema,
    *,
    append: bool,
    to_table: bool,
) -> None:
    """Refuse options that do not fit an output.

    Args:
        options: as the client gave them.
        form: of the files; None: it is not written to files.
        schema: columns of the result.
        append: whether the rows are to join what is there.
        to_table: whether a table is made of the result.

    Raises:
        ScorestreamError: OUTPUT_OPTIONS_DO_NOT_FIT, with every fault.
    """
    faults: list[FieldFault] = []
    if form is None:
        faults = [
            FieldFault(name, "there is no out_path, and only files are written with it")
            for name, given in (
                ("compression", options.compression),
                ("row_group_rows", options.row_group_rows),
                ("partition_by", options.partition_by),
            )
            if given
        ]
        if append and not to_table:
            faults.append(FieldFault("append", "there is neither an out_path nor an out_table to append to"))
    else:
        faults += _compression_faults(options.compression, form)
        faults += _group_faults(options.row_group_rows, form)
        faults += _partition_faults(options.partition_by, form, schema)
        if append and form is not OutputFormat.DATASET:
            faults.append(
                FieldFault("append", f"{_A[form]} cannot be added to; name a directory, which has no ending")
            )
    if faults:
        told = "; ".join(f"{fault.field}: {fault.description}" for fault in faults)
        raise invalid("OUTPUT_OPTIONS_DO_NOT_FIT", f"The output cannot be written like that: {told}.", faults)


_A = {
    OutputFormat.PARQUET: "a Parquet file",
    OutputFormat.ARROW: "an Arrow file",
    OutputFormat.CSV: "a CSV file",
    OutputFormat.DATASET: "a data set",
}


def _compression_faults(compression: str, form: OutputFormat) -> list[FieldFault]:
    if not compression:
        return []
    if form is OutputFormat.CSV:
        return [FieldFault("compression", "of a CSV file its ending says it: .csv, .csv.gz or .csv.zst")]
    known = ARROW_COMPRESSION if form is OutputFormat.ARROW else PARQUET_COMPRESSION
    if compression in known:
        return []
    return [FieldFault("compression", f"{_A[form]} can have {', '.join(known)}, not {compression[:40]!r}")]


def _group_faults(rows: int, form: OutputFormat) -> list[FieldFault]:
    if not rows:
        return []
    if form not in {OutputFormat.PARQUET, OutputFormat.DATASET}:
        return [FieldFault("row_group_rows", f"{_A[form]} has no row groups")]
    if LEAST_GROUP_ROWS <= rows <= MOST_GROUP_ROWS:
        return []
    return [FieldFault("row_group_rows", f"from {LEAST_GROUP_ROWS:,} to {MOST_GROUP_ROWS:,}, not {rows:,}")]


def _partition_faults(columns: Sequence[str], form: OutputFormat, schema: pa.Schema) -> list[FieldFault]:
    if not columns:
        return []
    if form is not OutputFormat.DATASET:
        told = f"{_A[form]} has no directories; name a directory, which has no ending"
        return [FieldFault("partition_by", told)]
    faults = []
    if len(columns) > MOST_COLUMNS:
        return [FieldFault("partition_by", f"at most {MOST_COLUMNS} columns, not {len(columns):,}")]
    for name in dict.fromkeys(columns):
        if columns.count(name) > 1:
            told = "it is named more than once"
        elif name not in schema.names:
            told = "the result has no such column; name it in keep"
        elif not may_partition(schema.field(name).type):
            told = f"a directory is named after a text, a whole number, a date or a truth value, not a {schema.field(name).type}"
        elif name.startswith((".", "_")):
            told = "readers pass over directories whose names begin with . or _"
        else:
            continue
        faults.append(FieldFault(f"partition_by {name!r}", told))
    if not faults and set(columns) >= set(schema.names):
        faults.append(FieldFault("partition_by", "no column would be left for the files"))
    return faults
