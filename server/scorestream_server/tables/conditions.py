"""Filters over rows: applied to batches, and to what is the same in all rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from scorestream_server.domain.errors import invalid


@dataclass(frozen=True)
class Condition:
    """A filter that rows must pass: an Arrow expression, and the columns that it reads.

    Several conditions hold together (AND). A ``where`` that is given as one condition for each of its
    top-level terms lets more row groups be skipped than one big condition does.
    """

    expression: pc.Expression
    columns: tuple[str, ...]


def filtered(batch: pa.RecordBatch, where: Iterable[Condition]) -> pa.RecordBatch:
    """Return the rows for which every condition is true.

    Raises:
        ScorestreamError: WHERE_NOT_APPLICABLE.
    """
    expressions = [condition.expression for condition in where]
    if not expressions or not batch.num_rows:
        return batch
    # Here, because few jobs have a condition, and with its data sets it is 10 MiB to any process that imports it.
    from pyarrow import acero  # noqa: PLC0415

    # Not RecordBatch.filter(expression): that runs on several threads, for a batch that one lane works on.
    plan = acero.Declaration.from_sequence(
        [
            acero.Declaration("table_source", acero.TableSourceNodeOptions(pa.Table.from_batches([batch]))),
            acero.Declaration(
                "project", acero.ProjectNodeOptions([reduce(lambda a, b: a & b, expressions)], ["keep"])
            ),
        ]
    )
    try:
        keep = plan.to_table(use_threads=False).column(0)
        return batch.filter(pa.concat_arrays(keep.chunks))
    except MemoryError:
        raise
    except (pa.ArrowException, TypeError) as error:
        told = " ".join(str(error).split())[:300]
        raise invalid(
            "WHERE_NOT_APPLICABLE", f"The where condition cannot be applied to the table: {told}"
        ) from None


def excluded_by_constants(
    constants: Iterable[tuple[str, int | str | None]], where: Iterable[Condition], target: pa.Schema
) -> bool:
    """Return whether columns that have one value in all rows exclude a condition that reads no others."""
    values = dict(constants)
    if not values:
        return False
    fields = [field for field in target if field.name in values]
    arrays = [pa.array([values[field.name]], field.type) for field in fields]
    row = pa.record_batch(arrays, schema=pa.schema(fields))
    alone = [one for one in where if one.columns and set(one.columns) <= values.keys()]
    return any(not filtered(row, [one]).num_rows for one in alone)


def accepts_nan(condition: Condition, schema: pa.Schema) -> bool:
    """Return whether a row with a NaN might pass.

    Parquet's minimum and maximum leave NaN out, and Arrow forgets that: ``NOT (x > 5)`` is true for a NaN in
    a row group whose minimum is 6, yet the row group would be skipped.
    """
    floats = [name for name in condition.columns if pa.types.is_floating(schema.field(name).type)]
    if not floats:
        return False
    if len(condition.columns) > 1:
        return True  # it depends on the other columns
    row = pa.record_batch([pa.array([float("nan")], schema.field(floats[0]).type)], names=floats)
    return bool(filtered(row, [condition]).num_rows)
