"""Outputs: complete under their final name, or not there at all.

A file is written beside its destination under a temporary name, synced, and then renamed; without ``replace``
it is linked instead, so that a file that appears at the last moment is never overwritten. A directory is
built the same way. Replacing a directory takes two renames (the standard library has no exchange): between
them, for microseconds, the destination is absent, and the old directory has a hidden name beside it
(``.<name>.<random>.old``). A note (`publication.py`) says what an attempt does, so that the next one, or the next
server, puts right what a dead one left.
"""

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace as changed
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, precondition
from scorestream_server.domain.table import Destination, OutputFormat, PartitionFile, Published
from scorestream_server.tables.files import cancelled_error, disk_errors, sync
from scorestream_server.tables.publication import Identity, Note, settle, withdraw, write_note
from scorestream_server.tables.results import file_checksum, read_partition

PART_ROWS = 4 << 20
"""Rows of one file of a data set."""

_GROUP_ROWS = 1 << 20
_GROUP_BYTES = 64 << 20
_MANIFEST = "_manifest.json"
"""Readers of Parquet directories skip names that begin with ``_``."""

_WRITER = "scorestream"

DEFAULT_UMASK = 0o022


def check_output(destination: Destination, *, replace: bool) -> None:
    """Refuse an output that could not be published, before any work is done for it.

    Raises:
        ScorestreamError: OUTPUT_EXISTS; OUTPUT_NOT_REPLACEABLE (a link, another kind of thing, or a
            directory that this program did not write); DIRECTORY_NOT_WRITABLE.
    """
    path = Path(destination.path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "DIRECTORY_NOT_WRITABLE",
            f"The server's user may not write into the directory of {path.name!r}. Change its permissions.",
            metadata={"path": destination.path},
        )
    if not os.path.lexists(path):
        return
    if not replace:
        raise _exists(path)
    if path.is_symlink():
        raise _not_replaceable(path, "it is a symbolic link")
    if destination.format is OutputFormat.DATASET:
        if not path.is_dir():
            raise _not_replaceable(path, "it is a file, and the output is a directory")
        if any(path.iterdir()) and not _is_ours(path):
            raise _not_replaceable(path, "it is a directory that scorestream did not write")
    elif not path.is_file():
        raise _not_replaceable(path, "it is no regular file")


def publish(
    files: Sequence[PartitionFile],
    schema: pa.Schema,
    destination: Destination,
    journal: Path,
    *,
    replace: bool = False,
    umask: int = DEFAULT_UMASK,
    cancelled: Callable[[], bool] = lambda: False,
    report: Callable[[int], None] = lambda _: None,
    before: Callable[[Path], None] = lambda _: None,
) -> Published:
    """Write committed partitions, in order, as one output.

    Args:
        files: the partitions, in row order.
        schema: of all of them.
        destination: from `DataRoots.output`.
        journal: file for the note on this output, of its job alone. It stays where the output was published, until
            whoever asked for that has written it down.
        replace: whether an output that is there may be replaced.
        umask: what others may not do with the output; this process's own is stricter, for the files of clients.
        cancelled: asked between batches; True ends it.
        report: called with the rows written so far.
        before: called with the complete output, file or directory, just before it gets its name; an error of it ends
            that.

    Raises:
        ScorestreamError: what `check_output` raises, also when something appears meanwhile; DISK_FULL;
            RESULT_DAMAGED; CANCELLED. Nothing is left behind then.
    """
    final = Path(destination.path)
    with disk_errors(final):
        arrived = settle(journal)
    if arrived is not None:
        return arrived
    check_output(destination, replace=replace)
    note = Note.begun(final)
    kept = replace and destination.format is not OutputFormat.DATASET and final.exists()
    batches = _followed(files, cancelled, report)
    try:
        with disk_errors(journal):
            write_note(journal, note)
        with disk_errors(final):
            if destination.format is OutputFormat.DATASET:
                published = _write_dataset(note.temporary, final, batches, schema)
                _share(note.temporary, umask)
            else:
                rows = _WRITERS[destination.format](note.temporary, batches, schema)
                _share(note.temporary, umask)
                sync(note.temporary)
                published = Published((str(final),), rows, note.temporary.stat().st_size)
        note = changed(note, identity=Identity.of(note.temporary), published=published)
        with disk_errors(journal):
            write_note(journal, note)
        before(note.temporary)
        with disk_errors(final):
            if destination.format is OutputFormat.DATASET:
                _move_directory(note, destination, replace=replace)
            else:
                _move_file(note.temporary, final, replace=replace)
            sync(final.parent)
    except BaseException as error:
        # A note that cannot be followed now stays, for the next attempt or the next start.
        with contextlib.suppress(OSError):
            if withdraw(journal, keep=kept) and isinstance(error, ScorestreamError):
                error.message += (
                    f" {final.name!r} is complete and in its place, but a power cut may undo that."
                )
        raise
    note.temporary.unlink(missing_ok=True)
    shutil.rmtree(note.aside, ignore_errors=True)
    return published


def _followed(
    files: Iterable[PartitionFile], cancelled: Callable[[], bool], report: Callable[[int], None]
) -> Iterator[pa.RecordBatch]:
    rows = 0
    for file in files:
        for batch in read_partition(file):
            if cancelled():
                raise cancelled_error()
            yield batch
            rows += batch.num_rows
            report(rows)


def _write_parquet(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    # Scores hardly compress, and a dictionary of them would be as long as they are; texts gain from both.
    texts = [
        field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)
    ]
    rows = 0
    with (
        _new(path) as sink,
        pq.ParquetWriter(
            sink,
            schema,
            compression="snappy",
            use_dictionary=texts or False,
        ) as writer,
    ):
        pending: list[pa.RecordBatch] = []
        pending_rows = pending_bytes = 0
        for batch in batches:
            pending.append(batch)
            pending_rows += batch.num_rows
            pending_bytes += batch.nbytes
            if pending_rows >= _GROUP_ROWS or pending_bytes >= _GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(pending, schema), row_group_size=_GROUP_ROWS)
                rows += pending_rows
                pending, pending_rows, pending_bytes = [], 0, 0
        if pending_rows or not rows:
            writer.write_table(pa.Table.from_batches(pending, schema), row_group_size=_GROUP_ROWS)
    return rows + pending_rows


def _write_arrow(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    with _new(path) as sink, pa.ipc.new_file(sink, schema) as writer:
        return _write_all(writer, batches)


def _write_csv(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    with _new(path) as sink, pacsv.CSVWriter(sink, schema) as writer:
        return _write_all(writer, batches)


def _write_all(
    writer: pa.ipc.RecordBatchFileWriter | pacsv.CSVWriter, batches: Iterable[pa.RecordBatch]
) -> int:
    rows = 0
    for batch in batches:
        writer.write_batch(batch)
        rows += batch.num_rows
    return rows


_WRITERS: dict[OutputFormat, Callable[[Path, Iterable[pa.RecordBatch], pa.Schema], int]] = {
    OutputFormat.PARQUET: _write_parquet,
    OutputFormat.ARROW: _write_arrow,
    OutputFormat.CSV: _write_csv,
}


def _write_dataset(
    directory: Path, final: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema
) -> Published:
    directory.mkdir()
    entries: list[dict[str, object]] = []
    paths: list[str] = []
    rows = size = 0
    source = _Parts(batches, PART_ROWS)
    while not source.ended or not entries:
        part = directory / f"part-{len(entries):05d}.parquet"
        part_rows = _write_parquet(part, source.next_part(), schema)
        sync(part)
        part_size, crc = file_checksum(part)
        entries.append({"name": part.name, "rows": part_rows, "bytes": part_size, "crc32": f"{crc:08x}"})
        paths.append(str(final / part.name))
        rows += part_rows
        size += part_size
    manifest = {
        "writer": _WRITER,
        "version": 1,
        "format": "parquet",
        "rows": rows,
        "bytes": size,
        "schema": [{"name": field.name, "type": str(field.type)} for field in schema],
        "files": entries,
    }
    _write_text(directory / _MANIFEST, json.dumps(manifest, indent=2) + "\n")
    _write_text(directory / "_SUCCESS", "")
    sync(directory)
    return Published(tuple(paths), rows, size)


class _Parts:
    """Cuts a stream of batches into parts of so many rows."""

    def __init__(self, batches: Iterator[pa.RecordBatch], rows: int) -> None:
        self._batches = batches
        self._rows = rows
        self._held = next(batches, None)

    @property
    def ended(self) -> bool:
        return self._held is None

    def next_part(self) -> Iterator[pa.RecordBatch]:
        left = self._rows
        while self._held is not None and left:
            batch = self._held
            yield batch.slice(0, left)
            if batch.num_rows > left:
                self._held, left = batch.slice(left), 0
            else:
                self._held, left = next(self._batches, None), left - batch.num_rows


def _move_file(temporary: Path, final: Path, *, replace: bool) -> None:
    if replace:
        temporary.replace(final)
        return
    try:
        os.link(temporary, final)
    except FileExistsError:
        raise _exists(final) from None


def _move_directory(note: Note, destination: Destination, *, replace: bool) -> None:
    check_output(destination, replace=replace)
    if os.path.lexists(note.final):
        note.final.rename(note.aside)
    try:
        note.temporary.rename(note.final)
    except OSError as error:
        if os.path.lexists(note.final):
            raise _exists(note.final) from error
        raise


def _new(path: Path) -> pa.NativeFile:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return pa.OSFile(str(path), "wb")


def _write_text(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _share(path: Path, umask: int) -> None:
    """Give an output, a file or a directory of files, the modes that it would have had under `umask`."""
    if path.is_dir():
        for inside in path.iterdir():
            inside.chmod(0o666 & ~umask)
        inherited = (
            path.stat().st_mode & stat.S_ISGID
        )  # from a directory that gives its group to what is in it
        path.chmod(0o777 & ~umask | inherited)
    else:
        path.chmod(0o666 & ~umask)


def _is_ours(path: Path) -> bool:
    try:
        manifest = json.loads((path / _MANIFEST).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("writer") == _WRITER


def _exists(path: Path) -> ScorestreamError:
    return ScorestreamError(
        ErrorCode.ALREADY_EXISTS,
        "OUTPUT_EXISTS",
        f"The output {path.name!r} exists. Give another name, or allow it to be replaced.",
        metadata={"path": str(path)},
    )


def _not_replaceable(path: Path, told: str) -> ScorestreamError:
    return precondition(
        "OUTPUT_NOT_REPLACEABLE",
        f"The output {path.name!r} cannot be replaced: {told}. Remove it yourself, or give another name.",
        path=str(path),
    )
