"""A data set: a directory of Parquet files with a manifest, made under a name that nobody looks at."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from scorestream_server.domain.output import OutputOptions
from scorestream_server.tables.files import sync
from scorestream_server.tables.manifest import MANIFEST, DataFile, Manifest
from scorestream_server.tables.partitioned import Rows, count_directories, spread
from scorestream_server.tables.results import file_checksum
from scorestream_server.tables.writers import ParquetFile

PART_ROWS = 4 << 20
"""Rows of one file of a data set."""
OPEN_BYTES = 128 << 20
"""Of rows that wait for their row groups, over all files that are open."""


def write_dataset(
    directory: Path,
    rows: Rows,
    schema: pa.Schema,
    options: OutputOptions,
    *,
    job: str,
    time: str,
    prefix: str = "part",
) -> Manifest:
    """Write rows as a new data set, all of it synced, and return its manifest.

    Args:
        directory: its name for now; nothing may be there.
        rows: of this schema.
        schema: all columns.
        options: how; partitioned or not.
        job: whose rows they are.
        time: when, RFC 3339.
        prefix: what the names of its files begin with.

    Raises:
        ScorestreamError: as `count_directories`; what `rows` raises.
    """
    directory.mkdir()
    parts = _Parts(directory, prefix, schema, options)
    try:
        if options.partition_by:
            counts = count_directories(rows, options.partition_by)
            spread(rows, options.partition_by, counts, parts.write, directory)
        else:
            parts.write([""], ((0, batch) for batch in rows(None)))
        if not parts.files:
            parts.write_nothing()
    except BaseException:
        parts.abort()
        raise
    files = sorted(parts.files, key=lambda file: file.name)
    manifest = Manifest.of(schema, options.partition_by, files, job, time)
    write_text(directory / MANIFEST, manifest.text())
    write_text(directory / "_SUCCESS", "")
    for folder, _, _ in os.walk(directory, topdown=False):
        sync(Path(folder))
    return manifest


def write_text(path: Path, content: str) -> None:
    """Write a new small file, and have it on the disk."""
    with path.open("x", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@dataclass(eq=False)
class _Parts:
    """The files of a data set, as many open at once as there are directories to be written to."""

    directory: Path
    prefix: str
    schema: pa.Schema
    options: OutputOptions
    files: list[DataFile] = field(default_factory=list)
    _open: dict[int, ParquetFile] = field(default_factory=dict)

    @property
    def _kept(self) -> pa.Schema:
        """What the files hold: a directory's name says the rest."""
        return pa.schema([one for one in self.schema if one.name not in self.options.partition_by])

    def write(self, folders: Sequence[str], batches: Iterator[tuple[int, pa.RecordBatch]]) -> None:
        """Write all rows of some directories."""
        kept = self._kept
        made = [0] * len(folders)
        for index, batch in batches:
            rest = batch.select(kept.names)
            while rest.num_rows:
                file = self._open.get(index)
                if file is None:
                    file = self._open[index] = ParquetFile(
                        self._new(folders[index], made[index]), kept, self.options
                    )
                    made[index] += 1
                here = rest.slice(0, PART_ROWS - file.rows)
                file.write_batch(here)
                rest = rest.slice(here.num_rows)
                if file.rows >= PART_ROWS:
                    self._close(index)
            self._make_room()
        for index in list(self._open):
            self._close(index)

    def write_nothing(self) -> None:
        """Have one file with the columns and no rows."""
        self._open[0] = ParquetFile(self._new("", 0), self._kept, self.options)
        self._close(0)

    def abort(self) -> None:
        """Let go of what is open."""
        for file in self._open.values():
            file.abort()

    def _new(self, folder: str, number: int) -> Path:
        place = self.directory / folder
        place.mkdir(parents=True, exist_ok=True)
        return place / f"{self.prefix}-{number:05d}.parquet"

    def _make_room(self) -> None:
        """End row groups, the largest first, while all of them take too much."""
        while sum(file.pending_bytes for file in self._open.values()) > OPEN_BYTES:
            max(self._open.values(), key=lambda file: file.pending_bytes).flush()

    def _close(self, index: int) -> None:
        file = self._open[index]
        file.close()
        del self._open[index]
        sync(file.path)
        size, crc = file_checksum(file.path)
        name = file.path.relative_to(self.directory).as_posix()
        self.files.append(DataFile(name, file.rows, size, f"{crc:08x}"))
