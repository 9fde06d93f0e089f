"""The results of a job: one Arrow file a partition, written by a worker, committed and read by the server."""

import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.table import PartitionFile
from scorestream_server.tables.artifacts import without_artifacts
from scorestream_server.tables.files import ArrowFile

_CHUNK = 4 << 20


def attempt_path(final: Path, attempt: int, folder: Path | None = None) -> Path:
    """Return the temporary name of one attempt at a partition: ``<name>.<attempt>.tmp``, beside it or in a folder."""
    return (folder or final.parent) / f"{final.name}.{attempt}.tmp"


def write_partition(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> PartitionFile:
    """Write a partition's result under its temporary name (worker side).

    The file is not synced: it must outlive the processes, and after a power cut `verify_partition` tells
    whether it must be scored again.

    Args:
        path: from `attempt_path`; what an earlier try of the same attempt left there is replaced.
        batches: the rows; an error that is raised between them leaves no file behind.
        schema: of every batch; an empty partition has a file, too.

    Raises:
        ScorestreamError: DISK_FULL.
    """
    path.unlink(missing_ok=True)
    with ArrowFile(path, schema) as file:
        for batch in batches:
            file.write(batch)
        file.close()
        size, crc = file_checksum(path)
        return PartitionFile(str(path), file.rows, size, crc)


def count_missing(column: pa.Array) -> int:
    """Return how many values of a column are NULL or NaN."""
    if not pa.types.is_floating(column.type):
        return int(column.null_count)
    # Also of nulls: their own places hold whatever they hold.
    return int(pc.sum(pc.is_null(column, nan_is_null=True), min_count=0).as_py())


def commit_partition(file: PartitionFile, final: Path) -> PartitionFile:
    """Give an accepted attempt its final name (server side); return it under that name.

    Raises:
        OSError: it is something else than a file of its own, as which the server would read others' files.
    """
    Path(file.path).replace(final)
    made = final.lstat()
    if not stat.S_ISREG(made.st_mode) or made.st_nlink != 1:
        final.unlink()
        raise OSError(f"the worker left something else than a file for {final.name!r}")
    return replace(file, path=str(final))


def verify_partition(file: PartitionFile) -> bool:
    """Return whether a partition's file is there and is byte for byte what was written."""
    try:
        return file_checksum(Path(file.path)) == (file.bytes, file.crc32)
    except FileNotFoundError:
        return False


def read_partition(file: PartitionFile) -> Iterator[pa.RecordBatch]:
    """Yield a committed partition's batches, memory-mapped and without artifacts.

    Raises:
        ScorestreamError: RESULT_DAMAGED (``DATA_LOSS`` in spirit; the job must be run again).
    """
    try:
        with pa.memory_map(file.path) as mapped:
            reader = pa.ipc.open_file(mapped)
            for part in range(reader.num_record_batches):
                yield without_artifacts(reader.get_batch(part))
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ScorestreamError(
            ErrorCode.INTERNAL,
            "RESULT_DAMAGED",
            f"The result file {Path(file.path).name!r} is missing or damaged. Run the job again.",
            metadata={"path": file.path},
        ) from error


def read_results(
    files: Sequence[PartitionFile], offset_row: int = 0, max_bytes: int = 2 << 20
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of committed partitions from a row on, in slices for messages.

    Args:
        files: committed partitions in row order.
        offset_row: how many rows to leave out, counted over all of ``files``.
        max_bytes: the wanted size of a slice; a single row may pass it.
    """
    skip = offset_row
    for file in files:
        if skip >= file.rows:
            skip -= file.rows
            continue
        for batch in read_partition(file):
            here = min(skip, batch.num_rows)
            skip -= here
            yield from sliced(batch.slice(here), max_bytes)


def sliced(batch: pa.RecordBatch, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield a batch in slices of about equal numbers of rows and at most so many bytes; a single row may have more."""
    if not batch.num_rows:
        return
    size = batch.nbytes
    if size <= max_bytes or batch.num_rows == 1:
        yield batch
        return
    rows = max(1, min(batch.num_rows - 1, batch.num_rows * max_bytes // size))
    for start in range(0, batch.num_rows, rows):
        yield from sliced(batch.slice(start, rows), max_bytes)


def file_checksum(path: Path) -> tuple[int, int]:
    """Return a file's size and CRC-32."""
    size = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
    return size, crc
