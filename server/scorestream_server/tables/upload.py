"""Tables that clients send: untrusted Arrow messages in, a checked Arrow file out."""

from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, invalid, precondition
from scorestream_server.domain.table import CachedFile, FileFormat, TableData
from scorestream_server.tables.checksums import BlockWriter
from scorestream_server.tables.columns import normal_schema, normalised, unreadable_columns, validated
from scorestream_server.tables.files import ArrowFile, temporary_name
from scorestream_server.tables.ipc_messages import MalformedMessageError, message_claim

PIECE_BYTES = 8 << 20
"""So many bytes of an upload are decoded at once: the server does that itself, for many clients, and what stands in a
message can stand for a thousand times as much."""

_WHAT = "The uploaded table"


class UploadWriter:
    """Collects an upload into an Arrow file; leaving the block without `finish` leaves nothing behind.

    Args:
        path: the file's final name; it appears when the upload is complete.
        max_rows: more rows are refused.
        max_bytes: more bytes (decoded, as stored here) are refused.
        room: how many bytes its file may have; None: any number.
    """

    def __init__(self, path: Path, *, max_rows: int, max_bytes: int, room: int | None = None) -> None:
        self._path = path
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._sent: pa.Schema | None = None
        self._target = pa.schema([])
        self._blocks = BlockWriter(room)
        self._file: ArrowFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    @property
    def rows(self) -> int:
        """Rows received so far."""
        return self._file.rows if self._file else 0

    def schema(self, data: bytes) -> pa.Schema:
        """Take the schema message, which comes first and once; return the schema as the table will have it.

        Raises:
            ScorestreamError: CORRUPT_DATA, BAD_COLUMN_NAMES, UNSUPPORTED_TYPE (all columns named).
        """
        if self._sent is not None:
            raise precondition("UPLOAD_ORDER", "The schema was sent twice. Send it once, before the rows.")
        try:
            sent = pa.ipc.read_schema(pa.py_buffer(data))
        except (pa.ArrowException, OSError, EOFError, ValueError) as error:
            raise _damaged(error) from None
        target = normal_schema(sent, _WHAT)
        refused = {
            **unreadable_columns(target),
            # Their values would come in messages of their own; senders decode them in one call.
            **{field.name: str(field.type) for field in sent if pa.types.is_dictionary(field.type)},
        }
        if refused:
            named = ", ".join(f"{name!r} ({kind})" for name, kind in refused.items())
            raise invalid(
                "UNSUPPORTED_TYPE",
                f"Columns of these types cannot be uploaded: {named}. Leave them out, or send plain numbers, text or "
                "dates (a dictionary decoded to its values).",
                [FieldFault(name, f"type {kind} cannot be uploaded") for name, kind in refused.items()],
            )
        self._file = ArrowFile(temporary_name(self._path), target, self._blocks)
        self._sent, self._target = sent, target
        return target

    def batch(self, data: bytes) -> int:
        """Take one record batch message; return the rows received so far.

        Raises:
            ScorestreamError: CORRUPT_DATA, COMPRESSED_BATCH, UPLOAD_TOO_LARGE, CACHE_FULL, UPLOAD_ORDER, DISK_FULL. The
                upload is then aborted.
        """
        if self._sent is None or self._file is None:
            raise precondition("UPLOAD_ORDER", "Rows came before the schema. Send the schema first.")
        try:
            for batch in normalised(self._decode(data, self._sent), self._target, PIECE_BYTES):
                self._write(self._file, batch)
        except BaseException:
            self.abort()
            raise
        return self._file.rows

    def finish(self) -> TableData:
        """Complete the table: on the disk, and under its final name.

        Raises:
            ScorestreamError: UPLOAD_ORDER, DISK_FULL.
        """
        if self._file is None:
            raise precondition("UPLOAD_ORDER", "The upload ended before its schema. Send the schema first.")
        file, self._file = self._file, None
        with file:
            fragments, source = file.finish(self._path, durable=True)
        return TableData(
            fragments,
            (source,),
            (source,),
            self._target.serialize().to_pybytes(),
            file.rows,
            FileFormat.ARROW,
            True,
            cached=(CachedFile(source.path, tuple(self._blocks.blocks)),),
        )

    def abort(self) -> None:
        """Remove everything; does nothing after `finish`."""
        file, self._file = self._file, None
        if file is not None:
            file.abort()

    def _write(self, file: ArrowFile, batch: pa.RecordBatch) -> None:
        if file.bytes + batch.nbytes > self._max_bytes:
            raise self._too_large(f"{self._max_bytes:,} bytes")
        file.write(batch)

    def _decode(self, data: bytes, schema: pa.Schema) -> pa.RecordBatch:
        buffer = pa.py_buffer(data)
        try:
            claim = message_claim(buffer)
        except MalformedMessageError as error:
            raise _damaged(error) from None
        if claim is None or claim.dictionary:
            raise _damaged("the message is no record batch")
        if claim.compressed:
            raise invalid(
                "COMPRESSED_BATCH", "The rows were sent compressed. Send record batches without compression."
            )
        if self.rows + claim.rows > self._max_rows:
            raise self._too_large(f"{self._max_rows:,} rows")
        try:
            batch = pa.ipc.read_record_batch(buffer, schema)
        except (pa.ArrowException, OSError, EOFError, ValueError) as error:
            raise _damaged(error) from None
        return validated(batch, _WHAT)

    def _too_large(self, limit: str) -> ScorestreamError:
        return ScorestreamError(
            ErrorCode.RESOURCE_EXHAUSTED,
            "UPLOAD_TOO_LARGE",
            f"An upload may have at most {limit}. Put the table into a file under a data root and load that.",
        )


def _damaged(error: object) -> ScorestreamError:
    told = " ".join(str(error).split())[:300]
    return invalid(
        "CORRUPT_DATA",
        f"{_WHAT} is damaged: {told}. Send Arrow IPC messages as an Arrow library writes them.",
    )
