"""Everything about a job that can be checked before it starts, without loading its model."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.model import ModelKind, ModelSchema
from scorestream_server.scoring.expression import ExpressionScorer, compile_where
from scorestream_server.scoring.match import match_columns
from scorestream_server.scoring.nearest import MOST_SHOWN


def check_job(
    faults: Faults, model: ModelSchema, path: Path, columns: pa.Schema, where: str, keep: Sequence[str]
) -> pa.Schema:
    """Return the schema of a job's result: the columns that are kept, then the model's own.

    Args:
        faults: takes what is found: INVALID_ARGUMENT where the model does not fit the table, `where` cannot be
            used on it, or `keep` names what is not there. The schema is of use only where there is none.
        model: what the model needs and gives.
        path: its file; read for score code only.
        columns: the table's columns.
        where: SQL predicate, or nothing.
        keep: columns to carry into the result.
    """
    with faults.of("spec.model"):
        if model.kind is ModelKind.EXPRESSION:  # its own compiler finds missing columns, and shows them
            ExpressionScorer.from_file(path).check(columns)
        else:
            match_columns(model, columns)
    with faults.of("spec.where"):
        if where:
            compile_where(where, columns)
    with faults.of("spec.keep"):
        _check_keep(model, columns, keep)
    kept = [columns.field(name) for name in keep if name in columns.names]
    scores = [pa.field(output.name, pa.type_for_alias(output.type.value)) for output in model.outputs]
    return pa.schema([*kept, *scores])


def _check_keep(model: ModelSchema, columns: pa.Schema, keep: Sequence[str]) -> None:
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
        shown = "; ".join(f"{fault.field}: {fault.description}" for fault in faults[:MOST_SHOWN])
        more = f"; and {len(faults) - MOST_SHOWN:,} more" if len(faults) > MOST_SHOWN else ""
        raise invalid("KEEP_DOES_NOT_FIT", f"Not every column of `keep` can be kept. {shown}{more}.", faults)
