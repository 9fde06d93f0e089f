"""Files of JSON objects, one a line, as one stream of typed rows, with bounded memory.

Types are guessed from the first block. When a later value does not fit, one more pass looks at all of them: whole numbers
and others together are float64, times and other text are text, and what cannot be one column (numbers and text) is refused
by line. A text is a time where all texts of its column are. A field that an object lacks is null there.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson
from pyarrow import types as pat

from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid
from scorestream_server.tables.columns import READ_ERRORS, TypesChangedError, normal_schema
from scorestream_server.tables.files import Cancelled, cancelled_error
from scorestream_server.tables.source import Source

BLOCK_BYTES = 8 << 20
"""How much text is parsed at once; no line may be longer."""
MOST_FIELDS = 100_000
"""Of all objects of a file together."""
DEEPEST = 64
"""How many objects and lists may lie in each other; Arrow's parser follows them until its stack is used up."""
_PREFIX = 60
_NEWLINE, _RETURN = 10, 13
_TIME = pa.timestamp("us")
_LIKE_A_TIME = re.compile(r"\d{4}-\d\d-\d\d")

Types = dict[str, pa.DataType]


class JsonSource:
    """One or several files of JSON objects.

    Args:
        files: the files.
        cancelled: asked between blocks.

    Attributes:
        schema: the fields as the table has them, in the order of their first appearance.
        notes: what a person should know; nothing as yet.

    Raises:
        ScorestreamError: JSON_BROKEN_LINE, JSON_MIXED_TYPES, EMPTY_FILE.
    """

    def __init__(self, files: Sequence[Source], cancelled: Cancelled) -> None:
        self._files = files
        self._cancelled = cancelled
        self.notes: list[str] = []
        self.inferred = False
        self._types: Types = {}
        for file in files:
            if first := next(self._blocks(file), None):
                self._types = _types(file, *first)
                break
        if self._types:
            self.schema = self._as_schema()
        else:
            self.infer_all(())

    def batches(self, at: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows of a file: some columns of `schema`, in this order.

        Raises:
            TypesChangedError: unless `infer_all` was called.
            ScorestreamError: a broken line, with its file and number; CANCELLED.
        """
        file = self._files[at]
        target = pa.schema([self.schema.field(name) for name in columns])
        # Unless all fields are known, one that is new may be one of the columns, or make the table wider.
        wanted = {name: self._types[name] for name in columns} if self.inferred else self._types
        options = pajson.ParseOptions(
            explicit_schema=pa.schema(list(wanted.items())),
            unexpected_field_behavior="ignore" if self.inferred else "error",
        )
        for block, line in self._blocks(file):
            try:
                rows = _parse(block, options).select(list(columns))
                rows.validate(full=True)  # the parser lets text pass that is not UTF-8
            except READ_ERRORS as error:
                if isinstance(error, MemoryError):
                    raise
                fault = _line_fault(file, block, line, wanted if self.inferred else None)
                if fault is None and not self.inferred:
                    raise TypesChangedError(str(error)) from None
                raise fault or _unreadable(file, line, error) from None
            yield from rows.cast(target).combine_chunks().to_batches()

    def infer_all(self, _columns: Sequence[str]) -> None:
        """Look at every value, and settle the type of each field.

        Raises:
            ScorestreamError: a broken line; fields whose values cannot be one column; CANCELLED.
        """
        self._types = {}
        for file in self._files:
            for block, line in self._blocks(file):
                self._types = _together(self._types, _types(file, block, line), file, block, line)
        self.inferred = True
        if not self._types:
            raise invalid(
                "EMPTY_FILE",
                f"The file {self._files[0].name!r} has no field. Such a file has a JSON object in each line.",
                file=self._files[0].name,
            )
        self.schema = self._as_schema()

    def _as_schema(self) -> pa.Schema:
        return normal_schema(pa.schema(list(self._types.items())), f"The file {self._files[0].name!r}")

    def _blocks(self, file: Source) -> Iterator[tuple[bytes, int]]:
        """Yield a file in pieces of whole lines, each with the number of its first line."""
        line, rest = 1, b""
        try:
            with file.content() as stream:
                while True:
                    if self._cancelled():
                        raise cancelled_error()
                    piece = stream.read(BLOCK_BYTES - len(rest))
                    text = rest + piece
                    end = len(text) if not piece else text.rfind(b"\n") + 1
                    if end == 0 and len(text) >= BLOCK_BYTES:
                        raise invalid(
                            "JSON_BROKEN_LINE",
                            f"Line {line:,} of {file.name!r} has more than {BLOCK_BYTES:,} bytes. Break the file into lines, an "
                            "object each.",
                            file=file.name,
                            line=str(line),
                        )
                    block, rest = text[:end], text[end:]
                    if block and not block.isspace():
                        _check_nesting(file, block, line)
                        yield block, line
                    line += block.count(b"\n")
                    if not piece:
                        return
        except (pa.ArrowException, OSError, EOFError) as error:
            if isinstance(error, MemoryError):
                raise
            raise _unreadable(file, line, error) from None


def _check_nesting(file: Source, block: bytes, line: int) -> None:
    """Refuse objects that are nested too deep, and those that are not in a line of their own, before they are parsed."""
    text = np.frombuffer(block, np.uint8)
    ends = np.append(np.flatnonzero(text == _NEWLINE), len(text))
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts
    lengths -= (lengths > 0) & (text[ends - 1] == _RETURN)
    there = np.flatnonzero(lengths)
    first, last = starts[there], starts[there] + lengths[there] - 1
    opened = np.append(0, np.cumsum((text == ord("[")) | (text == ord("{"))))
    many = opened[last + 1] - opened[first] > DEEPEST
    odd = there[(text[first] != ord("{")) | (text[last] != ord("}")) | many]
    for at in odd.tolist():
        here = block[starts[at] : ends[at]]
        if here.strip() and (told := _complaint(here) or _too_deep(here)):
            raise _broken(file, line + at, here, told)


def _too_deep(text: bytes) -> str:
    level = [json.loads(text)]
    for _ in range(DEEPEST + 1):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return ""
    return f"has more than {DEEPEST} objects and lists in each other"


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _parse(block: bytes, options: pajson.ParseOptions | None = None) -> pa.Table:
    # One piece to the parser: it would otherwise cut within lines that are longer than its own pieces.
    return pajson.read_json(
        pa.BufferReader(block),
        read_options=pajson.ReadOptions(block_size=len(block) + 1, use_threads=False),
        parse_options=options,
    )


def _types(file: Source, block: bytes, line: int) -> Types:
    """Return the types of the fields in a block; of nested ones, what they are."""
    try:
        found = _parse(block)
        found.validate(full=True)
    except READ_ERRORS as error:
        if isinstance(error, MemoryError):
            raise
        raise _line_fault(file, block, line, None, mixed=True) or _unreadable(file, line, error) from None
    if found.num_columns > MOST_FIELDS:
        raise _too_many(file)
    return {field.name: _settled(block, field, found.column(at)) for at, field in enumerate(found.schema)}


def _settled(block: bytes, field: pa.Field, values: pa.ChunkedArray) -> pa.DataType:
    """Return a column's type: times in microseconds, also where the parser saw text because of a fraction."""
    if pat.is_timestamp(field.type):
        return _TIME
    if pat.is_string(field.type):
        first = next((value.as_py() for value in values if value.is_valid), "")
        if _LIKE_A_TIME.match(first):
            options = pajson.ParseOptions(
                explicit_schema=pa.schema([(field.name, _TIME)]), unexpected_field_behavior="ignore"
            )
            try:
                _parse(block, options)
            except pa.ArrowInvalid:
                return pa.string()
            return _TIME
    return field.type


def _together(types: Types, more: Types, file: Source, block: bytes, line: int) -> Types:
    """Return the types that hold what was seen so far and another block."""
    found = dict(types)
    for name, kind in more.items():
        before = found.get(name, pa.null())
        joint = _joint(before, kind)
        if joint is None:
            at = next((line + number for number, row in _objects(block) if row.get(name) is not None), line)
            raise _mixed(file, at, name, _word(kind), _word(before))
        found[name] = joint
    if len(found) > MOST_FIELDS:
        raise _too_many(file)
    return found


def _joint(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if one == other or pat.is_null(other):
        return one
    if pat.is_null(one):
        return other
    kinds = {_word(one), _word(other)}
    if kinds == {"number"}:
        return pa.float64()
    if kinds == {"text"}:
        return pa.string()
    return one if len(kinds) == 1 else None


def _word(kind: pa.DataType) -> str:
    if pat.is_nested(kind):
        return "list" if pat.is_list(kind) else "object"
    if pat.is_boolean(kind):
        return "truth value"
    return "number" if pat.is_integer(kind) or pat.is_floating(kind) else "text"


def _word_of(value: Any) -> str:
    match value:
        case bool():
            return "truth value"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "list"
        case _:
            return "object"


def _objects(block: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a block of whole lines that can be read, with the numbers of their lines from 0."""
    for number, text in enumerate(block.split(b"\n")):
        if text.strip():
            try:
                row = json.loads(text)
            except (ValueError, RecursionError):
                return
            if isinstance(row, dict):
                yield number, row


def _line_fault(
    file: Source, block: bytes, line: int, types: Types | None, *, mixed: bool = False
) -> ScorestreamError | None:
    """Find the line that the parser complained of; only now is it worth reading line by line.

    Args:
        file: for the error.
        block: whole lines.
        line: the number of the first.
        types: what values have to be; None: whatever they are.
        mixed: whether values of one field have to be of one kind.
    """
    words: dict[str, str] = {
        name: _word(kind) for name, kind in (types or {}).items() if not pat.is_null(kind)
    }
    for number, text in enumerate(block.split(b"\n"), start=line):
        if not text.strip():
            continue
        told = _complaint(text)
        if told:
            return _broken(file, number, text, told)
        if mixed or types:
            for name, value in json.loads(text).items():
                if value is not None and words.setdefault(name, _word_of(value)) != _word_of(value):
                    return _mixed(file, number, name, _word_of(value), words[name])
    return None


def _complaint(text: bytes) -> str:
    """Return what is wrong with a line, if anything."""
    try:
        pairs = json.loads(text.decode("utf-8-sig"), object_pairs_hook=_Pairs)
    except UnicodeDecodeError:
        return "is not UTF-8"
    except RecursionError:
        return "is nested too deep"
    except ValueError as error:
        return f"is no JSON ({error})"
    if not isinstance(pairs, _Pairs):
        return "is no JSON object"
    names = sorted(name for name, _ in pairs)
    twice = next((name for name, other in pairwise(names) if name == other), None)
    return "" if twice is None else f"has the field {twice!r} twice"


class _Pairs(list[tuple[str, Any]]):
    """What an object consists of, also where it has a name twice."""


def _broken(file: Source, line: int, text: bytes, told: str) -> ScorestreamError:
    start = text.strip()[:_PREFIX].decode("utf-8", "replace")
    return invalid(
        "JSON_BROKEN_LINE",
        f"Line {line:,} of {file.name!r} {told}: {start!r}. Mend the line; each line is a JSON object of its own.",
        [FieldFault(f"line {line}", start)],
        file=file.name,
        line=str(line),
    )


def _mixed(file: Source, line: int, name: str, here: str, before: str) -> ScorestreamError:
    return invalid(
        "JSON_MIXED_TYPES",
        f"Line {line:,} of {file.name!r}: the field {name!r} is {_article(here)} here and {_article(before)} before. Give "
        "all its values one type.",
        [FieldFault(name, f"{here} in line {line} of {file.name!r}, {before} before")],
        file=file.name,
        line=str(line),
    )


def _article(word: str) -> str:
    return word if word == "text" else f"{'an' if word[0] == 'o' else 'a'} {word}"


def _unreadable(file: Source, line: int, error: Exception) -> ScorestreamError:
    return invalid(
        "JSON_UNREADABLE",
        f"The file {file.name!r} cannot be read from line {line:,} on: {' '.join(str(error).split())[:200]}.",
        file=file.name,
    )


def _too_many(file: Source) -> ScorestreamError:
    return invalid(
        "TOO_MANY_COLUMNS",
        f"The objects of {file.name!r} have more than {MOST_FIELDS:,} different fields. Leave some out, or write "
        "them as rows.",
        file=file.name,
    )
