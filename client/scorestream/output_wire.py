"""How outputs are written, on the wire."""

from typing import Any

from scorestream.errors import InvalidArgumentError
from scorestream.outputs import OutputOptions
from scorestream.v1 import job_pb2, output_pb2


def output_to_wire(options: OutputOptions | None) -> output_pb2.OutputOptions | None:
    """Return options for the wire.

    Raises:
        InvalidArgumentError: `partition_by` is one text, and each of its letters would be a column.
    """
    if options is None:
        return None
    if isinstance(options.partition_by, str):
        raise InvalidArgumentError(
            f"partition_by is a list of columns; write partition_by=[{options.partition_by!r}].",
            reason="BAD_PARTITION_BY",
        )
    return output_pb2.OutputOptions(
        compression=options.compression,
        row_group_rows=options.row_group_rows,
        partition_by=options.partition_by,
    )


def output_fields(spec: job_pb2.JobSpec) -> dict[str, Any]:
    """Return what `JobInfo` tells of an output."""
    sent = spec.output_options
    options = OutputOptions(sent.compression, sent.row_group_rows, tuple(sent.partition_by))
    return {
        "output": options,
        "append": spec.append,
        "row_number": spec.row_number,
        "explain": spec.explain,
        "parallel_count": spec.parallel_count,
        "is_batch": spec.is_batch,
    }
