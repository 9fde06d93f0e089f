"""Tables in files on the client's side, read piece by piece to be sent to a server."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset

from scorestream.errors import InvalidArgumentError, NotFoundError

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
# What a CSV column may turn out to be when its first values promised something narrower.
WIDER: dict[pa.DataType, list[pa.DataType]] = {
    pa.null(): [pa.int64(), pa.float64(), pa.string()],
    pa.int64(): [pa.float64(), pa.string()],
}


def open_files(paths: Sequence[Path]) -> pa.RecordBatchReader:
    """Return the rows of files as one reader. CSV is read twice: types are settled by all values, not the first.

    Raises:
        NotFoundError: a path is not there, or a directory holds no table.
        InvalidArgumentError: a file cannot be read, or its ending says no format, or the formats differ.
    """
    files, kind = _table_files(paths)
    if kind == "csv":
        schema = _csv_schema(files)
        return pa.RecordBatchReader.from_batches(schema, _csv_batches(files, schema))
    try:
        reader = pa_dataset.dataset([str(file) for file in files], format=kind).scanner().to_reader()
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(files, error) from error
    return pa.RecordBatchReader.from_batches(reader.schema, _explained(reader, files))


def _table_files(paths: Sequence[Path]) -> tuple[list[Path], str]:
    """Return the files that paths stand for, directories opened, and their one format."""
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise NotFoundError(f"There is no file {path}.", reason="INPUT_NOT_FOUND")
        found = [path]
        if path.is_dir():
            found = [
                file
                for file in sorted(path.rglob("*"))
                if _format(file) and not file.name.startswith(("_", "."))
            ]
        if not found:
            raise NotFoundError(
                f"The directory {path} holds no CSV, Parquet or Arrow file.", reason="INPUT_NOT_FOUND"
            )
        files += found
    unknown = [str(file) for file in files if not _format(file)]
    if unknown:
        raise InvalidArgumentError(
            f"The ending of {', '.join(unknown)} says no format; use {', '.join(FORMATS)}.",
            reason="BAD_INPUT_FORMAT",
        )
    formats = sorted({_format(file) for file in files})
    if len(formats) > 1:
        raise InvalidArgumentError(
            f"The inputs are of different formats ({', '.join(formats)}); give files of one.",
            reason="MIXED_INPUT_FORMATS",
        )
    return files, formats[0]


def _format(file: Path) -> str:
    """Return the format that a file's ending says, or an empty string."""
    return next((kind for ending, kind in FORMATS.items() if file.name.lower().endswith(ending)), "")


def _csv_schema(files: Sequence[Path]) -> pa.Schema:
    """Return the narrowest type of each column that all values of all files fit."""
    first = _open_csv(files[0])
    names = first.schema.names
    kinds = [[kind, *WIDER.get(kind, [pa.string()])] for kind in first.schema.types]
    text = pa.schema([(name, pa.string()) for name in names])
    for batch in _csv_batches(files, text):
        for place, column in enumerate(batch.columns):
            while not _fits(column, kinds[place][0]):
                kinds[place].pop(0)
    # A column without any value is a number that is missing everywhere.
    return pa.schema(
        [
            (name, pa.float64() if kind[0] == pa.null() else kind[0])
            for name, kind in zip(names, kinds, strict=True)
        ]
    )


def _fits(text: Any, kind: pa.DataType) -> bool:
    """Whether all values of a text column are of a type."""
    if kind == pa.null():
        return bool(text.null_count == len(text))
    try:
        text.cast(kind)
    except pa.ArrowException:
        return False
    return True


def _csv_batches(files: Sequence[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of CSV files with the columns and types of `schema`."""
    for file in files:
        yield from _explained(_open_csv(file, schema), [file])


def _open_csv(file: Path, schema: pa.Schema | None = None) -> Any:
    """Open a CSV file, with the given columns or with types guessed from its beginning."""
    columns = {} if schema is None else {"column_types": schema, "include_columns": schema.names}
    try:
        return pa_csv.open_csv(
            str(file),
            parse_options=pa_csv.ParseOptions(
                delimiter="\t" if ".tsv" in file.name.lower() else ",", newlines_in_values=True
            ),
            convert_options=pa_csv.ConvertOptions(strings_can_be_null=True, **columns),
        )
    except (pa.ArrowException, OSError) as error:
        raise _unreadable([file], error) from error


def _explained(batches: Any, files: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """Yield batches, and turn what goes wrong on the way into an error that names the files."""
    try:
        yield from batches
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(files, error) from error


def _unreadable(files: Sequence[Path], error: Exception) -> InvalidArgumentError:
    """Return the error for files that cannot be read."""
    named = ", ".join(map(str, files[:3])) + (" ..." if len(files) > 3 else "")
    return InvalidArgumentError(f"{named} cannot be read: {error}", reason="BAD_INPUT")
