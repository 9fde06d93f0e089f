"""CSV and TSV files as one stream of typed rows, with bounded memory.

A reader that looks at the first block only guesses wrong when a later value does not fit. Here that guess is
tried first, for it is nearly always right and costs one pass; when it fails, one more pass looks at every
value of every file and finds the narrowest type that holds them all, so the result never depends on where in
the file a value stands. What is null: an empty cell, and ``NA``, ``NaN``, ``null`` and the like, as in pandas.
"""

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from scorestream_server.domain.errors import FieldFault, ScorestreamError, counted, invalid
from scorestream_server.tables.columns import normal_schema
from scorestream_server.tables.files import cancelled_error

BLOCK_BYTES = 4 << 20
"""How much text is parsed at once; no line may be longer."""

MOST_COLUMNS = 100_000
"""Of a CSV file: Arrow's reader takes some 3 KiB a column, however few rows there are."""

_LADDER: tuple[pa.DataType, ...] = (
    pa.null(),
    pa.int64(),
    pa.float64(),
    pa.bool_(),
    pa.date32(),
    pa.timestamp("us"),
)
_PREFIX = 60
_TOO_LONG = "line too long"


class TypesChangedError(Exception):
    """A value does not fit the type that the beginning of the files suggested: call `CsvSource.infer_all`."""


class CsvSource:
    """One or several CSV files with the same columns.

    Args:
        paths: the files.
        cancelled: asked between blocks.

    Attributes:
        schema: the columns as the table has them.
        notes: which columns became text because of single values, for a person.

    Raises:
        ScorestreamError: EMPTY_FILE, BAD_COLUMN_NAMES, SCHEMA_MISMATCH, CSV_BROKEN_LINE and others.
    """

    def __init__(self, paths: Sequence[Path], cancelled: Callable[[], bool]) -> None:
        self._paths = paths
        self._cancelled = cancelled
        self._names = _names(paths[0])
        self.notes: list[str] = []
        for path in paths[1:]:
            names = _names(path)
            if set(names) != set(self._names):
                raise _other_columns(path, names, paths[0], self._names)
        guess = _first_types(paths[0], self._names)
        self._types: list[pa.DataType] = [guess[name] for name in self._names]
        self._inferred = False
        self.schema = self._as_schema()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows.

        Raises:
            TypesChangedError: unless `infer_all` was called.
            ScorestreamError: a broken line, with its file, number and beginning; CANCELLED.
        """
        for path in self._paths:
            if self._inferred:
                for batch in self._texts(path):
                    arrays = [
                        _cast(text, kind) for text, kind in zip(batch.columns, self._types, strict=True)
                    ]
                    yield self._batch(arrays)
            else:
                for batch in self._blocks(path, dict(zip(self._names, self._types, strict=True))):
                    yield self._batch(batch.columns)

    def infer_all(self) -> None:
        """Look at every value, and settle the narrowest type of each column.

        Raises:
            ScorestreamError: a broken line; CANCELLED.
        """
        alive = [list(_LADDER) for _ in self._names]
        last: dict[int, str] = {}
        for path in self._paths:
            row = 0
            for batch in self._texts(path):
                for at, text in enumerate(batch.columns):
                    before = alive[at]
                    alive[at] = _surviving(text, before)
                    if before and not alive[at]:
                        last[at] = _blame(text, before, path, row)
                row += batch.num_rows
        self._types = [kinds[0] if kinds else pa.string() for kinds in alive]
        # Text that looks like text from the start needs no word; text because of a late value does.
        self.notes = [
            f"column {self._names[at]!r} is text {told}" for at, told in sorted(last.items()) if told
        ]
        self._inferred = True
        self.schema = self._as_schema()

    def _as_schema(self) -> pa.Schema:
        return normal_schema(
            pa.schema(list(zip(self._names, self._types, strict=True))), f"The file {self._paths[0].name!r}"
        )

    def _batch(self, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        # A column without any value is null to the parser and a number to the table.
        cast = [
            array if array.type == field.type else array.cast(field.type)
            for array, field in zip(arrays, self.schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(cast, schema=self.schema)

    def _texts(self, path: Path) -> Iterator[pa.RecordBatch]:
        yield from self._blocks(path, dict.fromkeys(self._names, pa.string()))

    def _blocks(self, path: Path, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        if _has_no_rows(path):
            return
        try:
            for batch in _open(path, types, self._names):
                if self._cancelled():
                    raise cancelled_error()
                yield batch
        except (pa.ArrowException, OSError, EOFError) as error:
            raise self._fault(path, error) from None

    def _fault(self, path: Path, error: Exception) -> Exception:
        if isinstance(error, MemoryError):
            return error
        told = str(error)
        if "invalid UTF8" in told or "decode byte" in told:
            return _not_utf8(path)
        if "conversion error" in told and not self._inferred:
            return TypesChangedError(told)
        return _broken(path, len(self._names), told)


def _open(
    path: Path, types: dict[str, pa.DataType] | None, names: Sequence[str] | None
) -> pacsv.CSVStreamingReader:
    gzipped = path.name.lower().endswith(".gz")
    source = pa.input_stream(str(path), compression="gzip") if gzipped else pa.OSFile(str(path), "rb")
    return pacsv.open_csv(
        source,
        read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES),
        parse_options=pacsv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=types,
            include_columns=None if names is None else list(names),
            strings_can_be_null=True,
            timestamp_parsers=[pacsv.ISO8601],
        ),
    )


def _first_types(path: Path, names: Sequence[str]) -> dict[str, pa.DataType]:
    """Return the types that the first block suggests."""
    if _has_no_rows(path):
        return dict.fromkeys(names, pa.null())
    try:
        with _open(path, None, names) as reader:
            found = {field.name: field.type for field in reader.schema}
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, EOFError) as error:
        raise _broken(path, len(names), str(error)) from None
    if any(pa.types.is_binary(kind) for kind in found.values()):
        raise _not_utf8(path)
    return found


def _names(path: Path) -> list[str]:
    """Return the header's names, checked."""
    try:
        with _text(path) as file:
            names = next((row for row in csv.reader(_lines(file), delimiter=_delimiter(path)) if row), [])
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    except (csv.Error, OSError, EOFError) as error:
        raise _broken(path, 0, str(error)) from None
    if not names:
        raise invalid(
            "EMPTY_FILE",
            f"The file {path.name!r} is empty. A CSV file begins with a line of column names.",
            file=path.name,
        )
    if len(names) > MOST_COLUMNS:
        raise invalid(
            "TOO_MANY_COLUMNS",
            f"The file {path.name!r} has {len(names):,} columns; at most {MOST_COLUMNS:,} are read from CSV. Write it as "
            "Parquet, or leave columns out.",
            file=path.name,
        )
    normal_schema(pa.schema([(name, pa.string()) for name in names]), f"The file {path.name!r}")
    return names


def _has_no_rows(path: Path) -> bool:
    with _text(path) as file:
        rows = (row for row in csv.reader(_lines(file), delimiter=_delimiter(path)) if row)
        try:
            next(rows, None)
            return next(rows, None) is None
        except (csv.Error, UnicodeDecodeError):
            return False


def _text(path: Path) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return io.TextIOWrapper(gzip.open(path, "rb"), "utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _lines(file: TextIO) -> Iterator[str]:
    """Yield a file's lines; raises csv.Error for one that is longer than any may be, before it is all read."""
    while line := file.readline(BLOCK_BYTES + 1):
        if len(line) > BLOCK_BYTES:
            raise csv.Error(_TOO_LONG)
        yield line


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.name.lower()[-7:] else ","


def _surviving(text: pa.Array, kinds: list[pa.DataType]) -> list[pa.DataType]:
    """Return those of ``kinds`` that hold every value of ``text``."""
    alive: list[pa.DataType] = []
    for kind in kinds:
        # What is a whole number is a number, too: not tried twice.
        if (kind == pa.float64() and pa.int64() in alive) or _fits(text, kind):
            alive.append(kind)
    return alive


def _fits(text: pa.Array, kind: pa.DataType) -> bool:
    if pa.types.is_null(kind):
        return bool(text.null_count == len(text))
    try:
        _cast(text, kind)
    except pa.ArrowInvalid:
        return False
    return True


def _cast(text: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return text
    if pa.types.is_null(kind):
        return pa.nulls(len(text))
    return pc.cast(pc.utf8_trim_whitespace(text), kind)


def _blame(text: pa.Array, kinds: list[pa.DataType], path: Path, rows_before: int) -> str:
    """Return which value made a column text that was something else before; empty if it was text all along."""
    at = max(_first_misfit(text, kind) for kind in kinds)
    if pa.null() in kinds and text.slice(0, at).null_count == at:
        return ""
    value = text[at].as_py()
    return f"because of {value[:_PREFIX]!r} in data row {rows_before + at + 1:,} of {path.name!r}"


def _first_misfit(text: pa.Array, kind: pa.DataType) -> int:
    """Return the index of the first value that does not fit; there is one."""
    low, high = 0, len(text)  # the first `low` values fit, the first `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(text.slice(low, middle - low), kind) else (low, middle)
    return low


def _broken(path: Path, width: int, told: str) -> ScorestreamError:
    """Find the line that the parser complained of; only now is it worth reading the file line by line."""
    if "straddling" in told or _TOO_LONG in told:
        return _line_too_long(path)
    try:
        with _text(path) as file:
            kept: list[str] = []

            def lines() -> Iterator[str]:
                for line in _lines(file):
                    kept.append(line)
                    yield line

            reader = csv.reader(lines(), delimiter=_delimiter(path))
            line = 1
            for row in reader:
                if row and width and len(row) != width:
                    start = "".join(kept).rstrip("\r\n")[:_PREFIX]
                    return invalid(
                        "CSV_BROKEN_LINE",
                        f"Line {line:,} of {path.name!r} has {counted(len(row), 'value')} for {counted(width, 'column')}: "
                        f"{start!r}. Mend the line; a value with a comma or a line break needs quotes.",
                        [FieldFault(f"line {line}", start)],
                        file=path.name,
                        line=str(line),
                    )
                kept.clear()
                line = reader.line_num + 1
    except UnicodeDecodeError:
        return _not_utf8(path)
    except (csv.Error, OSError, EOFError) as error:
        told = str(error)
        if _TOO_LONG in told:
            return _line_too_long(path)
    return invalid(
        "CSV_UNREADABLE",
        f"The file {path.name!r} cannot be read: {' '.join(told.split())[:200]}.",
        file=path.name,
    )


def _line_too_long(path: Path) -> ScorestreamError:
    return invalid(
        "CSV_BROKEN_LINE",
        f"The file {path.name!r} has a line of more than {BLOCK_BYTES:,} bytes, or a quote that is never closed.",
        file=path.name,
    )


def _not_utf8(path: Path) -> ScorestreamError:
    return invalid(
        "CSV_NOT_UTF8", f"The file {path.name!r} is not UTF-8 text. Save it as UTF-8.", file=path.name
    )


def _other_columns(
    path: Path, names: Sequence[str], first: Path, expected: Sequence[str]
) -> ScorestreamError:
    faults = [FieldFault(name, f"missing in {path.name!r}") for name in expected if name not in set(names)]
    faults += [FieldFault(name, f"only in {path.name!r}") for name in names if name not in set(expected)]
    told = "; ".join(f"{fault.field!r} is {fault.description}" for fault in faults[:20])
    return invalid(
        "SCHEMA_MISMATCH",
        f"The files do not have the columns of {first.name!r}: {told}. Give all files the same columns, or load them "
        "one by one.",
        faults[:100],
    )
