"""Rows laid into directories by the values of columns, as Hive does: ``segment=A/year=2024``.

A null and an empty text are ``__HIVE_DEFAULT_PARTITION__``, as with Hive and Spark. What a path cannot hold, or what
would be taken for a part of one, is ``%`` and two digits; other letters stay as they are, because not every reader
puts UTF-8 together again.
"""

import datetime as dt
import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types as pat

from scorestream_server.domain.errors import FieldFault, counted, invalid
from scorestream_server.tables.files import disk_errors

NULL = "__HIVE_DEFAULT_PARTITION__"
MOST_DIRECTORIES = 10_000
MOST_AT_ONCE = 32
"""Directories that are written to at the same time; of more, the rows are first put aside in so many heaps."""
LONGEST_NAME = 255
"""Bytes that file systems allow for a name."""

Rows = Callable[[Sequence[str] | None], Iterator[pa.RecordBatch]]
"""Gives the rows from the first on, as often as it is asked to; only the columns named, None: all."""
_ESCAPED = re.compile(r"[\x00-\x1f\"#%'*/:=?\\\x7f{}\[\]^]")


def may_partition(kind: pa.DataType) -> bool:
    """Return whether values of a type can be names of directories, and be told from these again."""
    return bool(pat.is_string(kind) or pat.is_integer(kind) or pat.is_boolean(kind) or pat.is_date(kind))


def directory_name(column: str, value: Any) -> str:
    """Return the name of the directory of the rows that have a value in a column.

    Raises:
        ScorestreamError: PARTITION_VALUE_TOO_LONG.
    """
    if value is None or value == "":
        text = NULL
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, dt.date):
        text = value.isoformat()
    else:
        text = _escaped(str(value))
    name = f"{_escaped(column)}={text}"
    if len(name.encode()) > LONGEST_NAME:
        told = f"{text[:40]}..." if len(text) > 40 else text
        raise invalid(
            "PARTITION_VALUE_TOO_LONG",
            f"A value of the column {column!r}, {told!r}, is too long for the name of a directory. Partition by another "
            "column.",
            [FieldFault(column, f"a directory's name has at most {LONGEST_NAME} bytes")],
        )
    return name


def count_directories(rows: Rows, columns: Sequence[str]) -> dict[str, int]:
    """Return how many rows each directory will have, by its path, in the order of the paths.

    Raises:
        ScorestreamError: TOO_MANY_DIRECTORIES, PARTITION_VALUE_TOO_LONG.
    """
    found: Counter[str] = Counter()
    for batch in rows(columns):
        names, numbers = _directories(batch, columns)
        counts = np.bincount(numbers, minlength=len(names))
        for name, count in zip(names, counts.tolist(), strict=True):
            found[name] += count
        if len(found) > MOST_DIRECTORIES:
            named = " and ".join(map(repr, columns))
            raise invalid(
                "TOO_MANY_DIRECTORIES",
                f"The rows have more than {MOST_DIRECTORIES:,} different values of {named}, and each would be a directory. "
                "Partition by columns of fewer values; the result itself is complete, and can be read or made a table.",
                [FieldFault(column, "too many values") for column in columns],
            )
    return dict(sorted(found.items()))


def spread(
    rows: Rows,
    columns: Sequence[str],
    counts: Mapping[str, int],
    write: Callable[[Sequence[str], Iterator[tuple[int, pa.RecordBatch]]], None],
    folder: Path,
) -> None:
    """Have rows written directory by directory, in their order, some directories at a time.

    Args:
        rows: with all columns.
        columns: those that say the directory.
        counts: from `count_directories`.
        write: is given the paths of at most `MOST_AT_ONCE` directories, and all of their rows as batches, each with
            the index of its directory.
        folder: where there is room for rows that wait; no name ever appears there.
    """
    paths = list(counts)
    if len(paths) <= MOST_AT_ONCE:
        write(paths, _cut(rows, columns, {path: index for index, path in enumerate(paths)}))
        return
    heaps = _heaps(counts)
    heap_of = {path: number for number, heap in enumerate(heaps) for path in heap}
    with ExitStack() as stack, disk_errors(folder):
        # Not in memory: nobody knows how many rows there are.
        files = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in heaps]
        writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        for number, batch in _cut(rows, columns, heap_of):
            if number not in writers:
                writers[number] = pa.ipc.new_stream(files[number], batch.schema)
            writers[number].write_batch(batch)
        for number, writer in writers.items():
            writer.close()
            files[number].flush()
        for number, heap in enumerate(heaps):
            spread(_stored(files[number]), columns, {path: counts[path] for path in heap}, write, folder)
            files[number].close()


def _heaps(counts: Mapping[str, int]) -> list[list[str]]:
    """Return the paths in at most `MOST_AT_ONCE` heaps of about as many paths each."""
    paths = list(counts)
    size = -(-len(paths) // MOST_AT_ONCE)
    return [paths[start : start + size] for start in range(0, len(paths), size)]


def _stored(file: Any) -> Rows:
    def rows(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        file.seek(0)
        for batch in pa.ipc.open_stream(file):
            yield batch if columns is None else batch.select(list(columns))

    return rows


def _cut(
    rows: Rows, columns: Sequence[str], place_of: Mapping[str, int]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield all rows in batches that have one place each; those of one place keep their order."""
    for batch in rows(None):
        names, numbers = _directories(batch, columns)
        places = np.array([place_of[name] for name in names])[numbers]
        if (places == places[0]).all():
            yield int(places[0]), batch
            continue
        order = np.argsort(places, kind="stable")
        ordered, places = batch.take(pa.array(order)), places[order]
        starts = [0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(places)]
        for start, end in itertools.pairwise(starts):
            yield int(places[start]), ordered.slice(start, end - start)


def _directories(batch: pa.RecordBatch, columns: Sequence[str]) -> tuple[list[str], "np.ndarray[Any, Any]"]:
    """Return the paths that a batch's rows have, and the number of each row's among them."""
    names = [""]
    numbers = np.zeros(batch.num_rows, np.int64)
    for column in columns:
        encoded = batch.column(column).dictionary_encode(null_encoding="encode")
        values = [directory_name(column, value) for value in _values(column, encoded.dictionary)]
        combined = numbers * len(values) + encoded.indices.to_numpy(zero_copy_only=False)
        there, numbers = np.unique(combined, return_inverse=True)
        before = [f"{name}/" if name else "" for name in names]
        names = [f"{before[one // len(values)]}{values[one % len(values)]}" for one in there.tolist()]
    return names, numbers


def _values(column: str, values: pa.Array) -> list[Any]:
    try:
        return list(values.to_pylist())
    except (ValueError, OverflowError):
        raise invalid(
            "PARTITION_VALUE_OUT_OF_RANGE",
            f"The column {column!r} has a date that no calendar has, so {counted(1, 'directory')} cannot be named after it. "
            "Partition by another column.",
            [FieldFault(column, "a date out of the years 1 to 9999")],
        ) from None


def _escaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", text)
