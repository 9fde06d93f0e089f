"""What a job is asked to do, put together for the wire."""

from collections.abc import Mapping, Sequence
from typing import Any

from scorestream.arguments import explain_count, priority_number
from scorestream.errors import InvalidArgumentError
from scorestream.output_wire import output_to_wire
from scorestream.outputs import OutputOptions
from scorestream.records import Priority
from scorestream.settings import variable_to_wire
from scorestream.v1 import job_pb2
from scorestream.wire import duration, model_name


def job_spec(
    *,
    model: str,
    table: str,
    where: str,
    out: str,
    out_path: str,
    keep: Sequence[str],
    replace: bool,
    priority: Priority | str | None,
    partition_rows: int | None,
    timeout: float | None,
    queue_timeout: float | None,
    variables: Mapping[str, Any] | None,
    output: OutputOptions | None,
    append: bool,
    row_number: str,
    explain: int,
) -> job_pb2.JobSpec:
    """Return what `Session.score` was asked for; `out_path` is as the server knows it.

    Raises:
        InvalidArgumentError: what the arguments alone show to be wrong.
    """
    if out and out_path:
        raise InvalidArgumentError("Give out or out_path, not both.", reason="TWO_OUTPUTS")
    spec = job_pb2.JobSpec(
        model=model_name(model) if model else "",
        table=table,
        where=where,
        keep=keep,
        replace=replace,
        priority=job_pb2.PRIORITY_UNSPECIFIED if priority is None else priority_number(priority),
        partition_rows=partition_rows,
        timeout=None if timeout is None else duration(timeout, "timeout"),
        queue_timeout=None if queue_timeout is None else duration(queue_timeout, "queue_timeout"),
        variables={name: variable_to_wire(name, value) for name, value in (variables or {}).items()},
        output_options=output_to_wire(output),
        append=append,
        row_number=row_number,
        explain=explain_count(explain),
    )
    if out:
        spec.out_table = out
    if out_path:
        spec.out_path = out_path
    return spec
