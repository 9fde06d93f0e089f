"""Arrow IPC files and streams."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from scorestream_server.domain.errors import invalid
from scorestream_server.domain.table import FileFormat, Fragment
from scorestream_server.tables.artifacts import shown
from scorestream_server.tables.columns import READ_ERRORS, corrupt, normal_schema, normalised, validated
from scorestream_server.tables.identity import source_in_place
from scorestream_server.tables.ipc_messages import (
    MAGIC,
    BatchClaim,
    MalformedMessageError,
    file_claims,
    stream_claims,
)
from scorestream_server.tables.mapping import OpenArrow, copied_out, guarded_bytes

MAX_COMPRESSED_BATCH = 1 << 30
"""A compressed record batch may take at most so many bytes once decoded: it must be decoded in one piece."""


class ArrowSource:
    """One Arrow IPC file or stream: what it claims, checked before a byte of its rows is used."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = f"The file {name!r}"
        try:
            sent = self._open()
        except READ_ERRORS as error:
            raise corrupt(self._name, error) from None
        self.schema = normal_schema(shown(sent), self._name)

    def _open(self) -> pa.Schema:
        """Read and check what the batches claim; return the schema as it is in the file."""
        if self._path.stat().st_size == 0:  # cannot be mapped
            raise MalformedMessageError("it is empty")
        data = guarded_bytes(self._path)
        start = data[:6].to_pybytes()
        if start[:4] == b"FEA1":
            raise MalformedMessageError(
                "it has the old Feather format of before Arrow 0.15; write it with a newer Arrow"
            )
        self._is_file = start == MAGIC
        if not self._is_file:
            self._check(stream_claims(memoryview(data)))
            self._claims: tuple[BatchClaim, ...] = ()
            self.in_place = False
            with pa.OSFile(str(self._path)) as stream:
                return pa.ipc.open_stream(stream).schema
        claims = file_claims(data)
        self._claims = claims.batches
        self._check([*claims.dictionaries, *claims.batches])
        self.in_place = not any(claim.compressed for claim in (*claims.dictionaries, *claims.batches))
        return OpenArrow(source_in_place(self._path)).reader.schema

    def fragments(self) -> list[Fragment]:
        """Return the record batches, for reading in place."""
        return [
            Fragment(str(self._path), FileFormat.ARROW, part, claim.rows, claim.bytes)
            for part, claim in enumerate(self._claims)
        ]

    def batches(self, target: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield columns, all of them readable, normalised, in the order of ``target``."""
        try:
            for batch in self._found():
                # What was decompressed is in memory; what was not is in a file that may change.
                for part in copied_out(batch.select(target.names), batch.nbytes / max(1, batch.num_rows)):
                    yield from normalised(validated(part, self._name), target)
        except READ_ERRORS as error:
            raise corrupt(self._name, error) from None

    def _found(self) -> Iterator[pa.RecordBatch]:
        if self._is_file:
            opened = OpenArrow(source_in_place(self._path))
            for part in range(opened.reader.num_record_batches):
                yield opened.reader.get_batch(part)
            if opened.map.torn:
                raise pa.ArrowInvalid("its disk could not read a part of it")
        else:
            with pa.OSFile(str(self._path)) as stream:
                yield from pa.ipc.open_stream(stream)

    def _check(self, claims: Sequence[BatchClaim]) -> None:
        largest = max((claim.bytes for claim in claims if claim.compressed), default=0)
        if largest > MAX_COMPRESSED_BATCH:
            raise invalid(
                "BATCH_TOO_LARGE",
                f"{self._name} has a compressed record batch of {largest:,} bytes once decoded; at most "
                f"{MAX_COMPRESSED_BATCH:,} are allowed. Write it in smaller batches, or without compression.",
            )
