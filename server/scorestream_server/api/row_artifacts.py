"""The RowArtifactService."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from scorestream.v1 import row_artifact_service_pb2 as pb2
from scorestream.v1 import row_artifact_service_pb2_grpc
from scorestream_server.api import names
from scorestream_server.api.auth import Context, reach_of, require_owner
from scorestream_server.api.results import ReadingJob, require_results
from scorestream_server.domain.errors import (
    ErrorCode,
    FieldFault,
    ScorestreamError,
    counted,
    invalid,
    not_found,
    precondition,
)
from scorestream_server.domain.job import Job
from scorestream_server.domain.table import PartitionFile
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.scoring.nearest import nearest
from scorestream_server.store import jobs as job_store
from scorestream_server.store.database import Database
from scorestream_server.tables.artifacts import read_artifacts

PIECE_BYTES = 1 << 19
MESSAGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Found:
    """Artifacts of one row: their UTF-8 bytes by name, in order."""

    index: int
    artifacts: Mapping[str, memoryview]


class RowArtifactService(row_artifact_service_pb2_grpc.RowArtifactServiceServicer):
    """Artifacts of result rows: listed, read.

    Args:
        database: the store.
        expiry: is told of whoever reads.
    """

    def __init__(self, database: Database, expiry: SessionExpiry) -> None:
        self._database = database
        self._expiry = expiry

    async def ListRowArtifacts(
        self, request: pb2.ListRowArtifactsRequest, context: Context
    ) -> pb2.ListRowArtifactsResponse:
        """List the artifacts of a row."""
        _, files = await self._files(request.name, request.index, context)
        found = await asyncio.to_thread(_sizes, files, request.index)
        artifacts = [pb2.RowArtifact(artifact_name=name, size_bytes=size) for name, size in found.items()]
        return pb2.ListRowArtifactsResponse(artifacts=artifacts)

    async def ReadRowArtifacts(
        self, request: pb2.ReadRowArtifactsRequest, context: Context
    ) -> AsyncIterator[pb2.ReadRowArtifactsResponse]:
        """Stream what is in artifacts."""
        if request.rows < 0:
            raise invalid("INVALID_ROWS", "rows must not be negative.", [FieldFault("rows", "negative")])
        job, files = await self._files(request.name, request.index, context)
        rows = max(1, request.rows)
        wanted = request.artifact_name
        if wanted and rows == 1:
            _require_artifact(await asyncio.to_thread(_sizes, files, request.index), request.index, wanted)
        messages = _messages(_rows(files, request.index, rows), wanted)
        while (message := await asyncio.to_thread(next, messages, None)) is not None:
            self._expiry.seen(job.session_id)
            yield message

    async def _files(
        self, name: str, index: int, context: Context
    ) -> tuple[Job, Sequence[tuple[PartitionFile, int]]]:
        """Return a job, and its committed partitions from a row on, each with the first row of it that is wanted."""
        job_id, owner = names.job_id("name", name), reach_of(context)

        def look(connection: sa.Connection) -> tuple[Job, Sequence[tuple[PartitionFile, int]]]:
            job = job_store.get(connection, job_id, owner)
            require_owner(context, job.owner)
            now = job_store.progress(connection, job_id, 0)
            require_results(job, now)
            place = ReadingJob(max(0, index))
            files = place.advance(now.committed, gaps=now.state.final)
            if not files or index < 0:
                raise _no_such_row(job, index, place.rows, final=now.state.final)
            return job, files

        job, files = await self._database.read(look)
        self._expiry.seen(job.session_id)
        return job, files


def _no_such_row(job: Job, index: int, rows: int, *, final: bool) -> ScorestreamError:
    """Return why there is nothing of a row."""
    if final or index < 0 or index >= job.rows_total:
        there = counted(rows, "row") if final else f"at most {counted(job.rows_total, 'row')}"
        return ScorestreamError(
            ErrorCode.OUT_OF_RANGE,
            "ROW_OUT_OF_RANGE",
            f"The result of job {job.name!r} has {there}, counted from 0; there is no row {index:,}.",
            [FieldFault("index", f"{index} is none of its rows")],
            metadata={"rows": str(rows)},
        )
    return precondition(
        "ROW_NOT_COMMITTED",
        f"Row {index:,} of job {job.name!r} is not scored yet: {counted(rows, 'row')} of its result are committed. Ask "
        "again later, or wait for the job.",
        job=job.id,
        rows=str(rows),
    )


def _require_artifact(found: Mapping[str, int], index: int, name: str) -> None:
    if name in found:
        return
    there = list(found)
    near = nearest(name[:128], there)
    told = f"it has {', '.join(there)}" if there else "it has none"
    hint = f"; did you mean {near!r}?" if near else "."
    raise not_found(
        "ARTIFACT_NOT_FOUND",
        f"Row {index:,} has no artifact {name[:128]!r}; {told}{hint}",
        artifact=name[:128],
    )


def _rows(files: Sequence[tuple[PartitionFile, int]], index: int, rows: int) -> Iterator[_Found]:
    """Yield the rows with artifacts among those that are wanted, as far as they are there."""
    at, end = index, index + rows
    for file, begin in files:
        wanted = min(end - at, file.rows - begin)
        if wanted <= 0:
            return
        for row, artifacts in read_artifacts(file, begin, wanted):
            here = {name: memoryview(value.as_buffer()) for name, value in artifacts.items()}
            yield _Found(at + row - begin, here)
        at += wanted


def _sizes(files: Sequence[tuple[PartitionFile, int]], index: int) -> dict[str, int]:
    """Return the artifacts of a row with their sizes."""
    return {name: len(data) for row in _rows(files, index, 1) for name, data in row.artifacts.items()}


def _messages(rows: Iterator[_Found], wanted: str) -> Iterator[pb2.ReadRowArtifactsResponse]:
    """Yield artifacts in messages of about `MESSAGE_BYTES`."""
    pieces: list[pb2.RowArtifactPiece] = []
    size = 0
    for row in rows:
        for name, data in row.artifacts.items():
            if wanted and name != wanted:
                continue
            for offset in range(0, max(1, len(data)), PIECE_BYTES):
                part = bytes(data[offset : offset + PIECE_BYTES])
                more = offset + len(part) < len(data)
                pieces.append(
                    pb2.RowArtifactPiece(
                        index=row.index, artifact_name=name, data=part, more=more, offset=offset
                    )
                )
                size += len(part)
                if size >= MESSAGE_BYTES or len(pieces) >= 4096:
                    yield pb2.ReadRowArtifactsResponse(pieces=pieces)
                    pieces, size = [], 0
    if pieces:
        yield pb2.ReadRowArtifactsResponse(pieces=pieces)
