"""What is said of outputs, on the wire and in the domain."""

from typing import Any

from scorestream.v1 import job_pb2, output_pb2
from scorestream_server.api.batches import batch_to_wire
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.job import JobSpec
from scorestream_server.domain.output import AS_USUAL, OutputOptions

LONGEST_NAME = 1024
"""Characters of a column that a request makes up."""
MOST_PARTITION_COLUMNS = 1000


def options_from_wire(spec: job_pb2.JobSpec) -> OutputOptions:
    """Return how files are to be written; what cannot be told without the result is checked later.

    Raises:
        ScorestreamError: OUTPUT_OPTIONS_DO_NOT_FIT.
    """
    sent = spec.output_options
    faults = []
    if sent.row_group_rows < 0:
        faults.append(FieldFault("row_group_rows", "negative"))
    if len(sent.partition_by) > MOST_PARTITION_COLUMNS:
        faults.append(FieldFault("partition_by", f"more than {MOST_PARTITION_COLUMNS:,} columns"))
    if faults:
        told = "; ".join(f"{fault.field}: {fault.description}" for fault in faults)
        raise invalid("OUTPUT_OPTIONS_DO_NOT_FIT", f"The output cannot be written like that: {told}.", faults)
    return OutputOptions(sent.compression, sent.row_group_rows, tuple(sent.partition_by))


def append_from_wire(spec: job_pb2.JobSpec) -> bool:
    """Return whether rows join what is there.

    Raises:
        ScorestreamError: REPLACE_AND_APPEND.
    """
    if spec.append and spec.replace:
        fault = FieldFault("spec.append", "not together with replace")
        told = "append adds rows to what is there, and replace removes it; ask for one of them."
        raise invalid("REPLACE_AND_APPEND", told, [fault])
    return spec.append


def row_number_from_wire(spec: job_pb2.JobSpec) -> str:
    """Return the name of the column of the rows' numbers.

    Raises:
        ScorestreamError: INVALID_ROW_NUMBER.
    """
    name = spec.row_number
    if name and (not name.strip() or len(name) > LONGEST_NAME):
        fault = FieldFault("spec.row_number", "not the name of a column")
        told = f"row_number must be a name of 1 to {LONGEST_NAME:,} characters, not blanks alone."
        raise invalid("INVALID_ROW_NUMBER", told, [fault])
    return name


def explain_from_wire(spec: job_pb2.JobSpec) -> int:
    """Return how many reasons each row is given.

    Raises:
        ScorestreamError: INVALID_EXPLAIN.
    """
    if spec.explain < 0:
        fault = FieldFault("spec.explain", "negative")
        told = "explain is how many reasons each row is given: 0 for none, or a number from 1."
        raise invalid("INVALID_EXPLAIN", told, [fault])
    return spec.explain


def output_to_wire(spec: JobSpec) -> dict[str, Any]:
    """Return the fields of a job on the wire that are about its output; what was not asked for is left out."""
    fields: dict[str, Any] = {
        "append": spec.append,
        "row_number": spec.row_number,
        "explain": spec.explain,
        **batch_to_wire(spec),
    }
    if spec.out_table:
        fields["out_table"] = spec.out_table
    if spec.destination:
        fields["out_path"] = spec.destination.named(spec.destination.path)
    if spec.output != AS_USUAL:
        fields["output_options"] = output_pb2.OutputOptions(
            compression=spec.output.compression,
            row_group_rows=spec.output.row_group_rows,
            partition_by=spec.output.partition_by,
        )
    return fields
