"""What the blocking client asks of gRPC and of time. `transport_aio.py` has the same names for asyncio."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, ParamSpec, TypeVar

import grpc

from scorestream.access import Access
from scorestream.channel import channel_options

Given = ParamSpec("Given")
Result = TypeVar("Result")


def open_channel(address: str, access: Access) -> Any:
    """Return a channel to the server at `address`; nothing is sent yet."""
    if access.tls_ca is None:
        return grpc.insecure_channel(address, options=channel_options(address))
    credentials = grpc.ssl_channel_credentials(access.tls_ca, access.tls_key, access.tls_cert)
    return grpc.secure_channel(address, credentials, options=channel_options(address))


Event = threading.Event


def start(function: Callable[[], None]) -> threading.Thread:
    """Run a function beside everything else."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def join(thread: threading.Thread) -> None:
    """Wait until what `start` began has ended."""
    thread.join()


def wait(event: threading.Event, seconds: float) -> None:
    """Wait until an event is set, or a time is over."""
    event.wait(seconds)


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def run(function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """Call a function that blocks."""
    return function(*args, **kwargs)


def upload(method: Any, messages: Iterator[Any], metadata: Sequence[tuple[str, str]]) -> Any:
    """Send a stream of messages and return the answer.

    If `messages` raises, the stream is broken off, so that the server makes nothing of it, and the
    exception goes on to the caller.
    """
    faults: list[BaseException] = []
    started = threading.Event()

    def guarded() -> Iterator[Any]:
        started.wait()
        try:
            yield from messages
        except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread
            faults.append(error)
            call.cancel()

    call = method.future(guarded(), metadata=metadata)
    started.set()
    try:
        return call.result()
    except (grpc.RpcError, grpc.FutureCancelledError, CancelledError):
        if faults:
            raise faults[0] from None
        raise
    finally:
        call.cancel()
