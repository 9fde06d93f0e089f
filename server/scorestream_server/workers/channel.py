"""Messages over a socket between the server and a worker: a length, then MessagePack.

The server reads and writes without blocking (asyncio streams); a worker blocks.
"""

import asyncio
import contextlib
import select
import socket
import struct
import threading

import msgspec

from scorestream_server.domain.messages import Command, Report

_LENGTH = struct.Struct("!I")
_encode = msgspec.msgpack.Encoder().encode
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


class ServerEnd:
    """The server's end of the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, command: Command) -> None:
        """Queue a command; a worker that is gone is noticed by `receive`."""
        body = _encode(command)
        self._writer.write(_LENGTH.pack(len(body)) + body)

    async def receive(self) -> Report:
        """Return the next report.

        Raises:
            EOFError: the worker is gone.
            msgspec.DecodeError: the worker talks nonsense.
        """
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return _reports.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
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
        """Send a report; where the server is gone, `receive` tells."""
        body = _encode(report)
        with self._sending, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(_LENGTH.pack(len(body)) + body)

    def wait_until_closed(self, seconds: float) -> None:
        """Wait, at most so long, until the server has let go of its end; on any thread."""
        poll = select.poll()
        poll.register(self._socket, 0)  # that the other end is closed is told in any case
        poll.poll(seconds * 1000)

    def receive(self) -> Command | None:
        """Return the next command, or None when the server is gone."""
        header = self._input.read(_LENGTH.size)
        if len(header) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack(header)
        body = self._input.read(length)
        return _commands.decode(body) if len(body) == length else None
