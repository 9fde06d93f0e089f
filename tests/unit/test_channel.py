"""Messages between server and worker arrive as they were sent, and an end is seen as an end."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.job import Priority
from scorestream_server.domain.messages import (
    CancelTask,
    DeviceLost,
    LoadTable,
    ModelInspected,
    OpenJob,
    PartitionDone,
    Ready,
    RunPartition,
    TableLoaded,
    TaskFailed,
)
from scorestream_server.domain.model import ColumnType, Feature, ModelKind, ModelSchema, OutputColumn
from scorestream_server.domain.table import (
    FileFormat,
    Fragment,
    FragmentSlice,
    InputFile,
    Partition,
    PartitionFile,
    SourceFile,
    TableData,
)
from scorestream_server.workers import channel
from scorestream_server.workers.channel import (
    LARGEST_COMMAND,
    LARGEST_REPORT,
    MessageTooLargeError,
    ServerEnd,
    WorkerEnd,
)

SOURCE = SourceFile("/data/rows.arrow", 100, 123456789)
TABLE = TableData(
    (Fragment("/data/rows.arrow", FileFormat.ARROW, 0, 10, 80),),
    (SOURCE,),
    (SOURCE,),
    b"\xff\x00schema",
    10,
    FileFormat.ARROW,
    in_place=True,
)
COMMANDS = (
    OpenJob(
        "job", TABLE, "/m", ModelKind.TREELITE, "digest", "a = 'ü'", ("a",), ("b",), b"\x00", Priority.HIGH
    ),
    RunPartition(1, "job", Partition(0, 0, 10, (FragmentSlice(0, 0, 10),)), "/out"),
    LoadTable(2, (InputFile("/a"), InputFile("s3://b/c", "c", (("year", "2024"),), "region=x")), "/cache"),
    CancelTask(2),
)
SCHEMA = ModelSchema(
    ModelKind.LIGHTGBM, (Feature("a", ("x",)),), (OutputColumn("score", ColumnType.FLOAT64),), 2.5, "words"
)
REPORTS = (
    Ready("cpu", 2),
    PartitionDone(1, PartitionFile("/out", 10, 500, 2**32 - 1), 1, 0.25, 0.125, 800, 1 << 30, ("note",)),
    DeviceLost("cuda:0: gone"),
    ModelInspected(2, SCHEMA),
    TaskFailed(3, "NOT_FOUND", "REASON", "sentence", (("field", "fault"),), {"key": "value"}),
)


@contextlib.asynccontextmanager
async def ends() -> AsyncIterator[tuple[ServerEnd, WorkerEnd, socket.socket]]:
    """Give both ends, and the worker's bare socket."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    server, worker = ServerEnd(reader, writer), WorkerEnd(theirs)
    with theirs, worker._input:
        try:
            yield server, worker, theirs
        finally:
            server.close()
            await writer.wait_closed()


async def test_messages_arrive_as_they_were_sent() -> None:
    """Every command and every report survives the way, in order."""
    async with ends() as (server, worker, _):
        for command in COMMANDS:
            server.send(command)
        received = await asyncio.to_thread(lambda: [worker.receive() for _ in COMMANDS])
        for report in REPORTS:
            await asyncio.to_thread(worker.send, report)
        answers = [await server.receive() for _ in REPORTS]
    assert msgspec.json.encode(received) == msgspec.json.encode(COMMANDS)
    assert msgspec.json.encode(answers) == msgspec.json.encode(REPORTS)
    assert [type(one) for one in (*received, *answers)] == [type(one) for one in (*COMMANDS, *REPORTS)]


async def test_lanes_send_whole_messages_at_the_same_time() -> None:
    """Reports of several threads do not run into one another."""
    big = TaskFailed(7, "INTERNAL", "R", "x" * 100_000, (), {})
    async with ends() as (server, worker, _):
        threads = [threading.Thread(target=worker.send, args=(big,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        answers = [await server.receive() for _ in threads]
        for thread in threads:
            await asyncio.to_thread(thread.join)
    assert [msgspec.json.encode(answer) for answer in answers] == [msgspec.json.encode(big)] * len(threads)


async def test_a_worker_sees_that_the_server_is_gone() -> None:
    """It gets None, and ends."""
    async with ends() as (server, worker, _):
        server.close()
        assert await asyncio.to_thread(worker.receive) is None


async def test_the_server_sees_that_a_worker_is_gone() -> None:
    """It gets EOFError, and starts another."""
    async with ends() as (server, _, theirs):
        theirs.shutdown(socket.SHUT_RDWR)
        with pytest.raises(EOFError):
            await server.receive()


async def test_nonsense_is_refused() -> None:
    """Bytes that are no known message are an error, not an object."""
    async with ends() as (server, _, theirs):
        theirs.sendall((6).to_bytes(4, "big") + b"\x80\x04nons")
        with pytest.raises(msgspec.DecodeError):
            await server.receive()


async def test_a_worker_that_announces_too_much_is_not_listened_to() -> None:
    """The length alone is enough: nothing is read, and nothing is kept in memory."""
    async with ends() as (server, _, theirs):
        theirs.sendall((LARGEST_REPORT + 1).to_bytes(4, "big"))
        with pytest.raises(MessageTooLargeError, match=r"announced a message of 67,108,865 bytes"):
            await server.receive()


async def test_a_worker_takes_no_command_beyond_the_limit() -> None:
    async with ends() as (server, worker, _):
        server._writer.write((LARGEST_COMMAND + 1).to_bytes(4, "big"))
        with pytest.raises(MessageTooLargeError):
            await asyncio.to_thread(worker.receive)


async def test_a_report_that_is_too_large_becomes_a_failed_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client hears what to do, and the worker lives on."""
    monkeypatch.setattr(channel, "LARGEST_REPORT", 10_000)
    parts = tuple(Fragment("/data/rows.arrow", FileFormat.ARROW, part, 10, 80) for part in range(1000))
    async with ends() as (server, worker, _):
        await asyncio.to_thread(worker.send, TableLoaded(7, replace(TABLE, fragments=parts)))
        answer = await server.receive()
        assert isinstance(answer, TaskFailed)
        assert (answer.task_id, answer.code, answer.reason) == (7, "RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
        assert "TableLoaded would have" in answer.message
        assert "fewer and larger files" in answer.message
        await asyncio.to_thread(worker.send, REPORTS[1])
        assert isinstance(await server.receive(), PartitionDone)


async def test_a_command_that_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "LARGEST_COMMAND", 100)
    async with ends() as (server, worker, _):
        with pytest.raises(ScorestreamError, match="OpenJob would have"):
            server.send(COMMANDS[0])
        server.send(CancelTask(2))
        assert await asyncio.to_thread(worker.receive) == CancelTask(2)
