"""Columns that the names of directories stand for, as Hive has them: ``year=2024/month=01/part.parquet``."""

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import pyarrow as pa

from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.table import Fragment, InputFile

NULL = "__HIVE_DEFAULT_PARTITION__"
"""The value that stands for none."""

Value = int | str | None


def keys_of(directories: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the columns and values, as text, that names of directories stand for; others are passed over.

    Args:
        directories: from the outermost to the innermost.
    """
    pairs = (name.split("=", 1) for name in directories if "=" in name.lstrip("="))
    return tuple((unquote(key), unquote(value)) for key, value in pairs)


def hive_columns(files: Sequence[InputFile]) -> tuple[pa.Schema, tuple[tuple[tuple[str, Value], ...], ...]]:
    """Return the columns that the files' directories give, and the value of each in every file.

    A column is int64 where all its values are whole numbers, and else text.

    Raises:
        ScorestreamError: MIXED_PARTITIONS, naming the files whose directories have other columns than the first's, or
            one column twice.
    """
    names = [key for key, _ in files[0].keys]
    faults = [
        FieldFault(file.called, f"its directories give {_told([key for key, _ in file.keys])}")
        for file in files
        if [key for key, _ in file.keys] != names
    ]
    if faults:
        raise invalid(
            "MIXED_PARTITIONS",
            f"The directories of {files[0].called!r} give {_told(names)}; of {faults[0].field!r}, "
            f"{faults[0].description}. Give all files the same directories, or load them one by one.",
            faults[:100],
        )
    if len(set(names)) < len(names):
        raise invalid(
            "MIXED_PARTITIONS",
            f"The directories of {files[0].called!r} give a column twice: {_told(names)}. Rename one.",
        )
    texts = [[None if value == NULL else value for _, value in file.keys] for file in files]
    kinds = [_kind([row[at] for row in texts]) for at in range(len(names))]
    values = tuple(
        tuple(
            (name, None if text is None else int(text) if kind == pa.int64() else text)
            for name, text, kind in zip(names, row, kinds, strict=True)
        )
        for row in texts
    )
    return pa.schema(list(zip(names, kinds, strict=True))), values


def with_columns(stored: pa.Schema, given: pa.Schema, file: str) -> pa.Schema:
    """Return the columns of a file and those of its directories.

    Raises:
        ScorestreamError: PARTITION_CLASH, naming columns that are both.
    """
    both = [name for name in given.names if name in stored.names]
    if both:
        raise invalid(
            "PARTITION_CLASH",
            f"{_told(both).capitalize()} of {file!r} is in the file and in the name of a directory, too. Rename the "
            "directory, or leave the column out of the file.",
            [FieldFault(name, f"in {file!r} and in the name of its directory") for name in both],
        )
    return pa.schema([*stored, *given])


def stored(target: pa.Schema, fragment: Fragment) -> pa.Schema:
    """Return those columns that are in a fragment's file."""
    given = {name for name, _ in fragment.constants}
    return pa.schema([field for field in target if field.name not in given]) if given else target


def completed(batch: pa.RecordBatch, values: Mapping[str, Value], target: pa.Schema) -> pa.RecordBatch:
    """Return rows of a file with the columns of its directories added, in the order of ``target``."""
    if not values:
        return batch
    arrays = [
        pa.repeat(pa.scalar(values[field.name], field.type), batch.num_rows)
        if field.name in values
        else batch.column(field.name)
        for field in target
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def _kind(values: Sequence[str | None]) -> pa.DataType:
    there = [value for value in values if value is not None]
    return pa.int64() if there and all(map(_is_whole, there)) else pa.string()


def _is_whole(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 20 and -(1 << 63) <= int(text) < 1 << 63


def _told(names: Sequence[str]) -> str:
    return f"column {', '.join(map(repr, names))}" if names else "no column"
