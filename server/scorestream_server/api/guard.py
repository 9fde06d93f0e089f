"""The guard: no call gets past it without an identity, and what a call changes is written down here."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from scorestream_server.api import audit
from scorestream_server.api.auth import Context
from scorestream_server.api.identity import TRUST_SECONDS, Identifier
from scorestream_server.api.interceptor import rewrapped
from scorestream_server.api.traffic import Traffic
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.limits import Limits

OPEN_TO_ALL = "/grpc.health.v1.Health/"
FOR_ADMINS = "/scorestream.v1.TokenService/"
_REFUSALS = {ErrorCode.UNAUTHENTICATED.value, ErrorCode.PERMISSION_DENIED.value}


@dataclass
class _Record:
    """What a call was about, as far as that is known."""

    resource: str = ""


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Gives each handler a `Context` in the place of gRPC's; only health checks may be made by anybody."""

    def __init__(self, identifier: Identifier, limits: Limits) -> None:
        self._identifier = identifier
        self._traffic = Traffic(limits)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler, guarded."""
        handler, method = await continuation(handler_call_details), handler_call_details.method
        if handler is None or method.startswith(OPEN_TO_ALL):
            return handler
        guarded = self._guarded_stream if handler.response_streaming else self._guarded
        return rewrapped(handler, functools.partial(guarded, method))

    def _guarded(
        self, method: str, inner: Callable[[Any, Any], Awaitable[Any]]
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        async def call(request: Any, context: Any) -> Any:
            caller = await self._admit(method, context)
            with (
                _recorded(method, caller) as record,
                self._traffic.counted(caller.principal.name, stream=False),
            ):
                response = await inner(_noted(request, record), caller)
                record.resource = audit.resource_of(response) or record.resource
                return response

        return call

    def _guarded_stream(
        self, method: str, inner: Callable[[Any, Any], AsyncIterator[Any]]
    ) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            caller = await self._admit(method, context)
            admitted = time.monotonic()
            with (
                _recorded(method, caller) as record,
                self._traffic.counted(caller.principal.name, stream=True),
            ):
                async with contextlib.aclosing(inner(_noted(request, record), caller)) as responses:  # type: ignore[type-var]  # each is a generator
                    async for response in responses:
                        # A stream may last for days, and its token be revoked meanwhile.
                        if time.monotonic() - admitted >= TRUST_SECONDS:
                            await self._admit(method, context)
                            admitted = time.monotonic()
                        yield response

        return call

    async def _admit(self, method: str, context: Any) -> Context:
        """Return the caller, if anybody and if they may call this."""
        try:
            caller = Context(await self._identifier.identify(context), context.peer())
        except ScorestreamError as error:
            audit.tell(method, "", context.peer(), "", error.code.value, error.reason)
            raise
        if method.startswith(FOR_ADMINS) and not caller.principal.admin:
            refusal = ScorestreamError(
                ErrorCode.PERMISSION_DENIED,
                "ADMINS_ONLY",
                f"Tokens are for admins, and {caller.principal.name!r} is a user; ask an admin.",
            )
            audit.tell(method, caller.principal.name, caller.peer, "", refusal.code.value, refusal.reason)
            raise refusal
        return caller


@contextlib.contextmanager
def _recorded(method: str, caller: Context) -> Iterator[_Record]:
    """Write down what came of a call."""
    record, outcome, reason = _Record(), "OK", ""
    try:
        yield record
    except ScorestreamError as error:
        outcome, reason = error.code.value, error.reason
        raise
    except (asyncio.CancelledError, GeneratorExit):
        outcome = ErrorCode.CANCELLED.value
        raise
    except Exception:
        outcome = ErrorCode.INTERNAL.value
        raise
    finally:
        if audit.changes_something(method) or outcome in _REFUSALS:
            audit.tell(method, caller.principal.name, caller.peer, record.resource, outcome, reason)


def _noted(request: Any, record: _Record) -> Any:
    """Return a request, or a stream of them, and note what it is about."""
    if not hasattr(request, "__aiter__"):
        record.resource = audit.resource_of(request)
        return request

    async def messages() -> AsyncIterator[Any]:
        async for message in request:
            record.resource = record.resource or audit.resource_of(message)
            yield message

    return messages()
