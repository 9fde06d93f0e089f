"""What the asyncio client asks of gRPC and of time. `transport.py` has the same names for blocking use."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

import grpc
import grpc.aio

from scorestream.access import Access
from scorestream.channel import channel_options

Given = ParamSpec("Given")
Result = TypeVar("Result")


def open_channel(address: str, access: Access) -> Any:
    """Return a channel to the server at `address`; nothing is sent yet."""
    if access.tls_ca is None:
        return grpc.aio.insecure_channel(address, options=channel_options(address))
    credentials = grpc.ssl_channel_credentials(access.tls_ca, access.tls_key, access.tls_cert)
    return grpc.aio.secure_channel(address, credentials, options=channel_options(address))


Event = asyncio.Event


def start(function: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    """Run a function beside everything else."""
    return asyncio.create_task(function())


async def join(task: asyncio.Task[None]) -> None:
    """Wait until what `start` began has ended."""
    await task


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Wait until an event is set, or a time is over."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


async def sleep(seconds: float) -> None:
    """Wait."""
    await asyncio.sleep(seconds)


async def run(function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """Call a function that blocks, off the event loop."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def upload(method: Any, messages: Iterator[Any], metadata: Sequence[tuple[str, str]]) -> Any:
    """Send a stream of messages, made off the event loop, and return the answer.

    If `messages` raises, the stream is broken off, so that the server makes nothing of it, and the
    exception goes on to the caller.
    """
    faults: list[BaseException] = []

    async def guarded() -> AsyncIterator[Any]:
        try:
            while (message := await asyncio.to_thread(next, messages, None)) is not None:
                yield message
        except Exception as error:  # noqa: BLE001 - raised again below, by the caller's task
            faults.append(error)
            call.cancel()

    call = method(guarded(), metadata=metadata)
    try:
        return await call
    except (grpc.RpcError, asyncio.CancelledError):
        if faults:
            raise faults[0] from None
        raise
    finally:
        call.cancel()
