"""The door's other side: what went wrong inside becomes a gRPC status with details, in one place."""

import asyncio
import functools
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NoReturn
from urllib.parse import quote

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from scorestream_server.api.interceptor import rewrapped
from scorestream_server.domain.disk import disk_error
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, invalid

logger = logging.getLogger(__name__)

DOMAIN = "scorestream"
DETAILS_KEY = "grpc-status-details-bin"

# A status travels in trailers, of which clients take 8 KiB by default; past that they drop all of it.
# The message is there percent-encoded, and once more within the details, which may be sent as base64.
TRAILER_BYTES = 7800
MESSAGE_BYTES = 2000
_METADATA_BYTES = 300
_AND_MORE_BYTES = 100
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def to_status(error: ScorestreamError) -> status_pb2.Status:
    """Return the `google.rpc.Status` of an error: ErrorInfo always, BadRequest and RetryInfo where they say something.

    It is as large as every client takes: long texts are cut, and of many faults the last says how many more
    there are.
    """
    message = _cut(error.message, MESSAGE_BYTES)
    metadata = {key: _cut(value, _METADATA_BYTES) for key, value in error.metadata.items()}
    status = status_pb2.Status(code=grpc.StatusCode[error.code.value].value[0], message=message)
    _add(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if error.code is ErrorCode.FAILED_PRECONDITION:
        violation = error_details_pb2.PreconditionFailure.Violation(
            type=error.reason,
            subject=next(iter(metadata.values()), ""),
            description=_cut(message, MESSAGE_BYTES // 4),
        )
        _add(status, error_details_pb2.PreconditionFailure(violations=[violation]))
    if error.retry_seconds:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_seconds * 1000))
        _add(status, retry)
    if error.faults:
        most_bytes = (TRAILER_BYTES - len(quote(message, _PLAIN))) * 3 // 4
        _add(status, _violations(error.faults, most_bytes - status.ByteSize()))
    return status


def _add(status: status_pb2.Status, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _violations(faults: Sequence[FieldFault], most_bytes: int) -> error_details_pb2.BadRequest:
    """Return as many faults as there is room for, and how many are left out."""
    request, size = error_details_pb2.BadRequest(), _AND_MORE_BYTES
    for place, fault in enumerate(faults):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(fault.field, MESSAGE_BYTES // 4),
            description=_cut(fault.description, MESSAGE_BYTES // 4),
        )
        size += violation.ByteSize() + 3  # its tag and length
        if size > most_bytes:
            request.field_violations.add(description=f"and {len(faults) - place:,} more")
            break
        request.field_violations.append(violation)
    return request


def _cut(text: str, most_bytes: int) -> str:
    """Return as much of a text as takes so many bytes percent-encoded, as gRPC sends messages."""
    if len(text) * 12 <= most_bytes or len(quote(text, _PLAIN)) <= most_bytes:
        return text
    size = 0
    for place, character in enumerate(text):
        size += len(quote(character, _PLAIN))
        if size > most_bytes - len("..."):
            return text[:place] + "..."
    return text


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    if isinstance(error, OSError):
        error = disk_error(error) or error
    if not isinstance(error, ScorestreamError):
        # The client gets a number to quote; what happened is for the server's log alone.
        incident = uuid.uuid4().hex[:12]
        logger.error("unexpected fault, incident %s", incident, exc_info=error)
        message = f"The server met an unexpected fault; its log has it under incident {incident}."
        error = ScorestreamError(
            ErrorCode.INTERNAL, "UNEXPECTED_FAULT", message, metadata={"incident": incident}
        )
    status = to_status(error)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    await context.abort(grpc.StatusCode[error.code.value], status.message)
    raise AssertionError  # abort always raises


class ErrorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Turns every exception of every handler into a status. `CancelledError` passes: grpc.aio needs it.

    It also parses messages, because gRPC answers UNKNOWN to one that is damaged, and refuses those over the limit
    before, with a status that says so; gRPC's own limit, which answers without details, lies higher.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self._limit = max_message_bytes
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler, wrapped, with what the interceptors behind this one put around it: once a method."""
        method = handler_call_details.method
        if method in self._wrapped:
            return self._wrapped[method]
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        parse = functools.partial(self._parsed, handler.request_deserializer)
        parsed = functools.partial(_parsed_stream, parse) if handler.request_streaming else parse
        wrap = _wrap_stream if handler.response_streaming else _wrap_unary
        wrapped = rewrapped(handler, lambda inner: wrap(inner, parsed), parses=True)
        self._wrapped[method] = wrapped
        return wrapped

    def _parsed(self, parse: Callable[[bytes], Any], data: bytes) -> Any:
        size = len(data)
        if size > self._limit:
            raise ScorestreamError(
                ErrorCode.RESOURCE_EXHAUSTED,
                "MESSAGE_TOO_LARGE",
                f"A message of {size} bytes was sent; at most {self._limit} are taken. Send rows and files in "
                "pieces of 1 to 2 MiB.",
                metadata={"limit": str(self._limit)},
            )
        try:
            return parse(data)
        except DecodeError as error:
            raise invalid(
                "MALFORMED_MESSAGE",
                f"The message is not one of this method's ({error}). Make clients from the server's own .proto files.",
            ) from None


async def _parsed_stream(parse: Callable[[bytes], Any], messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in messages:
        yield parse(data)


def _wrap_unary(
    inner: Callable[[Any, Any], Awaitable[Any]], parsed: Callable[[Any], Any]
) -> Callable[[Any, Any], Awaitable[Any]]:
    async def call(request: Any, context: Any) -> Any:
        try:
            return await inner(parsed(request), context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:  # noqa: BLE001  # this is the one place where every fault becomes a status
            await _abort(context, error)

    return call


def _wrap_stream(
    inner: Callable[[Any, Any], AsyncIterator[Any]], parsed: Callable[[Any], Any]
) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def call(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for response in inner(parsed(request), context):
                yield response
        except (asyncio.CancelledError, GeneratorExit, grpc.aio.AbortError):
            raise
        except Exception as error:  # noqa: BLE001  # as above
            await _abort(context, error)

    return call
