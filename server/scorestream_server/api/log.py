"""The LogService."""

import contextlib
import functools
from collections.abc import AsyncIterator, Iterator, Sequence

import sqlalchemy as sa

from scorestream.v1 import log_pb2, log_service_pb2, log_service_pb2_grpc
from scorestream_server.api import convert, names, paging
from scorestream_server.api.auth import Context, reach_of
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.log import LineType, LogBlock, LogSelection, block_before, position
from scorestream_server.domain.session import require_not_ended
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.feed import LogFeed
from scorestream_server.store import jobs as job_store
from scorestream_server.store import log as log_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database

MESSAGE_LINES = 500
BLOCKS_READ = 256
SHARED_RESPONSES, SHARED_LINES = 64, 100
"""Answers that are kept, of at most so many lines: all who follow a log get the same ones."""
_NUMBERS = {kind: log_pb2.LogLineType.Value(f"LOG_LINE_TYPE_{kind.name}") for kind in LineType}


_Request = log_service_pb2.ListLogLinesRequest | log_service_pb2.TailLogRequest


class LogService(log_service_pb2_grpc.LogServiceServicer):
    """Logs of sessions and jobs: read, followed."""

    def __init__(self, database: Database, feed: LogFeed, expiry: SessionExpiry) -> None:
        self._database = database
        self._feed = feed
        self._expiry = expiry

    async def ListLogLines(
        self, request: log_service_pb2.ListLogLinesRequest, context: Context
    ) -> log_service_pb2.ListLogLinesResponse:
        """List the lines of a log."""
        limit = paging.size(request.page_size)
        after = max(paging.position(request.page_token), _after(request))
        selection, _ = await self._selection(request, context)

        def read(connection: sa.Connection) -> list[log_pb2.LogLine]:
            found: list[log_pb2.LogLine] = []
            block = block_before(after)
            while len(found) <= limit:
                blocks = log_store.page(connection, selection, block, None, BLOCKS_READ)
                if blocks:
                    found += _lines(blocks, selection.types, _from(after, blocks[0]))
                if len(blocks) < BLOCKS_READ:
                    break
                block = blocks[-1].number
            return found

        lines = await self._database.read(read)
        more = str(lines[limit - 1].position) if len(lines) > limit else ""
        return log_service_pb2.ListLogLinesResponse(lines=lines[:limit], next_page_token=more)

    async def TailLog(
        self, request: log_service_pb2.TailLogRequest, context: Context
    ) -> AsyncIterator[log_service_pb2.TailLogResponse]:
        """Stream the lines of a log."""
        after = _after(request)
        selection, over = await self._selection(request, context)
        over = over or not request.follow
        async with contextlib.aclosing(self._feed.follow(selection, block_before(after))) as batches:
            async for blocks in batches:
                if not blocks:
                    if over:
                        return
                    continue
                small = sum(len(block.lines) for block in blocks) <= SHARED_LINES
                make = _shared_responses if small else _responses
                for response in make(tuple(blocks), selection.types, _from(after, blocks[0])):
                    yield response
                over = over or any(_is_last(block, selection) for block in blocks)

    async def _selection(self, request: _Request, context: Context) -> tuple[LogSelection, bool]:
        """Return what a request asks for, and whether nothing will be added to it."""
        types = frozenset(_line_types(request.types))
        session_id, job_id = names.session_or_job_id("name", request.name)
        owner = reach_of(context)

        def read(connection: sa.Connection) -> tuple[LogSelection, bool]:
            job = job_store.get(connection, job_id, owner) if job_id else None
            session = session_store.get(connection, job.session_id if job else session_id, owner)
            require_not_ended(session, "The log")
            return LogSelection(session.id, job_id, types), job is not None and job.state.final

        selection, over = await self._database.read(read)
        self._expiry.seen(selection.session_id)
        return selection, over


def _after(request: _Request) -> int:
    if request.after_line < 0:
        fault = FieldFault("after_line", "negative")
        raise invalid("INVALID_LINE", "after_line must not be negative.", [fault])
    return request.after_line


def _is_last(block: LogBlock, selection: LogSelection) -> bool:
    return block.ends and block.job_id in {selection.job_id, ""}


def _from(after: int, block: LogBlock) -> int:
    """Return how many lines of a block stand no further than a position; it may be in the middle of the block."""
    return min(max(0, after + 1 - position(block, 0)), len(block.lines))


def _responses(
    blocks: Sequence[LogBlock], types: frozenset[LineType], start: int
) -> list[log_service_pb2.TailLogResponse]:
    """Return blocks, but for the first lines of the first one, as messages."""
    lines = _lines(blocks, types, start)
    return [
        log_service_pb2.TailLogResponse(lines=lines[place : place + MESSAGE_LINES])
        for place in range(0, len(lines), MESSAGE_LINES)
    ]


_shared_responses = functools.lru_cache(maxsize=SHARED_RESPONSES)(_responses)


def _lines(blocks: Sequence[LogBlock], types: frozenset[LineType], start: int) -> list[log_pb2.LogLine]:
    """Return the wanted lines of blocks, but for the first ones of the first block."""
    return [
        log_pb2.LogLine(
            position=position(block, place),
            number=block.first_line + place,
            type=_NUMBERS[line.type],
            create_time=convert.timestamp(line.time),
            job=convert.job_name(block.job_id),
            text=line.text,
        )
        for index, block in enumerate(blocks)
        for place, line in enumerate(block.lines)
        if (index or place >= start) and (not types or line.type in types)
    ]


def _line_types(asked: Sequence[int]) -> Iterator[LineType]:
    known = {int(number): kind for kind, number in _NUMBERS.items()}
    for number in asked:
        if number not in known:
            described = f"{number} is no type of line; wanted: {', '.join(known.values())}"
            raise invalid("INVALID_LINE_TYPE", f"types: {described}.", [FieldFault("types", described)])
        yield known[number]
