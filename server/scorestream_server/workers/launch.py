"""How a worker process is started."""

import asyncio
import errno
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scorestream_server.config import DEFAULT_GPU_MEMORY
from scorestream_server.domain.account import is_other
from scorestream_server.workers import memory
from scorestream_server.workers.run_as import FLAGS, guise


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
        run_as: the user that it runs as; empty: the server's.
        kernels: where workers that run as another user than the server's keep compiled kernels.
    """

    device: str
    lanes: int
    gpu_memory: str = DEFAULT_GPU_MEMORY
    task_memory: int = memory.FLOOR
    inherited: Sequence[int] = ()
    output_umask: int = 0o022
    warm: bool = False
    title: str = ""
    run_as: str = ""
    kernels: Path = Path()


Launch = Callable[[WorkerSpec, int], Awaitable[asyncio.subprocess.Process]]
"""Starts a process that talks over the socket of this file descriptor."""


async def launch(spec: WorkerSpec, descriptor: int) -> asyncio.subprocess.Process:
    """Start a worker process that talks over the socket of this file descriptor.

    Raises:
        OSError: it could not be started.
    """
    if not spec.run_as or not await asyncio.to_thread(is_other, spec.run_as):
        return await _start(spec, descriptor, os.environ)
    found = await asyncio.to_thread(guise, spec.run_as, spec.kernels)
    try:
        return await _start(spec, descriptor, found.variables, FLAGS, ("--secluded",), found.how())
    except PermissionError as error:
        if error.errno != errno.EACCES:
            raise
        told = f"user {spec.run_as!r} may not run {sys.executable}: install the server where everybody may read it"
        raise PermissionError(error.errno, told) from None


async def _start(
    spec: WorkerSpec,
    descriptor: int,
    variables: Mapping[str, str],
    flags: Sequence[str] = (),
    more: Sequence[str] = (),
    how: Mapping[str, Any] = MappingProxyType({}),
) -> asyncio.subprocess.Process:
    """Start it with these variables, flags of Python's, arguments of its own, and what else starts a process."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *flags, "-m", "scorestream_server.workers.process"),
        *("--socket", str(descriptor), "--device", spec.device, "--lanes", str(spec.lanes)),
        *("--gpu-memory", spec.gpu_memory),
        *("--output-umask", str(spec.output_umask)),
        *("--memory", str(spec.task_memory)),
        *(("--warm",) if spec.warm else ()),
        *(("--title", spec.title) if spec.title else ()),
        *more,
        env={**variables, **memory.ENVIRONMENT},
        pass_fds=(descriptor, *spec.inherited),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        # Ctrl-C at the terminal is for the server, which then ends its workers in good order.
        start_new_session=True,
        **how,
    )
