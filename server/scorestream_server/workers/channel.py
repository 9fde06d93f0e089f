"""Messages over a socket between the server and a worker: a length, then MessagePack.

The server reads and writes without blocking (asyncio streams); a worker blocks.
"""

import contextlib
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING

import msgspec

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.messages import Alive, Command, DeviceLost, Leaving, Ready, Report, TaskFailed

if TYPE_CHECKING:  # each worker is imported anew, and has no event loop
    import asyncio

LARGEST_REPORT = 64 << 20
LARGEST_COMMAND = 128 << 20
"""Bytes of a message. What grows is the list of a table's parts, some 200 bytes each; it comes from a worker and
goes back to one with what a job adds."""

_LENGTH = struct.Struct("!I")
_encode = msgspec.msgpack.Encoder().encode
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


class MessageTooLargeError(Exception):
    """The other end announced a message that is larger than any that it may send."""

    def __init__(self, length: int, largest: int) -> None:
        super().__init__(f"announced a message of {length:,} bytes, where at most {largest:,} are taken")


class ServerEnd:
    """The server's end of the socket."""

    def __init__(self, reader: "asyncio.StreamReader", writer: "asyncio.StreamWriter") -> None:
        self._reader = reader
        self._writer = writer

    def send(self, command: Command) -> None:
        """Queue a command; a worker that is gone is noticed by `receive`.

        Raises:
            ScorestreamError: RESOURCE_EXHAUSTED, where it is larger than a worker takes.
        """
        body = _encode(command)
        if len(body) > LARGEST_COMMAND:
            raise _too_large(type(command).__name__, len(body), LARGEST_COMMAND)
        self._writer.write(_LENGTH.pack(len(body)) + body)

    async def receive(self) -> Report:
        """Return the next report.

        Raises:
            EOFError: the worker is gone.
            msgspec.DecodeError: the worker talks nonsense.
            MessageTooLargeError: the worker talks too much.
        """
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > LARGEST_REPORT:
                raise MessageTooLargeError(length, LARGEST_REPORT)
            return _reports.decode(await self._reader.readexactly(length))
        except ConnectionError as error:
            raise EOFError from error

    def close(self) -> None:
        """Let go of the socket; the worker sees the end of its input and ends."""
        self._writer.close()


class WorkerEnd:
    """The worker's end of the socket; lanes send from their own threads."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._input = end.makefile("rb")
        self._sending = threading.Lock()

    def send(self, report: Report) -> None:
        """Send a report; where the server is gone, `receive` tells. One that is too large becomes a failed task."""
        body = _encode(report)
        if len(body) > LARGEST_REPORT and not isinstance(report, Ready | Alive | DeviceLost | Leaving):
            error = _too_large(type(report).__name__, len(body), LARGEST_REPORT)
            body = _encode(TaskFailed(report.task_id, error.code.value, error.reason, error.message, (), {}))
        with self._sending, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(_LENGTH.pack(len(body)) + body)

    def wait_until_closed(self, seconds: float) -> None:
        """Wait, at most so long, until the server has let go of its end; on any thread."""
        poll = select.poll()
        poll.register(self._socket, 0)  # that the other end is closed is told in any case
        poll.poll(seconds * 1000)

    def receive(self) -> Command | None:
        """Return the next command, or None when the server is gone.

        Raises:
            MessageTooLargeError: what came is no command of this server.
        """
        try:
            header = self._input.read(_LENGTH.size)
        except ConnectionResetError:  # it went without reading what was sent to it
            return None
        if len(header) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack(header)
        if length > LARGEST_COMMAND:
            raise MessageTooLargeError(length, LARGEST_COMMAND)
        body = self._input.read(length)
        return _commands.decode(body) if len(body) == length else None


def _too_large(name: str, length: int, largest: int) -> ScorestreamError:
    return ScorestreamError(
        ErrorCode.RESOURCE_EXHAUSTED,
        "MESSAGE_TOO_LARGE",
        f"Server and workers cannot tell each other of this: {name} would have {length:,} bytes, at most "
        f"{largest:,} can be sent. The table has too many parts; write it to fewer and larger files or batches.",
    )
