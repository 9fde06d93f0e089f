"""gRPC's handlers, taken apart and put together again: what interceptors do to each of them."""

from collections.abc import Callable
from typing import Any

import grpc


def behaviour_of(handler: Any) -> Callable[[Any, Any], Any]:
    """Return the function that answers."""
    found: Callable[[Any, Any], Any] = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    return found


def with_behaviour(handler: Any, behaviour: Callable[[Any, Any], Any]) -> Any:
    """Return a handler like this one that answers by another function."""
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return make(
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
