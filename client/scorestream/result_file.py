"""Results written on the client's side: a file or a directory that is there whole, or not at all."""

import json
import shutil
import uuid
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from scorestream.errors import AlreadyExistsError, FailedPreconditionError, InvalidArgumentError

FORMATS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".csv.zst": "csv",
    "": "directory",
}
TEXT_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
PART_ROWS = 4 << 20
# Readers of Parquet directories pass over names that begin with an underscore.
MANIFEST = "_manifest.json"
WRITER = "scorestream"
READ_BYTES = 1 << 20


def check_output(path: Path, *, replace: bool) -> None:
    """Raise an error if nothing could be written at `path`, before work is spent on it.

    Raises:
        InvalidArgumentError: its ending says no format, or its directory is not there.
        AlreadyExistsError: something is there and `replace` is false.
        FailedPreconditionError: what is there is not ours to replace.
    """
    kind = _format_of(path)
    if not path.absolute().parent.is_dir():
        raise InvalidArgumentError(
            f"There is no directory {path.absolute().parent} to write {path.name} in.",
            reason="NO_OUTPUT_DIRECTORY",
        )
    if not path.exists():
        return
    if not replace:
        raise AlreadyExistsError(
            f"{path} is there already; use --replace to replace it.", reason="OUTPUT_EXISTS"
        )
    if path.is_dir() and not _is_ours(path):
        raise FailedPreconditionError(
            f"The directory {path} was not written by scorestream and is not replaced; remove it yourself.",
            reason="OUTPUT_NOT_REPLACEABLE",
        )
    if path.is_dir() != (kind == "directory"):
        raise FailedPreconditionError(
            f"{path} is a {'directory' if path.is_dir() else 'file'}, and a {kind} output does not replace that.",
            reason="OUTPUT_NOT_REPLACEABLE",
        )


class ResultFile:
    """A context manager that writes batches under a temporary name and gives it the real one at the end.

    After an exception in the block nothing is left behind, and what was there before stays.

    Args:
        path: the file, or the directory, whose ending says the format.
        schema: the result's columns.
        replace: whether what is there is replaced.

    Attributes:
        rows: rows written so far.

    Raises:
        ScorestreamError: as `check_output`.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, replace: bool) -> None:
        check_output(path, replace=replace)
        self.rows = 0
        self._path = path.absolute()
        self._schema = schema
        self._replace = replace
        self._format = _format_of(path)
        self._scratch = self._path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
        self._part_rows: list[int] = []
        self._writer: Any = None
        self._sink: Any = None

    def __enter__(self) -> Self:
        try:
            if self._format == "directory":
                self._scratch.mkdir()
            self._writer = self._open()
        except BaseException:
            # Ctrl-C too must leave nothing behind.
            _remove(self._scratch)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
            if self._sink is not None:
                self._sink.close()
            if kind is None:
                self._publish()
        finally:
            _remove(self._scratch)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        if self._format == "directory" and self._part_rows[-1] >= PART_ROWS:
            self._writer.close()
            self._writer = self._open()
        self._writer.write_batch(batch)
        self._part_rows[-1] += batch.num_rows
        self.rows += batch.num_rows

    def _open(self) -> Any:
        """Return the writer of the file, or of the directory's next part."""
        self._part_rows.append(0)
        if self._format == "arrow":
            return pa.ipc.new_file(str(self._scratch), self._schema)
        if self._format == "csv":
            self._sink = pa.output_stream(
                self._scratch, compression=TEXT_COMPRESSION.get(self._path.suffix.lower())
            )
            return pa_csv.CSVWriter(self._sink, self._schema)
        return pq.ParquetWriter(self._part(len(self._part_rows) - 1), self._schema)

    def _part(self, number: int) -> Path:
        """Return the path of a part; a single file is its own only part."""
        return self._scratch / f"part-{number:05}.parquet" if self._format == "directory" else self._scratch

    def _publish(self) -> None:
        """Give the finished file or directory its name."""
        if self._format == "directory":
            self._describe()
        # Somebody may have written there in the meantime.
        check_output(self._path, replace=self._replace)
        if self._format == "directory" and self._path.exists():
            # A directory cannot be replaced in one step: the old one steps aside for a moment.
            aside = self._scratch.with_suffix(".old")
            self._path.rename(aside)
            self._scratch.rename(self._path)
            _remove(aside)
        else:
            self._scratch.replace(self._path)

    def _describe(self) -> None:
        """Write the manifest of a directory, as the server does, and the mark that it is complete."""
        files: list[dict[str, Any]] = [
            {
                "name": self._part(number).name,
                "rows": rows,
                "bytes": self._part(number).stat().st_size,
                "crc32": f"{_checksum(self._part(number)):08x}",
            }
            for number, rows in enumerate(self._part_rows)
        ]
        manifest = {
            "writer": WRITER,
            "version": 1,
            "format": "parquet",
            "rows": self.rows,
            "bytes": sum(file["bytes"] for file in files),
            "schema": [{"name": field.name, "type": str(field.type)} for field in self._schema],
            "files": files,
        }
        (self._scratch / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        (self._scratch / "_SUCCESS").touch()


def _format_of(path: Path) -> str:
    """Return the format that a path's ending says: ``parquet``, ``arrow``, ``csv`` or ``directory``."""
    ending = "".join(path.suffixes[-2:]).lower()
    found = FORMATS.get(ending if ending in FORMATS else path.suffix.lower())
    if found is None:
        raise InvalidArgumentError(
            f"{path} has an ending that says no format; use .parquet, .arrow, .csv, or none for a directory.",
            reason="BAD_OUTPUT_FORMAT",
        )
    return found


def _is_ours(directory: Path) -> bool:
    """Whether a directory was written by this module, or by the server."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("writer") == WRITER


def _checksum(file: Path) -> int:
    """Return the CRC-32 of a file."""
    crc = 0
    with file.open("rb") as content:
        while chunk := content.read(READ_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc


def _remove(path: Path) -> None:
    """Remove a file or a directory if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
