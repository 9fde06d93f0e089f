# Generated from aio/lease.py by tools/generate.py. Change that file, not this one.
"""Keeping a session open for as long as its client lives."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

import grpc

from scorestream import transport
from scorestream.errors import ScorestreamError
from scorestream.retry import Patience
from scorestream.v1 import session_service_pb2
from scorestream.wire import duration, error_from_rpc, retry_delay, session_name

from .connection import Connection

BEATS = 3
"""Requests within the time for which a lease holds, so that one that is late does no harm."""


class Lease:
    """Keeps a session open while the block runs, however long nothing else happens in it.

    Where the block ends, or this program dies, the lease lapses and the session's inactivity counts from then on.
    A lost connection is made again.

    Attributes:
        error: why the session is not kept open any more, for example because it ended; None while it is.
    """

    def __init__(self, connection: Connection, session_id: str, ttl: float) -> None:
        self._connection = connection
        self._ttl = ttl
        self._request = session_service_pb2.KeepSessionAliveRequest(
            name=session_name(session_id), ttl=duration(ttl, "ttl")
        )
        self._over = transport.Event()
        self._begun = transport.Event()
        self.error: ScorestreamError | None = None

    def __enter__(self) -> Self:
        self._task = transport.start(self._keep)
        self._begun.wait()
        if self.error is not None:
            transport.join(self._task)
            raise self.error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        transport.join(self._task)

    def wait(self) -> None:
        """Wait until the session is not kept open any more."""
        transport.join(self._task)

    def _keep(self) -> None:
        patience = Patience(self._connection.patience)
        while not self._over.is_set():
            try:
                for _ in self._connection.converse(
                    self._connection.sessions.KeepSessionAlive, self._requests()
                ):
                    patience.succeeded()
                    self._begun.set()
            except grpc.RpcError as error:
                pause = patience.pause(retry_delay(error))
                if pause is None:
                    self.error = error_from_rpc(error, self._connection.address)
                    self._begun.set()
                    return
                transport.wait(self._over, pause)

    def _requests(self) -> Iterator[session_service_pb2.KeepSessionAliveRequest]:
        while not self._over.is_set():
            yield self._request
            transport.wait(self._over, self._ttl / BEATS)
