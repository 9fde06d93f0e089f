"""CSV and TSV files as one stream of typed rows, with bounded memory.

A reader that looks at the first block only guesses wrong when a later value does not fit. Here that guess is
tried first, for it is nearly always right and costs one pass; when it fails, one more pass looks at every
value of every file and finds the narrowest type that holds them all, so the result never depends on where in
the file a value stands. What is null: an empty cell, and ``NA``, ``NaN``, ``null`` and the like, as in pandas.
"""

import csv
from collections.abc import Iterator, Sequence
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from scorestream_server.domain.errors import FieldFault, ScorestreamError, counted, invalid
from scorestream_server.tables.columns import TypesChangedError, normal_schema
from scorestream_server.tables.files import Cancelled, cancelled_error
from scorestream_server.tables.formats import delimiter
from scorestream_server.tables.source import Source

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


class CsvSource:
    """One or several CSV files with the same columns.

    Args:
        files: the files.
        cancelled: asked between blocks.

    Attributes:
        schema: the columns as the table has them.
        notes: which columns became text because of single values, for a person.

    Raises:
        ScorestreamError: EMPTY_FILE, BAD_COLUMN_NAMES, SCHEMA_MISMATCH, CSV_BROKEN_LINE and others.
    """

    def __init__(self, files: Sequence[Source], cancelled: Cancelled) -> None:
        self._files = files
        self._cancelled = cancelled
        self._names = _names(files[0])
        self.notes: list[str] = []
        for file in files[1:]:
            if cancelled():
                raise cancelled_error()
            names = _names(file)
            if names != self._names and set(names) != set(self._names):
                raise _other_columns(file, names, files[0], self._names)
        self._types = _first_types(files[0], self._names)
        self.inferred = False
        self.schema = self._as_schema()

    def batches(self, at: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows of a file: some columns of `schema`, in this order.

        Raises:
            TypesChangedError: unless `infer_all` was called.
            ScorestreamError: a broken line, with its file, number and beginning; CANCELLED.
        """
        file = self._files[at]
        target = pa.schema([self.schema.field(name) for name in columns])
        if not self.inferred:
            for batch in self._blocks(file, {name: self._types[name] for name in columns}):
                yield _typed(batch.columns, target)
            return
        for batch in self._blocks(file, dict.fromkeys(columns, pa.string())):
            arrays = [
                _cast(text, self._types[name]) for text, name in zip(batch.columns, columns, strict=True)
            ]
            yield _typed(arrays, target)

    def infer_all(self, columns: Sequence[str]) -> None:
        """Look at every value of some columns, and settle the narrowest type of each.

        Raises:
            ScorestreamError: a broken line; CANCELLED.
        """
        alive = {name: list(_LADDER) for name in columns}
        last: dict[str, str] = {}
        for file in self._files:
            row = 0
            for batch in self._blocks(file, dict.fromkeys(columns, pa.string())):
                for name, text in zip(columns, batch.columns, strict=True):
                    before = alive[name]
                    alive[name] = _surviving(text, before)
                    if before and not alive[name]:
                        last[name] = _blame(text, before, file, row)
                row += batch.num_rows
        self._types |= {name: kinds[0] if kinds else pa.string() for name, kinds in alive.items()}
        # Text that looks like text from the start needs no word; text because of a late value does.
        self.notes = [f"column {name!r} is text {last[name]}" for name in self._names if last.get(name)]
        self.inferred = True
        self.schema = self._as_schema()

    def _as_schema(self) -> pa.Schema:
        fields = [(name, self._types[name]) for name in self._names]
        return normal_schema(pa.schema(fields), f"The file {self._files[0].name!r}")

    def _blocks(self, file: Source, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        if _has_no_rows(file):
            return
        try:
            for batch in _open(file, types, list(types)):
                if self._cancelled():
                    raise cancelled_error()
                yield batch
        except (pa.ArrowException, OSError, EOFError) as error:
            raise self._fault(file, error) from None

    def _fault(self, file: Source, error: Exception) -> Exception:
        if isinstance(error, MemoryError):
            return error
        told = str(error)
        if "invalid UTF8" in told or "decode byte" in told:
            return _not_utf8(file)
        if "conversion error" in told and not self.inferred:
            return TypesChangedError(told)
        return _broken(file, len(self._names), told)


def _typed(arrays: Sequence[pa.Array], target: pa.Schema) -> pa.RecordBatch:
    # A column without any value is null to the parser and a number to the table.
    cast = [
        array if array.type == field.type else array.cast(field.type)
        for array, field in zip(arrays, target, strict=True)
    ]
    return pa.RecordBatch.from_arrays(cast, schema=target)


def _open(
    file: Source, types: dict[str, pa.DataType] | None, names: Sequence[str], beginning: bytes | None = None
) -> pacsv.CSVStreamingReader:
    """Open a file, or only its beginning."""
    return pacsv.open_csv(
        file.content() if beginning is None else pa.BufferReader(beginning),
        read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES),
        parse_options=pacsv.ParseOptions(delimiter=delimiter(file.file.path), newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=types,
            include_columns=list(names),
            strings_can_be_null=True,
            timestamp_parsers=[pacsv.ISO8601],
        ),
    )


def _first_types(file: Source, names: Sequence[str]) -> dict[str, pa.DataType]:
    """Return the types that the first block suggests."""
    if _has_no_rows(file):
        return dict.fromkeys(names, pa.null())
    try:
        # The parser reads far ahead of the block that it guesses by.
        with file.content() as content, _open(file, None, names, content.read(2 * BLOCK_BYTES)) as reader:
            found = {field.name: field.type for field in reader.schema}
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, EOFError) as error:
        raise _broken(file, len(names), str(error)) from None
    if any(pa.types.is_binary(kind) for kind in found.values()):
        raise _not_utf8(file)
    return found


def _names(file: Source) -> list[str]:
    """Return the header's names, checked."""
    try:
        with file.text() as text:
            names = next(
                (row for row in csv.reader(_lines(text), delimiter=delimiter(file.file.path)) if row), []
            )
    except UnicodeDecodeError:
        raise _not_utf8(file) from None
    except (csv.Error, OSError, EOFError) as error:
        raise _broken(file, 0, str(error)) from None
    if not names:
        raise invalid(
            "EMPTY_FILE",
            f"The file {file.name!r} is empty. A CSV file begins with a line of column names.",
            file=file.name,
        )
    if len(names) > MOST_COLUMNS:
        raise invalid(
            "TOO_MANY_COLUMNS",
            f"The file {file.name!r} has {len(names):,} columns; at most {MOST_COLUMNS:,} are read from CSV. Write it as "
            "Parquet, or leave columns out.",
            file=file.name,
        )
    normal_schema(pa.schema([(name, pa.string()) for name in names]), f"The file {file.name!r}")
    return names


def _has_no_rows(file: Source) -> bool:
    with file.text() as text:
        rows = (row for row in csv.reader(_lines(text), delimiter=delimiter(file.file.path)) if row)
        try:
            next(rows, None)
            return next(rows, None) is None
        except (csv.Error, UnicodeDecodeError):
            return False


def _lines(file: TextIO) -> Iterator[str]:
    """Yield a file's lines; raises csv.Error for one that is longer than any may be, before it is all read."""
    while line := file.readline(BLOCK_BYTES + 1):
        if len(line) > BLOCK_BYTES:
            raise csv.Error(_TOO_LONG)
        yield line


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


def _blame(text: pa.Array, kinds: list[pa.DataType], file: Source, rows_before: int) -> str:
    """Return which value made a column text that was something else before; empty if it was text all along."""
    at = max(_first_misfit(text, kind) for kind in kinds)
    if pa.null() in kinds and text.slice(0, at).null_count == at:
        return ""
    value = text[at].as_py()
    return f"because of {value[:_PREFIX]!r} in data row {rows_before + at + 1:,} of {file.name!r}"


def _first_misfit(text: pa.Array, kind: pa.DataType) -> int:
    """Return the index of the first value that does not fit; there is one."""
    low, high = 0, len(text)  # the first `low` values fit, the first `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(text.slice(low, middle - low), kind) else (low, middle)
    return low


def _broken(file: Source, width: int, told: str) -> ScorestreamError:
    """Find the line that the parser complained of; only now is it worth reading the file line by line."""
    if "straddling" in told or _TOO_LONG in told:
        return _line_too_long(file)
    try:
        with file.text() as text:
            kept: list[str] = []

            def lines() -> Iterator[str]:
                for line in _lines(text):
                    kept.append(line)
                    yield line

            reader = csv.reader(lines(), delimiter=delimiter(file.file.path))
            line = 1
            for row in reader:
                if row and width and len(row) != width:
                    start = "".join(kept).rstrip("\r\n")[:_PREFIX]
                    return invalid(
                        "CSV_BROKEN_LINE",
                        f"Line {line:,} of {file.name!r} has {counted(len(row), 'value')} for {counted(width, 'column')}: "
                        f"{start!r}. Mend the line; a value with a comma or a line break needs quotes.",
                        [FieldFault(f"line {line}", start)],
                        file=file.name,
                        line=str(line),
                    )
                kept.clear()
                line = reader.line_num + 1
    except UnicodeDecodeError:
        return _not_utf8(file)
    except (csv.Error, OSError, EOFError) as error:
        told = str(error)
        if _TOO_LONG in told:
            return _line_too_long(file)
    return invalid(
        "CSV_UNREADABLE",
        f"The file {file.name!r} cannot be read: {' '.join(told.split())[:200]}.",
        file=file.name,
    )


def _line_too_long(file: Source) -> ScorestreamError:
    return invalid(
        "CSV_BROKEN_LINE",
        f"The file {file.name!r} has a line of more than {BLOCK_BYTES:,} bytes, or a quote that is never closed.",
        file=file.name,
    )


def _not_utf8(file: Source) -> ScorestreamError:
    return invalid(
        "CSV_NOT_UTF8", f"The file {file.name!r} is not UTF-8 text. Save it as UTF-8.", file=file.name
    )


def _other_columns(
    file: Source, names: Sequence[str], first: Source, expected: Sequence[str]
) -> ScorestreamError:
    faults = [FieldFault(name, f"missing in {file.name!r}") for name in expected if name not in set(names)]
    faults += [FieldFault(name, f"only in {file.name!r}") for name in names if name not in set(expected)]
    told = "; ".join(f"{fault.field!r} is {fault.description}" for fault in faults[:20])
    return invalid(
        "SCHEMA_MISMATCH",
        f"The files do not have the columns of {first.name!r}: {told}. Give all files the same columns, or load them "
        "one by one.",
        faults[:100],
    )
