"""What every interceptor does: put a function around a handler, whatever its kind."""

from collections.abc import Callable
from typing import Any

import grpc

_MAKE = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def rewrapped(handler: Any, wrap: Callable[[Any], Any], *, parses: bool = False) -> Any:
    """Return a handler of the same kind whose behaviour is what `wrap` makes of the old one.

    With `parses` the new behaviour gets messages as bytes, and parses them itself.
    """
    inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return _MAKE[handler.request_streaming, handler.response_streaming](
        wrap(inner),
        request_deserializer=None if parses else handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
