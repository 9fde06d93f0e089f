"""Starting and stopping real servers for tests."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import psutil

import scorestream


@contextlib.contextmanager
def started(
    data_dir: Path,
    *flags: str,
    environment: Mapping[str, str] | None = None,
    python: Sequence[str] = (sys.executable,),
) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server with these flags, and these variables beside ours, as an operator would; gives its address.

    `python` is the command that runs Python.
    """
    command = [*python, "-m", "scorestream_server", "--port", "0", "--data-dir", str(data_dir), *flags]
    variables = {**os.environ, **(environment or {})}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=variables
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def served(
    data_dir: Path,
    *flags: str,
    environment: Mapping[str, str] | None = None,
    python: Sequence[str] = (sys.executable,),
) -> Iterator[tuple[scorestream.Client, psutil.Process]]:
    """Run a server as `started` does, and connect to it."""
    with (
        started(data_dir, *flags, environment=environment, python=python) as (address, process),
        scorestream.connect(address) as client,
    ):
        yield client, process


@contextlib.contextmanager
def raw_channel(client: scorestream.Client) -> Iterator[grpc.Channel]:
    """Open a channel of gRPC's own to a client's server, as the same principal."""
    with grpc.insecure_channel(client.address) as channel:
        yield with_metadata(channel, [("authorization", f"Bearer {client.token}")] if client.token else [])


def with_metadata(channel: grpc.Channel, metadata: Sequence[tuple[str, str]]) -> grpc.Channel:
    """Return a channel that sends this with every call."""
    return grpc.intercept_channel(channel, _Sending(metadata))


class _Sending(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]  # grpc ships no types
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]
):
    """Sends metadata with every call."""

    def __init__(self, metadata: Sequence[tuple[str, str]]) -> None:
        self._metadata = metadata

    def _intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details._replace(metadata=[*(details.metadata or ()), *self._metadata]), request)

    intercept_unary_unary = intercept_unary_stream = _intercept
    intercept_stream_unary = intercept_stream_stream = _intercept


def workers_of(server: psutil.Process) -> list[psutil.Process]:
    """Return the living worker processes of a server."""
    found = []
    for child in server.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it died meanwhile, or is a zombie
            if "scorestream_server.workers.process" in child.cmdline():
                found.append(child)
    return found
