"""Arrow IPC files and streams."""

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from scorestream_server.domain.errors import invalid
from scorestream_server.domain.table import FileFormat, Fragment
from scorestream_server.tables.columns import READ_ERRORS, corrupt, normal_schema, normalised, validated
from scorestream_server.tables.ipc_messages import (
    MAGIC,
    BatchClaim,
    MalformedMessageError,
    batch_claim,
    file_claims,
)

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

    def batches(self, target: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield columns, all of them readable, normalised, in the order of ``target``."""
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
