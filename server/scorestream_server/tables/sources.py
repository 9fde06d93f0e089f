"""Loading a table: in place where that can be, converted once into the cache where not."""

import mmap
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scorestream_server.domain.errors import FieldFault, invalid, not_found, precondition
from scorestream_server.domain.table import (
    CachedFile,
    FileFormat,
    Fragment,
    LoadOptions,
    SourceFile,
    TableData,
)
from scorestream_server.tables.checksums import BlockWriter
from scorestream_server.tables.columns import (
    READ_ERRORS,
    corrupt,
    joined,
    normal_schema,
    normalised,
    row_width,
    unreadable_columns,
    validated,
)
from scorestream_server.tables.csv_source import CsvSource, TypesChangedError
from scorestream_server.tables.files import ArrowFile, cancelled_error, source_file, temporary_name
from scorestream_server.tables.ipc_messages import (
    MAGIC,
    BatchClaim,
    MalformedMessageError,
    batch_claim,
    file_claims,
)
from scorestream_server.tables.paths import file_format, unreadable

MAX_COMPRESSED_BATCH = 1 << 30
"""A compressed record batch may take at most so many bytes once decoded: it must be decoded in one piece."""

Report = Callable[[int], None]
Cancelled = Callable[[], bool]


def load_table(
    paths: Sequence[Path],
    cache_dir: Path,
    options: LoadOptions = LoadOptions(),
    *,
    report: Report = lambda _: None,
    cancelled: Cancelled = lambda: False,
    room: int | None = None,
) -> TableData:
    """Load files of one format as one table.

    Uncompressed Arrow IPC files are mapped in place and Parquet files are read in place by row groups: only
    their metadata are read here. CSV, compressed Arrow and Arrow streams are converted into one Arrow IPC
    file in ``cache_dir``, with bounded memory.

    Args:
        paths: from `DataRoots.inputs`; rows keep this order.
        cache_dir: an existing directory for a converted table.
        options: how.
        report: called with the rows converted so far.
        cancelled: asked between blocks; True ends the load.
        room: how many bytes a converted table may take; None: any number.

    Raises:
        ScorestreamError: CACHE_FULL, where that is not enough; CORRUPT_DATA, BAD_COLUMN_NAMES, SCHEMA_MISMATCH, EMPTY_FILE, CSV_BROKEN_LINE and
            other faults of a file; DISK_FULL; CANCELLED. Nothing is left behind then.
    """
    sources = tuple(_look_at(path) for path in paths)
    form = file_format(paths[0]) or FileFormat.CSV
    conversion = _Conversion(sources, form, cache_dir, report, cancelled, room)
    if form is FileFormat.PARQUET:
        return _parquet_table(paths, sources, cancelled)
    if form is FileFormat.ARROW:
        opened = [_ArrowSource(path) for path in paths]
        schema = _one_schema(paths, (source.schema for source in opened))
        if all(source.in_place for source in opened):
            fragments = tuple(fragment for source in opened for fragment in source.fragments())
            return _table(fragments, sources, schema, form)
        batches = (batch for source in opened for batch in source.batches(schema))
        return conversion.run(batches, schema)
    csv = CsvSource(paths, cancelled)
    try:
        return conversion.run(csv.batches(), csv.schema)
    except TypesChangedError:
        csv.infer_all()
        return conversion.run(csv.batches(), csv.schema, csv.notes)


@dataclass(frozen=True)
class _Conversion:
    """Sources to be written into one Arrow file in the cache."""

    sources: tuple[SourceFile, ...]
    form: FileFormat
    cache_dir: Path
    report: Report
    cancelled: Cancelled
    room: int | None

    def run(
        self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, notes: Sequence[str] = ()
    ) -> TableData:
        """Write the readable columns, already normalised."""
        final = self.cache_dir / f"table-{secrets.token_hex(8)}.arrow"
        blocks = BlockWriter(self.room)
        with ArrowFile(temporary_name(final), _readable(schema), blocks) as file:
            for batch in joined(batches):
                if self.cancelled():
                    raise cancelled_error()
                file.write(batch)
                self.report(file.rows)
            if tuple(_look_at(Path(source.path)) for source in self.sources) != self.sources:
                raise precondition(
                    "SOURCE_CHANGED", "A file was changed while it was being loaded. Load it again."
                )
            fragments, cached = file.finish(final, durable=False)
        made = _table(fragments, self.sources, schema, self.form, cached=cached, notes=notes)
        return replace(made, cached=(CachedFile(cached.path, tuple(blocks.blocks)),))


def _parquet_table(paths: Sequence[Path], sources: tuple[SourceFile, ...], cancelled: Cancelled) -> TableData:
    fragments: list[Fragment] = []
    schemas = []
    for path in paths:
        if cancelled():
            raise cancelled_error()
        try:
            metadata = pq.read_metadata(path)
            schema = normal_schema(metadata.schema.to_arrow_schema(), f"The file {path.name!r}")
        except READ_ERRORS as error:
            raise corrupt(f"The file {path.name!r}", error) from None
        schemas.append(schema)
        fragments += _row_groups(path, metadata, schema)
    return _table(tuple(fragments), sources, _one_schema(paths, schemas), FileFormat.PARQUET)


def _row_groups(path: Path, metadata: pq.FileMetaData, schema: pa.Schema) -> Iterator[Fragment]:
    """Yield a file's row groups with their decoded sizes: rows times width, and for text what the footer says."""
    fixed = row_width(schema)
    for part in range(metadata.num_row_groups):
        group = metadata.row_group(part)
        if group.num_rows < 0:
            raise corrupt(f"The file {path.name!r}", f"row group {part} has a negative number of rows")
        yield Fragment(
            str(path),
            FileFormat.PARQUET,
            part,
            group.num_rows,
            max(int(group.num_rows * fixed), group.total_byte_size),
        )


def _one_schema(paths: Sequence[Path], schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return the first file's schema; the others must have the same columns, in any order.

    Raises:
        ScorestreamError: SCHEMA_MISMATCH, naming every file and column that differs.
    """
    faults: list[FieldFault] = []
    first: pa.Schema | None = None
    for path, schema in zip(paths, schemas, strict=True):
        if first is None:
            first = schema
            continue
        here = {field.name: field.type for field in schema}
        there = {field.name: field.type for field in first}
        told = [f"column {name!r} is missing" for name in there if name not in here]
        told += [f"column {name!r} is only here" for name in here if name not in there]
        told += [
            f"column {name!r} is {kind}, not {there[name]}"
            for name, kind in here.items()
            if name in there and kind != there[name]
        ]
        if told:
            faults.append(FieldFault(path.name, "; ".join(told[:20])))
    if faults or first is None:
        raise invalid(
            "SCHEMA_MISMATCH",
            f"The files do not have the columns of {paths[0].name!r}: in {faults[0].field!r}, "
            f"{faults[0].description}. Give all files the same columns and types, or load them one by one.",
            faults[:100],
        )
    return first


def _table(
    fragments: tuple[Fragment, ...],
    sources: tuple[SourceFile, ...],
    schema: pa.Schema,
    form: FileFormat,
    *,
    cached: SourceFile | None = None,
    notes: Sequence[str] = (),
) -> TableData:
    return TableData(
        fragments=fragments,
        files=sources if cached is None else (cached,),
        sources=sources,
        schema=schema.serialize().to_pybytes(),
        rows=sum(fragment.rows for fragment in fragments),
        format=form,
        in_place=cached is None,
        notes=tuple(notes),
    )


def _readable(schema: pa.Schema) -> pa.Schema:
    hidden = unreadable_columns(schema)
    return pa.schema([field for field in schema if field.name not in hidden])


def _look_at(path: Path) -> SourceFile:
    try:
        return source_file(path)
    except FileNotFoundError:
        raise not_found("FILE_NOT_FOUND", f"The file {path.name!r} is gone.", path=str(path)) from None
    except PermissionError:
        raise unreadable(path.name) from None


class _ArrowSource:
    """One Arrow IPC file or stream: what it claims, checked before a byte of its rows is used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = f"The file {path.name!r}"
        try:
            sent = self._open()
        except READ_ERRORS as error:
            raise corrupt(self._name, error) from None
        self.schema = normal_schema(sent, self._name)

    def _open(self) -> pa.Schema:
        """Read and check what the batches claim; return the schema as it is in the file."""
        if self._path.stat().st_size == 0:  # cannot be mapped
            raise MalformedMessageError("it is empty")
        mapped = pa.memory_map(str(self._path))
        start = mapped.read(6)
        mapped.seek(0)
        if start[:4] == b"FEA1":
            raise MalformedMessageError(
                "it has the old Feather format of before Arrow 0.15; write it with a newer Arrow"
            )
        self._is_file = start == MAGIC
        if not self._is_file:
            self._check(list(_stream_claims(mapped)))
            mapped.seek(0)
            self._claims: tuple[BatchClaim, ...] = ()
            self.in_place = False
            return pa.ipc.open_stream(mapped).schema
        # A map of our own: Arrow's asks the system to fetch all that it is asked for, which is the whole file.
        with self._path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        claims = file_claims(data)
        self._claims = claims.batches
        self._check([*claims.dictionaries, *claims.batches])
        self.in_place = not any(claim.compressed for claim in (*claims.dictionaries, *claims.batches))
        return pa.ipc.open_file(mapped).schema

    def fragments(self) -> list[Fragment]:
        """Return the record batches, for reading in place."""
        return [
            Fragment(str(self._path), FileFormat.ARROW, part, claim.rows, claim.bytes)
            for part, claim in enumerate(self._claims)
        ]

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the readable columns, normalised, in the order of ``schema``."""
        target = _readable(schema)
        try:
            with pa.memory_map(str(self._path)) as mapped:
                if self._is_file:
                    reader = pa.ipc.open_file(mapped)
                    found = (reader.get_batch(part) for part in range(reader.num_record_batches))
                else:
                    found = (batch for batch in pa.ipc.open_stream(mapped))
                for batch in found:
                    yield from normalised(validated(batch.select(target.names), self._name), target)
        except READ_ERRORS as error:
            raise corrupt(self._name, error) from None

    def _check(self, claims: Sequence[BatchClaim]) -> None:
        largest = max((claim.bytes for claim in claims if claim.compressed), default=0)
        if largest > MAX_COMPRESSED_BATCH:
            raise invalid(
                "BATCH_TOO_LARGE",
                f"{self._name} has a compressed record batch of {largest:,} bytes once decoded; at most "
                f"{MAX_COMPRESSED_BATCH:,} are allowed. Write it in smaller batches, or without compression.",
            )


def _stream_claims(mapped: pa.MemoryMappedFile) -> Iterator[BatchClaim]:
    for message in pa.ipc.MessageReader.open_stream(mapped):
        body = message.body
        claim = batch_claim(
            memoryview(message.metadata).cast("B"), memoryview(b"" if body is None else body).cast("B")
        )
        if claim is not None:
            yield claim
