"""What the asyncio client asks of gRPC and of time. `transport.py` has the same names for blocking use."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import grpc
import grpc.aio

from scorestream.channel import channel_options

Given = ParamSpec("Given")
Result = TypeVar("Result")


def open_channel(address: str) -> Any:
    """Return a channel to the server at `address`; nothing is sent yet."""
    return grpc.aio.insecure_channel(address, options=channel_options(address))


async def sleep(seconds: float) -> None:
    """Wait."""
    await asyncio.sleep(seconds)


async def run(function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """Call a function that blocks, off the event loop."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def upload(method: Any, messages: Iterator[Any]) -> Any:
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

    call = method(guarded())
    try:
        return await call
    except (grpc.RpcError, asyncio.CancelledError):
        if faults:
            raise faults[0] from None
        raise
    finally:
        call.cancel()
