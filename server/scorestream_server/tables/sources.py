"""Loading a table: in place where that can be, converted once into the cache where not."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa

from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid, precondition
from scorestream_server.domain.table import (
    CachedFile,
    FileFormat,
    Fragment,
    InputFile,
    LoadOptions,
    SourceFile,
    TableData,
)
from scorestream_server.tables import remote
from scorestream_server.tables.arrow_source import ArrowSource
from scorestream_server.tables.checksums import BlockWriter
from scorestream_server.tables.columns import TypesChangedError, joined, project, unreadable_columns
from scorestream_server.tables.conditions import Condition, excluded_by_constants, filtered
from scorestream_server.tables.csv_source import CsvSource
from scorestream_server.tables.files import ArrowFile, Cancelled, cancelled_error, temporary_name
from scorestream_server.tables.formats import file_format
from scorestream_server.tables.hive import Value, completed, hive_columns, with_columns
from scorestream_server.tables.json_source import JsonSource
from scorestream_server.tables.parquet_source import read_footers
from scorestream_server.tables.paths import one_format
from scorestream_server.tables.scan import scanned
from scorestream_server.tables.source import Source

_One = TypeVar("_One")
Report = Callable[[int], None]
Compile = Callable[[str, pa.Schema], Sequence[Condition]]
"""Makes conditions of a predicate over a table's columns."""

AS_IT_IS = LoadOptions()


def no_predicates(where: str, _schema: pa.Schema) -> Sequence[Condition]:
    """Refuse every predicate: for those who never have one."""
    raise invalid("WHERE_NOT_APPLICABLE", f"No rows can be chosen here by {where!r}.")


def load_table(
    inputs: Sequence[InputFile | Path],
    cache_dir: Path,
    options: LoadOptions = AS_IT_IS,
    *,
    compile_where: Compile = no_predicates,
    report: Report = lambda _: None,
    cancelled: Cancelled = lambda: False,
    room: int | None = None,
) -> TableData:
    """Load files of one format as one table.

    Uncompressed Arrow IPC files are mapped in place and Parquet files are read in place by row groups: only
    their metadata are read here. CSV, JSON, compressed Arrow, Arrow streams, whatever lies at a URI, and everything of
    which the options ask for it, are converted into one Arrow IPC file in ``cache_dir``, with bounded memory.

    Args:
        inputs: from `DataRoots.inputs`; rows keep this order.
        cache_dir: an existing directory for a converted table.
        options: how.
        compile_where: for the predicate of the options.
        report: called with the rows converted so far.
        cancelled: asked between files and blocks; True ends the load.
        room: how many bytes a converted table may take; None: any number.

    Raises:
        ScorestreamError: CORRUPT_DATA, BAD_COLUMN_NAMES, SCHEMA_MISMATCH, EMPTY_FILE, CSV_BROKEN_LINE and
            other faults of a file; MIXED_PARTITIONS and PARTITION_CLASH of directories; UNKNOWN_COLUMN and others of the
            options; FILE_NOT_FOUND and others of a URI; CACHE_FULL, where `room` is not enough; DISK_FULL; CANCELLED.
            Nothing is left behind then.
    """
    named = [one if isinstance(one, InputFile) else InputFile(str(one)) for one in inputs]
    files = remote.expanded(named)
    forms = {file_format(file.path) or FileFormat.CSV: file for file in reversed(files)}
    one_format(forms)
    load = _Load(files, next(iter(forms)), cache_dir, options, compile_where, report, cancelled, room)
    return load.run()


class _Rows(Protocol):
    """Files with the same columns, to be converted."""

    schema: pa.Schema

    def batches(self, at: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows of a file: some columns, normalised, in this order."""


class _Text(_Rows, Protocol):
    """Files whose types are guessed."""

    notes: list[str]
    inferred: bool

    def infer_all(self, columns: Sequence[str]) -> None:
        """Look at every value of some columns."""


@dataclass(frozen=True)
class _Choice:
    """What of the sources becomes the table.

    Attributes:
        target: the columns that are written.
        conditions: which rows.
        needed: the columns that are read.
    """

    target: pa.Schema
    conditions: tuple[Condition, ...]
    needed: tuple[str, ...]


class _Load:
    """One load."""

    def __init__(
        self,
        files: Sequence[InputFile],
        form: FileFormat,
        cache_dir: Path,
        options: LoadOptions,
        compile_where: Compile,
        report: Report,
        cancelled: Cancelled,
        room: int | None,
    ) -> None:
        self._room = room
        self._files = [Source(file) for file in files]
        self._form = form
        self._cache_dir = cache_dir
        self._options = options
        self._compile = compile_where
        self._report = report
        self._cancelled = cancelled
        if len(set(options.columns)) < len(options.columns):
            raise invalid("DUPLICATE_COLUMN", "The columns to load name one of them twice. Name each once.")
        self._given, self._constants = hive_columns(files)
        self._seen: tuple[SourceFile, ...] = ()

    def run(self) -> TableData:
        self._seen = tuple(self._stepping(source.look() for source in self._files))
        match self._form:
            case FileFormat.PARQUET | FileFormat.ARROW:
                with _Fetched(self._files, self._cache_dir, self._cancelled) as paths:
                    return self._parquet(paths) if self._form is FileFormat.PARQUET else self._arrow(paths)
            case FileFormat.CSV:
                return self._text(CsvSource(self._files, self._cancelled))
            case FileFormat.JSON:
                return self._text(JsonSource(self._files, self._cancelled))

    def _parquet(self, paths: Sequence[Path]) -> TableData:
        named = list(zip(paths, self._names, strict=True))
        found = list(read_footers(named, self._cancelled))
        schema = self._schema([one.schema for one in found])
        return self._readable_in_place(paths, [one.fragments for one in found], schema)

    def _arrow(self, paths: Sequence[Path]) -> TableData:
        opened = list(self._stepping(map(ArrowSource, paths, self._names)))
        schema = self._schema([source.schema for source in opened])
        if all(source.in_place for source in opened):
            return self._readable_in_place(paths, [source.fragments() for source in opened], schema)
        rows = _ArrowRows(opened, schema)
        return self._convert(self._rows(rows, schema, self._choose(schema)), schema)

    def _readable_in_place(
        self, paths: Sequence[Path], fragments: Sequence[Iterable[Fragment]], schema: pa.Schema
    ) -> TableData:
        """Return the table in place if it may be that, and else what it is converted to."""
        parts = tuple(
            replace(fragment, constants=constants) if constants else fragment
            for found, constants in zip(fragments, self._constants, strict=True)
            for fragment in found
        )
        local = all(source.local for source in self._files)
        files = self._seen if local else tuple(Source(InputFile(str(path))).look() for path in paths)
        table = self._table(parts, files, schema, in_place=True)
        notes = self._notes(local=local)
        if not notes and not self._options.disk_cache:
            chosen = project(schema, self._options.columns) if self._options.columns else schema
            return replace(table, schema=chosen.serialize().to_pybytes())
        choice = self._choose(schema)
        rows = scanned(table, choice.target.names, choice.conditions, self._cancelled)
        return self._convert(rows, schema, notes)

    def _notes(self, *, local: bool) -> list[str]:
        """Return why files that could be read in place are not, unless that was asked for."""
        if not local:
            return [
                f"{self._form.value.capitalize()} at a URI is copied into the cache, and not read in place."
            ]
        if self._options.where:
            return ["The table is in the cache, and not read in place, because where chooses its rows."]
        return []

    def _text(self, rows: _Text) -> TableData:
        """Return what text is converted to, with the types that hold all values."""
        try:
            schema = self._text_schema(rows)
            choice = self._choose(schema)
            return self._convert(self._rows(rows, schema, choice), schema, rows.notes)
        except TypesChangedError:
            rows.infer_all([name for name in choice.needed if name in rows.schema.names])
        except ScorestreamError as error:
            # A field of JSON may come late.
            if error.reason != "UNKNOWN_COLUMN" or self._form is not FileFormat.JSON or rows.inferred:
                raise
            rows.infer_all(())
        schema = self._text_schema(rows)
        return self._convert(self._rows(rows, schema, self._choose(schema)), schema, rows.notes)

    def _text_schema(self, rows: _Rows) -> pa.Schema:
        """Return the columns of text; those that cannot be read are refused unless the load leaves them out."""
        schema = with_columns(rows.schema, self._given, self._names[0])
        nested = {} if self._options.columns else unreadable_columns(schema)
        if nested:
            named = ", ".join(f"{name!r} ({kind})" for name, kind in nested.items())
            raise invalid(
                "UNSUPPORTED_TYPE",
                f"Fields with objects or lists in them cannot be columns: {named}. Write what is in them as fields of their "
                "own, or name the columns to load without these.",
                [FieldFault(name, f"type {kind} cannot be read") for name, kind in nested.items()],
            )
        return schema

    def _rows(self, rows: _Rows, schema: pa.Schema, choice: _Choice) -> Iterator[pa.RecordBatch]:
        """Yield the rows to keep, with the columns of directories; files that these exclude are not read."""
        given = set(self._given.names)
        needed = project(schema, choice.needed)
        columns = [name for name in choice.needed if name not in given]
        for at, constants in enumerate(self._constants):
            if excluded_by_constants(constants, choice.conditions, needed):
                continue
            values: dict[str, Value] = dict(constants)
            for batch in rows.batches(at, columns):
                whole = completed(batch, values, needed)
                yield filtered(whole, choice.conditions).select(choice.target.names)

    def _choose(self, schema: pa.Schema) -> _Choice:
        hidden = unreadable_columns(schema)
        columns = self._options.columns or [name for name in schema.names if name not in hidden]
        target = project(schema, columns)
        where = self._options.where
        conditions = tuple(self._compile(where, schema)) if where else ()
        read = [name for condition in conditions for name in condition.columns]
        project(schema, read)
        needed = dict.fromkeys([*target.names, *read])
        if needed.keys() <= set(self._given.names):  # rows are counted by some column of the file
            there = set(self._given.names) | hidden.keys()
            needed |= dict.fromkeys([name for name in schema.names if name not in there][:1])
        return _Choice(target, conditions, tuple(needed))

    def _convert(
        self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, notes: Sequence[str] = ()
    ) -> TableData:
        """Write the readable columns, already normalised."""
        target = self._choose(schema).target
        final = self._cache_dir / f"table-{secrets.token_hex(8)}.arrow"
        blocks = BlockWriter(self._room)
        with ArrowFile(temporary_name(final), target, blocks) as file:
            for batch in joined(batches):
                if self._cancelled():
                    raise cancelled_error()
                file.write(batch)
                self._report(file.rows)
            if tuple(self._stepping(source.look() for source in self._files)) != self._seen:
                raise precondition(
                    "SOURCE_CHANGED", "A file was changed while it was being loaded. Load it again."
                )
            fragments, cached = file.finish(final, durable=False)
        told = schema if not self._options.columns else target
        made = self._table(fragments, (cached,), told, in_place=False, notes=notes)
        return replace(made, cached=(CachedFile(cached.path, tuple(blocks.blocks)),))

    def _table(
        self,
        fragments: tuple[Fragment, ...],
        files: tuple[SourceFile, ...],
        schema: pa.Schema,
        *,
        in_place: bool,
        notes: Sequence[str] = (),
    ) -> TableData:
        return TableData(
            fragments=fragments,
            files=files,
            sources=self._seen,
            schema=schema.serialize().to_pybytes(),
            rows=sum(fragment.rows for fragment in fragments),
            format=self._form,
            in_place=in_place,
            notes=tuple(notes),
        )

    def _schema(self, schemas: Sequence[pa.Schema]) -> pa.Schema:
        return with_columns(_one_schema(self._names, schemas), self._given, self._names[0])

    @property
    def _names(self) -> list[str]:
        return [source.name for source in self._files]

    def _stepping(self, found: Iterable[_One]) -> Iterator[_One]:
        for one in found:
            if self._cancelled():
                raise cancelled_error()
            yield one


class _ArrowRows:
    """Arrow files of which not all can be mapped."""

    def __init__(self, sources: Sequence[ArrowSource], schema: pa.Schema) -> None:
        self._sources = sources
        self.schema = schema

    def batches(self, at: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows of a file."""
        return self._sources[at].batches(pa.schema([self.schema.field(name) for name in columns]))


class _Fetched:
    """The paths of files on this machine; those at URIs are copied there first, and removed in the end."""

    def __init__(self, files: Sequence[Source], folder: Path, cancelled: Cancelled) -> None:
        self._files = files
        self._folder = folder
        self._cancelled = cancelled
        self._copies: list[Path] = []

    def __enter__(self) -> list[Path]:
        try:
            return [source.local or self._copy(source) for source in self._files]
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for copy in self._copies:
            with suppress(FileNotFoundError):
                copy.unlink()

    def _copy(self, source: Source) -> Path:
        copy = temporary_name(self._folder / "fetched")
        self._copies.append(copy)
        remote.fetch(source.file, copy, self._cancelled)
        return copy


def _one_schema(names: Sequence[str], schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return the first file's schema; the others must have the same columns, in any order.

    Raises:
        ScorestreamError: SCHEMA_MISMATCH, naming every file and column that differs.
    """
    faults: list[FieldFault] = []
    first: pa.Schema | None = None
    for name, schema in zip(names, schemas, strict=True):
        first = first or schema
        if schema.equals(first):
            continue
        here = {field.name: field.type for field in schema}
        there = {field.name: field.type for field in first}
        told = [f"column {column!r} is missing" for column in there if column not in here]
        told += [f"column {column!r} is only here" for column in here if column not in there]
        told += [
            f"column {column!r} is {kind}, not {there[column]}"
            for column, kind in here.items()
            if column in there and kind != there[column]
        ]
        if told:
            faults.append(FieldFault(name, "; ".join(told[:20])))
    if faults or first is None:
        raise invalid(
            "SCHEMA_MISMATCH",
            f"The files do not have the columns of {names[0]!r}: in {faults[0].field!r}, "
            f"{faults[0].description}. Give all files the same columns and types, or load them one by one.",
            faults[:100],
        )
    return first
