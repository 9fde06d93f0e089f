"""How a worker process is started."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from scorestream_server.config import DEFAULT_GPU_MEMORY
from scorestream_server.workers import memory


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a worker process is to be.

    Attributes:
        device: by name, ``cpu`` or ``cuda:N``.
        gpu_memory: how much of its card's memory it may use; see `config.memory_budget`.
        task_memory: bytes that it may take for its tasks.
        inherited: file descriptors that it holds open as long as it lives.
        output_umask: of published outputs; all other files have the umask of this process.
        warm: whether it loads what only some jobs need before it is ready, too: sessions that find it wait for nothing.
        title: what the system's tools show as the process's name; empty: its command line.
    """

    device: str
    lanes: int
    gpu_memory: str = DEFAULT_GPU_MEMORY
    task_memory: int = memory.FLOOR
    inherited: Sequence[int] = ()
    output_umask: int = 0o022
    warm: bool = False
    title: str = ""


Launch = Callable[[WorkerSpec, int], Awaitable[asyncio.subprocess.Process]]
"""Starts a process that talks over the socket of this file descriptor."""


async def launch(spec: WorkerSpec, descriptor: int) -> asyncio.subprocess.Process:
    """Start a worker process that talks over the socket of this file descriptor.

    Raises:
        OSError: it could not be started.
    """
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scorestream_server.workers.process"),
        *("--socket", str(descriptor), "--device", spec.device, "--lanes", str(spec.lanes)),
        *("--gpu-memory", spec.gpu_memory),
        *("--output-umask", str(spec.output_umask)),
        *("--memory", str(spec.task_memory)),
        *(("--warm",) if spec.warm else ()),
        *(("--title", spec.title) if spec.title else ()),
        env={**os.environ, **memory.ENVIRONMENT},
        pass_fds=(descriptor, *spec.inherited),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        # Ctrl-C at the terminal is for the server, which then ends its workers in good order.
        start_new_session=True,
    )
