"""What the footer of a Parquet file says of a row group, and opening the file for it."""

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from scorestream_server.domain.table import SourceFile
from scorestream_server.tables.columns import READ_ERRORS, row_width

_READ_BUFFER = 1 << 20
_ALLOWED_WIDTH = 4096.0
"""Bytes that are allowed for a text that says only how it differs from the one before, which tells nothing of its
size."""


@dataclass(frozen=True, slots=True)
class RowGroupLook:
    """What some columns of a row group take, as far as that can be known before they are decoded.

    Attributes:
        dictionaries: text columns that are dictionary-encoded. They are decoded as dictionaries: as plain text, a short
            dictionary can stand for any amount of memory.
        width: bytes a row once decoded, with dictionaries as they are; a guess where it is not ``known``.
        known: whether the footer tells the size of all columns.
        largest: the column that takes most by the footer.
        largest_bytes: what it takes.
    """

    dictionaries: tuple[str, ...]
    width: float
    known: bool
    largest: str
    largest_bytes: int


def look(file: SourceFile, metadata: pq.FileMetaData, part: int, target: pa.Schema) -> RowGroupLook:
    """Return what the columns of ``target`` take in a row group.

    Raises:
        READ_ERRORS: the row group is damaged.
    """
    rows = max(1, metadata.row_group(part).num_rows)
    widths = {field.name: row_width(pa.schema([field])) for field in target}
    texts = {
        field.name for field in target if pa.types.is_string(field.type) or pa.types.is_binary(field.type)
    }
    dictionaries: list[str] = []
    guessed: set[str] = set()
    if texts:
        Probe(file, metadata, texts).look(part)
        group = metadata.row_group(part)
        for at in range(metadata.num_columns):
            leaf = metadata.schema.column(at)
            if leaf.path not in texts:
                continue
            chunk = group.column(at)
            claimed = chunk.total_uncompressed_size / rows
            if leaf.physical_type == "BYTE_ARRAY":
                if any("DICTIONARY" in name for name in chunk.encodings):
                    dictionaries.append(leaf.path)
                if "DELTA_BYTE_ARRAY" in chunk.encodings:
                    guessed.add(leaf.path)
            else:  # of one length, which a dictionary of it does not tell
                claimed = max(claimed, float(leaf.length))
            widths[leaf.path] = max(widths[leaf.path], claimed)
    largest = max(widths, key=widths.__getitem__)
    width = sum(max(one, _ALLOWED_WIDTH) if name in guessed else one for name, one in widths.items())
    return RowGroupLook(tuple(dictionaries), width, not guessed, largest, int(widths[largest] * rows))


def open_parquet(file: SourceFile, metadata: pq.FileMetaData, dictionaries: Sequence[str]) -> pq.ParquetFile:
    """Open a file whose footer was read before."""
    # Without the last two Arrow holds all compressed bytes of a row group at once: four times the memory of a stream.
    return pq.ParquetFile(
        file.path,
        metadata=metadata,
        read_dictionary=list(dictionaries),
        buffer_size=_READ_BUFFER,
        pre_buffer=False,
    )


class Probe:
    """Looks at column chunks of a file whose footer was read before, so that a damaged one raises.

    What else looks at a column chunk (its Python view, the pruning by statistics) does not raise: Arrow ends
    the process there.
    """

    def __init__(self, file: SourceFile, metadata: pq.FileMetaData, columns: Collection[str]) -> None:
        self._metadata = metadata
        self._columns = list(columns)
        leaves = ((at, metadata.schema.column(at)) for at in range(metadata.num_columns))
        self._kinds = [(at, leaf.path, leaf.physical_type) for at, leaf in leaves if leaf.path in columns]
        self._unread = _UnreadFile(file.size)
        # With a buffer Arrow comes to all columns before it reads the first one.
        self._source = pq.ParquetFile(
            pa.PythonFile(self._unread, "r"), metadata=metadata, buffer_size=_READ_BUFFER, pre_buffer=False
        )

    def look(self, part: int) -> None:
        """Begin to read the columns of a row group, up to where the file itself would be read.

        Raises:
            READ_ERRORS: the row group is damaged.
        """
        self._unread.reached = False
        try:
            next(
                self._source.iter_batches(1, row_groups=[part], columns=self._columns, use_threads=False),
                None,
            )
        except READ_ERRORS:
            if not self._unread.reached:
                raise
        group = self._metadata.row_group(part)
        for at, path, kind in self._kinds:
            if group.column(at).physical_type != kind:
                raise pa.ArrowInvalid(f"a chunk of the column {path!r} is of another type than the column")


class _UnreadFile(io.RawIOBase):
    """A file of some size that nothing can be read from.

    Attributes:
        reached: whether somebody tried; all that comes before the content of a file was in order then.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0
        self.reached = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, _size: int = -1) -> bytes:
        self.reached = True
        return b""  # not an error: Arrow would write down where it was raised, which takes longer than all else here
