"""Everything about a job that can be checked before it starts, without loading its model."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.model import ModelKind, ModelSchema
from scorestream_server.scoring.expression import ExpressionScorer, compile_where
from scorestream_server.scoring.match import match_columns


def check_job(
    model: ModelSchema, path: Path, columns: pa.Schema, where: str, keep: Sequence[str]
) -> pa.Schema:
    """Return the schema of a job's result: the columns that are kept, then the model's own.

    Args:
        model: what the model needs and gives.
        path: its file; read for score code only.
        columns: the table's columns.
        where: SQL predicate, or nothing.
        keep: columns to carry into the result.

    Raises:
        ScorestreamError: INVALID_ARGUMENT: the model does not fit the table, `where` cannot be used on it, or
            `keep` names what is not there.
    """
    if model.kind is ModelKind.EXPRESSION:
        ExpressionScorer.from_file(path).check(columns)
    match_columns(model, columns)
    if where:
        compile_where(where, columns)
    outputs = {output.name for output in model.outputs}
    faults = []
    for name in dict.fromkeys(keep):
        if name not in columns.names:
            faults.append(FieldFault(name, "the table has no such column"))
        elif name in outputs:
            faults.append(FieldFault(name, "the model makes a column of this name"))
        elif keep.count(name) > 1:
            faults.append(FieldFault(name, "named more than once"))
    if faults:
        shown = "; ".join(f"{fault.field}: {fault.description}" for fault in faults)
        raise invalid("KEEP_DOES_NOT_FIT", f"Not every column of `keep` can be kept. {shown}.", faults)
    scores = [pa.field(output.name, pa.type_for_alias(output.type.value)) for output in model.outputs]
    return pa.schema([*(columns.field(name) for name in keep), *scores])
