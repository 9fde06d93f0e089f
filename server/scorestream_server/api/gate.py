"""The gate: so many calls at a time and no more. A server that is told to stop closes it, and lets go what waits.

Whoever is let go gets UNAVAILABLE, so that clients come back to the next server and go on where they were; a
status that gRPC makes of a broken connection would not always say so.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from scorestream_server.api.interceptor import rewrapped
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.limits import exhausted

RETRY_SECONDS = 1.0
_OPEN_ALWAYS = "/grpc."
"""Health and reflection: a load balancer must be able to ask."""


@dataclass(eq=False)
class _Call:
    """A call that is being answered; `inside` while it runs our code, and not gRPC's."""

    task: asyncio.Task[Any] | None
    inside: bool = True
    let_go: bool = False

    def end(self) -> None:
        if self.inside and not self.let_go and self.task is not None:
            self.let_go = True
            self.task.cancel()


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Keeps account of the calls that are being answered; used on the event loop only."""

    def __init__(self, most: int) -> None:
        """Let in so many calls at a time, of everybody."""
        self._most = most
        self._closed = False
        self._answers: set[_Call] = set()
        self._streams: set[_Call] = set()

    def close(self) -> None:
        """Refuse new calls, and end the streams of answers, which would never end by themselves."""
        self._closed = True
        for call in tuple(self._streams):
            call.end()

    def let_go(self) -> None:
        """End the other calls, too."""
        for call in tuple(self._answers):
            call.end()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler, wrapped."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_OPEN_ALWAYS):
            return handler
        return rewrapped(handler, self._stream if handler.response_streaming else self._answer)

    def _answer(self, inner: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def answer(request: Any, context: Any) -> Any:
            with self._counted(self._answers) as call, _let_go_told(call):
                return await inner(request, context)

        return answer

    def _stream(
        self, inner: Callable[[Any, Any], AsyncIterator[Any]]
    ) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._counted(self._streams) as call:
                responses = inner(request, context)
                async with contextlib.aclosing(responses):  # type: ignore[type-var]  # handlers are generators
                    while True:
                        call.inside = True
                        with _let_go_told(call):
                            response = await anext(responses, None)
                        if response is None:
                            return
                        call.inside = False
                        yield response
                        if self._closed:
                            raise _stopping()

        return stream

    @contextlib.contextmanager
    def _counted(self, calls: set[_Call]) -> Any:
        if self._closed:
            raise _stopping()
        if len(self._answers) + len(self._streams) >= self._most:
            raise _busy(self._most)
        call = _Call(asyncio.current_task())
        calls.add(call)
        try:
            yield call
        finally:
            calls.discard(call)


@contextlib.contextmanager
def _let_go_told(call: _Call) -> Any:
    """Make UNAVAILABLE of a cancellation that came from the gate; a client's own passes."""
    try:
        yield
    except asyncio.CancelledError:
        if call.let_go and call.task is not None and call.task.uncancel() == 0:
            raise _stopping() from None
        raise


def _busy(most: int) -> ScorestreamError:
    what = f"The server has {most:,} calls in progress, as many as it takes."
    return exhausted("SERVER_BUSY", "all_calls", most, what, "Try again in a moment.", RETRY_SECONDS)


def _stopping() -> ScorestreamError:
    return ScorestreamError(
        ErrorCode.UNAVAILABLE,
        "SERVER_STOPPING",
        "The server is stopping; its jobs go on when it is started again. Try again in a moment.",
        retry_seconds=RETRY_SECONDS,
    )
