"""Everything about a job that can be checked before it starts, without loading its model."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa

from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.model import ModelSchema
from scorestream_server.domain.row_error import ROW_ERROR, OnRowError
from scorestream_server.domain.variable import Variable, merged
from scorestream_server.scoring.expression import ExpressionScorer, compile_where, where_parameters
from scorestream_server.scoring.match import match_columns
from scorestream_server.scoring.nearest import MOST_SHOWN, nearest


def check_job(
    faults: Faults,
    model: ModelSchema,
    path: Path,
    columns: pa.Schema,
    where: str,
    keep: Sequence[str],
    session_variables: Sequence[Variable],
    own_variables: Sequence[Variable],
) -> tuple[pa.Schema, tuple[Variable, ...], bool]:
    """Return the schema of a job's result (the columns that are kept, then the model's own), and what it takes.

    What it takes are the variables that its filter or its score code uses. The third is whether there may be rows that
    cannot be scored.

    Args:
        faults: takes what is found: INVALID_ARGUMENT where the model does not fit the table, `where` cannot be
            used on it, `keep` names what is not there, or a variable is not set, or of no use. What is returned is of
            use only where there is none.
        model: what the model needs and gives.
        path: its file; read for score code only.
        columns: the table's columns.
        where: SQL predicate, or nothing.
        keep: columns to carry into the result.
        session_variables: those of the session.
        own_variables: those that were given with the job, which win; each has to be used.
    """
    variables = merged(session_variables, own_variables)
    used: set[str] = set()
    can_fail = model.row_errors or bool(model.artifacts)  # which may be too large
    with faults.of("spec.model"):
        if model.kind.score_code:  # its own compiler finds missing columns, and shows them
            scorer = ExpressionScorer.from_file(path, model.kind, variables)
            used.update(scorer.parameters)
            can_fail = scorer.check(columns) or can_fail
        else:
            match_columns(model, columns)
    with faults.of("spec.where"):
        if where:
            used.update(where_parameters(where))
            compile_where(where, columns, variables)
    with faults.of("spec.keep"):
        _check_keep(model, columns, keep)
    with faults.of("spec.variables"):
        _check_used([variable.name for variable in own_variables], used)
    kept = [columns.field(name) for name in keep if name in columns.names]
    scores = [pa.field(output.name, pa.type_for_alias(output.type.value)) for output in model.outputs]
    taken = tuple(variable for variable in variables if variable.name in used)
    return pa.schema([*kept, *scores]), taken, can_fail


def with_row_errors(
    result: pa.Schema, asked: OnRowError | None, *, can_fail: bool
) -> tuple[pa.Schema, OnRowError]:
    """Return the schema of a result with the column for why rows could not be scored, and what becomes of such rows.

    Args:
        result: all other columns.
        asked: what the client asked for; with KEEP the column is there whatever the model, so that results of all of a
            model's versions have one shape. None: KEEP where there may be such rows, else results stay as they are.
        can_fail: whether there may be.

    Raises:
        ScorestreamError: ROW_ERROR_NAME_TAKEN.
    """
    chosen = asked or (OnRowError.KEEP if can_fail else OnRowError.FAIL)
    if chosen is OnRowError.FAIL:
        return result, chosen
    if ROW_ERROR in result.names:
        raise invalid(
            "ROW_ERROR_NAME_TAKEN",
            f"The result has a column {ROW_ERROR!r} already, and there may be rows that cannot be scored, for whose "
            "reasons it is. Do not keep it, call it otherwise, or have the job fail with the first such row "
            "(on_row_error = FAIL).",
            [FieldFault("on_row_error", f"the result has a column {ROW_ERROR!r}")],
        )
    return result.append(pa.field(ROW_ERROR, pa.string())), chosen


def with_row_number(result: pa.Schema, columns: pa.Schema, name: str) -> pa.Schema:
    """Return the schema of a result with a column before all others for the rows' numbers, if one is asked for.

    Raises:
        ScorestreamError: ROW_NUMBER_NAME_TAKEN.
    """
    if not name:
        return result
    for there, whose in ((columns, "the table has"), (result, "the model makes")):
        if name in there.names:
            raise invalid(
                "ROW_NUMBER_NAME_TAKEN",
                f"The rows' numbers cannot be a column {name!r}: {whose} one of this name. Take another one.",
                [FieldFault("row_number", f"{whose} a column of this name")],
            )
    return pa.schema([pa.field(name, pa.int64()), *result])


def _check_used(names: Sequence[str], used: Collection[str]) -> None:
    """Refuse variables that were given for nothing: such a name is mistyped."""
    faults: list[FieldFault] = []
    for name in (name for name in names if name not in used):
        near = nearest(name, sorted(used)) if len(faults) < MOST_SHOWN else None
        hint = f"; did you mean :{near}?" if near else ""
        faults.append(FieldFault(name, f"neither where nor the model uses :{name}{hint}"))
    if faults:
        shown = "; ".join(fault.description for fault in faults[:MOST_SHOWN])
        more = f"; and {len(faults) - MOST_SHOWN:,} more" if len(faults) > MOST_SHOWN else ""
        raise invalid("UNUSED_VARIABLE", f"The job is given variables of no use: {shown}{more}.", faults)


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
