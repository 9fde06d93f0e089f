"""Records of a batch: whatever a data scientist holds them in, made the columns that a service reads."""

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from scorestream.arrow import reader_of, reads_again
from scorestream.errors import FailedPreconditionError, Fault, InvalidArgumentError, counted
from scorestream.input_files import open_files

FAULTS_TOLD = 10


@dataclass(frozen=True)
class Records:
    """The records of a batch, checked, with the columns that the service reads and no others.

    Attributes:
        columns: their names.
        ignored: fields of the records that the service does not read; they are not sent.
        reader: opens the rows.
        again: whether `reader` gives all rows when it is called a second time.
        count: how many there are; None where only reading tells.
    """

    columns: tuple[str, ...]
    ignored: tuple[str, ...]
    reader: Callable[[], pa.RecordBatchReader]
    again: bool
    count: int | None


def records_of(records: Any, inputs: Sequence[str], texts: Iterable[str] = ()) -> Records:
    """Return records as they are sent.

    Args:
        records: a pandas data frame; a list of dictionaries; a dictionary of lists; the path of a CSV, TSV, Parquet or
            Arrow file on this machine; or anything with ``__arrow_c_stream__`` (pyarrow, polars).
        inputs: names of what the service reads; empty names: it reads columns by their position.
        texts: those of them that are text.

    Raises:
        InvalidArgumentError: it is none of these, lists are of different lengths, or fields are missing; all are named.
        NotFoundError: the file is not there.
    """
    if isinstance(records, str | Path):
        path = Path(records)
        return _of_reader(
            lambda: open_files([path]), open_files([path]).schema, inputs, again=True, count=None
        )
    if isinstance(records, Mapping):
        return _of_lists(records, inputs, texts)
    if isinstance(records, list | tuple):
        return _of_dictionaries(records, inputs, texts)
    if type(records).__module__.split(".")[0] == "pandas" and hasattr(records, "columns"):
        return _of_frame(records, inputs, texts)
    if isinstance(records, pa.RecordBatch):
        records = pa.Table.from_batches([records])
    if hasattr(records, "__arrow_c_stream__"):
        first = reader_of(records)
        if not reads_again(records):
            return _of_reader(_once(first), first.schema, inputs, again=False, count=None)
        return _of_reader(lambda: reader_of(records), first.schema, inputs, again=True, count=len(records))
    raise InvalidArgumentError(
        "Records are a data frame, a list of dictionaries, a dictionary of lists, the path of a CSV or TSV file, or "
        f"an object with __arrow_c_stream__ (pyarrow, polars), not a {type(records).__name__}.",
        reason="NO_RECORDS",
    )


def record_of(values: Sequence[Any], named: Mapping[str, Any], inputs: Sequence[str]) -> dict[str, list[Any]]:
    """Return one record as lists; its values are given in the order of the inputs, by name, both, or as a dictionary.

    Raises:
        InvalidArgumentError: there are too many values, or an input has two.
    """
    if len(values) == 1 and isinstance(values[0], Mapping) and not named:
        return {str(name): [value] for name, value in values[0].items()}
    if len(values) > len(inputs):
        raise InvalidArgumentError(
            f"{counted(len(values), 'value')} for {counted(len(inputs), 'input')}: {_shown(inputs)}.",
            reason="TOO_MANY_VALUES",
        )
    given = dict(zip(_named(inputs), values, strict=False))
    twice = [name for name in named if name in given]
    if twice:
        raise InvalidArgumentError(
            f"Given by position and by name: {_shown(twice)}.", reason="VALUE_GIVEN_TWICE"
        )
    return {name: [value] for name, value in {**given, **named}.items()}


def _of_frame(frame: Any, inputs: Sequence[str], texts: Iterable[str]) -> Records:
    """Take a data frame's columns; those that are not read are not converted either."""
    names = [str(name) for name in frame.columns]
    wanted = _checked(names, inputs)
    chosen = frame if wanted == names else frame.iloc[:, [names.index(name) for name in wanted]]
    table = reader_of(chosen).read_all().rename_columns(wanted)
    return _of_table(table, names, texts)


def _of_lists(records: Mapping[Any, Any], inputs: Sequence[str], texts: Iterable[str]) -> Records:
    """Take a dictionary of lists."""
    lengths = {}
    for name, values in records.items():
        if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            raise InvalidArgumentError(
                f"The dictionary's {name!r} is no list of values but {values!r:.60}; write {{{name!r}: [...]}}.",
                reason="NO_RECORDS",
            )
        lengths[str(name)] = len(values)
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name!r} has {length:,}" for name, length in lengths.items())
        raise InvalidArgumentError(
            f"The lists are of different lengths: {told}. Each needs a value for every record.",
            reason="UNEQUAL_LENGTHS",
            faults=[Fault(name, counted(length, "value")) for name, length in lengths.items()],
        )
    columns = {str(name): values for name, values in records.items()}
    wanted = _checked(list(columns), inputs)
    return _of_table(pa.table({name: _array(name, columns[name]) for name in wanted}), list(columns), texts)


def _of_dictionaries(records: Sequence[Any], inputs: Sequence[str], texts: Iterable[str]) -> Records:
    """Take a list of dictionaries."""
    names: dict[str, None] = {}
    for index, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise InvalidArgumentError(
                f"Record {index} is a {type(record).__name__} and no dictionary.", reason="NO_RECORDS"
            )
        names.update(dict.fromkeys(record))
    if not records:  # nobody says what their fields are, and nothing is wrong with them
        names = dict.fromkeys(_named(inputs))
    wanted = _checked(list(names), inputs)
    faults = [
        Fault(f"record {index}", f"has no {_shown(lacking)}")
        for index, record in enumerate(records)
        if (lacking := [name for name in wanted if name not in record])
    ]
    if faults:
        told = "; ".join(map(str, faults[:FAULTS_TOLD]))
        more = f"; and {len(faults) - FAULTS_TOLD:,} more records" if len(faults) > FAULTS_TOLD else ""
        raise InvalidArgumentError(
            f"Fields are missing: {told}{more}. Write None for a value that is not known.",
            reason="MISSING_FIELDS",
            faults=faults[:FAULTS_TOLD],
        )
    columns = {name: _array(name, [record[name] for record in records]) for name in wanted}
    return _of_table(pa.table(columns), list(names), texts)


def _of_table(table: pa.Table, names: Sequence[str], texts: Iterable[str]) -> Records:
    """Take a table that has what the service reads, made of records with these fields.

    A column without any value has no type of its own; the service's input says it.
    """
    of_text = set(texts)
    for place, field in enumerate(table.schema):
        if pa.types.is_null(field.type):
            kind = pa.string() if field.name in of_text else pa.float64()
            table = table.set_column(place, field.name, table.column(place).cast(kind))
    columns = tuple(table.column_names)
    ignored = tuple(name for name in names if name not in columns)
    return Records(columns, ignored, table.to_reader, again=True, count=table.num_rows)


def _of_reader(
    reader: Callable[[], pa.RecordBatchReader],
    schema: pa.Schema,
    inputs: Sequence[str],
    *,
    again: bool,
    count: int | None,
) -> Records:
    """Take rows that are read piece by piece."""
    wanted = _checked(schema.names, inputs)
    if wanted == schema.names:
        return Records(tuple(wanted), (), reader, again, count)
    chosen = pa.schema([schema.field(name) for name in wanted])

    def read() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(chosen, (batch.select(wanted) for batch in reader()))

    ignored = tuple(name for name in schema.names if name not in wanted)
    return Records(tuple(wanted), ignored, read, again, count)


def _once(reader: pa.RecordBatchReader) -> Callable[[], pa.RecordBatchReader]:
    """Return what opens a stream, and says so where it was read before, which would give no rows."""
    readers = [reader]

    def read() -> pa.RecordBatchReader:
        if not readers:
            raise FailedPreconditionError(
                "The records are a stream, which is read once, and it was; make a new batch of them.",
                reason="STREAM_READ",
            )
        return readers.pop()

    return read


def _checked(names: Sequence[str], inputs: Sequence[str]) -> list[str]:
    """Return which fields of the records are sent: those that the service reads, in the order of the records.

    Raises:
        InvalidArgumentError: some are missing, or two have one name.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidArgumentError(
            f"Several columns of the records have the name {_shown(twice)}.", reason="BAD_COLUMN_NAMES"
        )
    if not any(inputs):  # by position: the server compares their number
        return list(names)
    there, read = set(names), set(inputs)
    faults = [_lacking(name, names) for name in inputs if name not in there]
    if faults:
        raise InvalidArgumentError(
            f"The records have no {'; no '.join(map(str, (fault.description for fault in faults)))}. "
            f"The service reads {_shown(inputs)}.",
            reason="MISSING_FIELDS",
            faults=faults,
        )
    return [name for name in names if name in read]


def _named(inputs: Sequence[str]) -> Sequence[str]:
    """Return names for the inputs, also for those of a service that reads columns by position."""
    return inputs if any(inputs) else [f"column_{place}" for place in range(len(inputs))]


def _lacking(name: str, names: Sequence[str]) -> Fault:
    """Return the fault of a field that is not there, with the name that may have been meant."""
    lower = {other.lower(): other for other in names}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    return Fault(name, f"{name!r}" + (f" (did you mean {lower[near[0]]!r}?)" if near else ""))


def _array(name: str, values: Any) -> Any:
    """Return a column's values, NaN as a missing one."""
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        kinds: dict[str, int] = {}
        for index, value in enumerate(values):
            if value is not None:
                kinds.setdefault(type(value).__name__, index)
        told = ", ".join(f"{kind} (first in record {index:,})" for kind, index in kinds.items())
        raise InvalidArgumentError(
            f"The values of {name!r} make no column of one type: {told}. {error}.",
            reason="MIXED_VALUES",
            faults=[Fault(name, told)],
        ) from None


def _shown(names: Iterable[str]) -> str:
    """Return names in a sentence."""
    return ", ".join(f"{name!r}" for name in names)
