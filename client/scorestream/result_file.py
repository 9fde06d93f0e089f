"""Results written on the client's side: a file or a directory that is there whole, or not at all."""

import json
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from scorestream.errors import AlreadyExistsError, InvalidArgumentError

FORMATS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", "": "directory"}
ROWS_PER_PART = 1_000_000


def format_of(path: Path) -> str:
    """Return the format that a path's ending says: ``parquet``, ``arrow``, ``csv`` or ``directory``."""
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise InvalidArgumentError(
            f"{path} has an ending that says no format; use .parquet, .arrow, .csv, or none for a directory.",
            reason="BAD_OUTPUT_FORMAT",
        )
    return found


def check_output(path: Path, *, replace: bool) -> None:
    """Raise an error if nothing could be written at `path`, before work is spent on it."""
    format_of(path)
    if not path.absolute().parent.is_dir():
        raise InvalidArgumentError(
            f"There is no directory {path.absolute().parent} to write {path.name} in.",
            reason="NO_OUTPUT_DIRECTORY",
        )
    if path.exists() and not replace:
        raise AlreadyExistsError(
            f"{path} is there already; use --replace to replace it.", reason="OUTPUT_EXISTS"
        )


class ResultFile:
    """A context manager that writes batches under a temporary name and gives it the real one at the end.

    After an exception in the block nothing is left behind, and what was there before stays.

    Args:
        path: the file, or the directory, whose ending says the format.
        schema: the result's columns.
        replace: whether what is there is replaced.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, replace: bool) -> None:
        check_output(path, replace=replace)
        self.rows = 0
        self._path = path
        self._schema = schema
        self._replace = replace
        self._format = format_of(path)
        self._scratch = path.absolute().parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
        self._parts: list[dict[str, Any]] = []
        if self._format == "directory":
            self._scratch.mkdir()
        self._writer = self._open(self._scratch)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
            if kind is None:
                self._publish()
        finally:
            _remove(self._scratch)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        if self._parts and self._parts[-1]["rows"] >= ROWS_PER_PART:
            self._writer.close()
            self._writer = self._open(self._scratch)
        self._writer.write_batch(batch)
        self.rows += batch.num_rows
        if self._parts:
            self._parts[-1]["rows"] += batch.num_rows

    def _open(self, scratch: Path) -> Any:
        """Return the writer of the file, or of the directory's next part."""
        if self._format == "arrow":
            return pa.ipc.new_file(scratch, self._schema)
        if self._format == "csv":
            return pa_csv.CSVWriter(scratch, self._schema)
        if self._format == "directory":
            self._parts.append({"file": f"part-{len(self._parts):05}.parquet", "rows": 0})
            scratch /= self._parts[-1]["file"]
        return pq.ParquetWriter(scratch, self._schema)

    def _publish(self) -> None:
        """Give the finished file or directory its name."""
        if self._format == "directory":
            manifest = {"rows": self.rows, "files": self._parts}
            (self._scratch / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
            (self._scratch / "_SUCCESS").touch()
        # Somebody may have written there in the meantime.
        check_output(self._path, replace=self._replace)
        if self._path.is_dir() or (self._format == "directory" and self._path.exists()):
            # A directory cannot be replaced in one step: the old one steps aside for a moment.
            aside = self._scratch.with_suffix(".old")
            self._path.rename(aside)
            self._scratch.rename(self._path)
            _remove(aside)
            return
        self._scratch.replace(self._path)


def _remove(path: Path) -> None:
    """Remove a file or a directory if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
