"""A server whose every answer a test writes, behind a real gRPC port.

For what the real server cannot be made to do at will: to break off in mid-stream, to be away for a moment,
to answer with each and every status code.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from scorestream.v1 import (
    data_service_pb2,
    device_service_pb2,
    file_service_pb2,
    job_service_pb2,
    model_service_pb2,
    session_service_pb2,
    table_service_pb2,
)

Handler = Callable[[Any, grpc.ServicerContext], Any]

SERVICES = [
    module.DESCRIPTOR.services_by_name[name]
    for module, name in [
        (session_service_pb2, "SessionService"),
        (job_service_pb2, "JobService"),
        (model_service_pb2, "ModelService"),
        (table_service_pb2, "TableService"),
        (device_service_pb2, "DeviceService"),
        (file_service_pb2, "FileService"),
        (data_service_pb2, "DataService"),
    ]
]


def abort(context: grpc.ServicerContext, code: str, message: str, *details: Any) -> Any:
    """End a call with a google.rpc.Status."""
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message, details=packed)
    context.abort_with_status(rpc_status.to_status(status))


class FakeServer:
    """A server that answers with what a test put into `on`, by the method's name, and counts.

    Attributes:
        on: handlers by method name; a method without one answers UNIMPLEMENTED.
        requests: every request of each method, in order.
        address: where it listens.
    """

    def __init__(self) -> None:
        self.on: dict[str, Handler] = {}
        self.requests: dict[str, list[Any]] = {}
        self.address = ""

    def handler(self, method: Any) -> grpc.RpcMethodHandler:
        """Return the handler of one method of a service descriptor."""
        kinds = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            if not method.client_streaming:
                self.requests.setdefault(method.name, []).append(request)
            if method.name not in self.on:
                abort(context, "UNIMPLEMENTED", f"no handler of {method.name}")
            return self.on[method.name](request, context)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            yield from answer(request, context)

        return kinds[method.client_streaming, method.server_streaming](
            stream if method.server_streaming else answer,
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
        )


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    """Run a fake server on a free port."""
    fake = FakeServer()
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    for service in SERVICES:
        handlers = {method.name: fake.handler(method) for method in service.methods}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service.full_name, handlers)])
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(grace=None).wait()
