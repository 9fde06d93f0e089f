"""Tables in files on the client's side, read piece by piece to be sent to a server."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pa_dataset

from scorestream.errors import InvalidArgumentError, NotFoundError

FORMATS = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}


def table_files(paths: Sequence[Path]) -> tuple[list[str], str]:
    """Return the files that paths stand for, directories opened, and their one format.

    Raises:
        NotFoundError: a path is not there, or a directory holds no table.
        InvalidArgumentError: a file's ending says no format, or the formats differ.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise NotFoundError(f"There is no file {path}.", reason="INPUT_NOT_FOUND")
        found = [path]
        if path.is_dir():
            inside = sorted(path.rglob("*"))
            found = [
                file
                for file in inside
                if file.suffix.lower() in FORMATS and not file.name.startswith(("_", "."))
            ]
        if not found:
            raise NotFoundError(
                f"The directory {path} holds no CSV, Parquet or Arrow file.", reason="INPUT_NOT_FOUND"
            )
        files += found
    unknown = [str(file) for file in files if file.suffix.lower() not in FORMATS]
    if unknown:
        raise InvalidArgumentError(
            f"The ending of {', '.join(unknown)} says no format; use {', '.join(FORMATS)}.",
            reason="BAD_INPUT_FORMAT",
        )
    formats = sorted({FORMATS[file.suffix.lower()] for file in files})
    if len(formats) > 1:
        raise InvalidArgumentError(
            f"The inputs are of different formats ({', '.join(formats)}); give files of one.",
            reason="MIXED_INPUT_FORMATS",
        )
    return [str(file) for file in files], formats[0]


def open_files(paths: Sequence[Path]) -> pa.RecordBatchReader:
    """Return the rows of files as one reader.

    Raises:
        InvalidArgumentError: a file cannot be read; see also `table_files`.
    """
    files, kind = table_files(paths)
    try:
        return pa_dataset.dataset(files, format=kind).scanner().to_reader()
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgumentError(
            f"{', '.join(files)} cannot be read as {kind}: {error}", reason="BAD_INPUT"
        ) from error
