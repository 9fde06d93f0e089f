"""All rows of a table that can be read in place, in order, for a copy of them."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from scorestream_server.config import available_cores
from scorestream_server.domain.table import FileFormat, FragmentSlice, Partition, TableData
from scorestream_server.tables.conditions import Condition
from scorestream_server.tables.files import Cancelled, cancelled_error
from scorestream_server.tables.reading import TableReader

_MOST_THREADS = 4
_AHEAD_BYTES = 32 << 20
_RUN_BYTES = 4 << 20

_Begun = tuple[list[pa.RecordBatch], Iterator[pa.RecordBatch]]
"""The first rows of a fragment, and where the others come from."""


def scanned(
    table: TableData, columns: Sequence[str], where: Sequence[Condition], cancelled: Cancelled
) -> Iterator[pa.RecordBatch]:
    """Yield the rows that pass every condition; row groups that cannot have any are not read.

    Parquet is decoded by several threads, each of which has a row group of its own, and of it no more than 32 MiB at a
    time. Arrow files are mapped: their rows may be used only until the next ones are asked for.

    Raises:
        ScorestreamError: as `TableReader.read` does; CANCELLED.
    """
    reader = TableReader()

    def rows(slices: tuple[FragmentSlice, ...]) -> Iterator[pa.RecordBatch]:
        part = Partition(0, 0, sum(one.rows for one in slices), slices)
        return reader.read(table, part, columns, where, scratch=None)

    def begin(slices: tuple[FragmentSlice, ...]) -> _Begun:
        others = rows(slices)
        first: list[pa.RecordBatch] = []
        size = 0
        for batch in others:
            first.append(batch)
            size += batch.nbytes
            if size > _AHEAD_BYTES:
                break
        return first, others

    runs = _runs(table, reader.candidates(table, columns, where), cancelled)
    if table.format is not FileFormat.PARQUET:
        yield from itertools.chain.from_iterable(map(rows, runs))
        return
    threads = min(_MOST_THREADS, available_cores())
    begun: deque[Future[_Begun]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for slices in runs:
            begun.append(pool.submit(begin, slices))
            if len(begun) > threads:
                yield from itertools.chain(*begun.popleft().result())
        while begun:
            yield from itertools.chain(*begun.popleft().result())


def _runs(
    table: TableData, slices: Iterable[FragmentSlice], cancelled: Cancelled
) -> Iterator[tuple[FragmentSlice, ...]]:
    """Yield slices of fragments that are small together, for each read takes a look at all files of a table."""
    run: list[FragmentSlice] = []
    size = 0
    for one in slices:
        if cancelled():
            raise cancelled_error()
        run.append(one)
        size += table.fragments[one.fragment].bytes
        if size >= _RUN_BYTES:
            yield tuple(run)
            run, size = [], 0
    if run:
        yield tuple(run)
