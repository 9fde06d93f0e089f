"""Flags and environment, as one frozen value that everything else is built from."""

import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from scorestream_server.domain.cache import CacheSize
from scorestream_server.domain.context import Context
from scorestream_server.domain.library import Library
from scorestream_server.domain.limits import Limits
from scorestream_server.domain.queue import Queue
from scorestream_server.domain.table import BackingStore

DEFAULT_PORT = 8500
MIB = 1 << 20
DEFAULT_GPU_MEMORY = "0.8"
DEFAULT_DRAIN_SECONDS = 30.0
DEFAULT_STALL_SECONDS = 600.0
SMALLEST_WORKER_MEMORY = 256 * MIB
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(MiB|GiB)?")
_UNITS = {"MiB": MIB, "GiB": 1024 * MIB}


class UnfitError(Exception):
    """A server cannot run as its flags say; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Config:
    """How this server is to run.

    Attributes:
        data_dir: everything that the server owns: database, models, caches, results.
        cache_dirs: folders for tables that are converted or uploaded; empty: one in `data_dir`.
        cache_size: how much all of them may take.
        data_roots: folders below which clients' paths may lie, for reading and writing, and URIs, as text, for reading;
            None lets every path through that the server's own user may use (a private server of one user).
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        devices: the device of each worker by name, ``cpu`` or ``cuda:N``.
        lanes: lanes of each worker.
        gpu_memory: how much of its card's memory a worker may use; see `memory_budget`.
        worker_memory: bytes that a worker may take for its tasks.
        stall_seconds: how long a task in a worker may take without a sign of progress.
        drain_seconds: how long the partitions in flight may take when the server is told to stop.
        private: end when standard input ends, because the process that started this one is gone.
        private_token: what the starter of a private server calls with; nobody else gets in.
        tls_cert: the server's certificate, with what leads to its CA, in PEM form; None: no TLS.
        tls_key: its key.
        tls_client_ca: certificates of the CAs whose certificates clients have to show; None: they show none.
        admins: names whose certificates make admins.
        max_message_bytes: largest gRPC message that is taken.
        limits: how much each principal may have and do at a time.
        max_task_timeout: seconds that any job may run, and so the most that a context may allow; 0 for ever.
        contexts: the built-in ones beside the default one.
        queues: those that the configuration file has.
        libraries: the global ones that the configuration file has.
        backing_store: where tables are mapped from unless their library or their load says otherwise.
    """

    data_dir: Path
    data_roots: tuple[Path | str, ...] | None
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    devices: tuple[str, ...] = ("cpu",)
    lanes: int = 1
    gpu_memory: str = DEFAULT_GPU_MEMORY
    worker_memory: int = 2048 * MIB
    stall_seconds: float = DEFAULT_STALL_SECONDS
    drain_seconds: float = DEFAULT_DRAIN_SECONDS
    private: bool = False
    private_token: str = field(default="", repr=False)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    admins: frozenset[str] = frozenset()
    max_message_bytes: int = 8 * MIB
    limits: Limits = field(default_factory=Limits)
    max_task_timeout: float = 0.0
    contexts: tuple[Context, ...] = ()
    queues: tuple[Queue, ...] = ()
    cache_dirs: tuple[Path, ...] = ()
    cache_size: CacheSize = field(default_factory=CacheSize)
    libraries: tuple[Library, ...] = ()
    backing_store: BackingStore = BackingStore.IN_PLACE_PREFERRED

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        host = self.host.removeprefix("[").removesuffix("]")
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def check_door(self, *, tokens: bool) -> None:
        """Refuse to let other machines in without knowing who they are, or where others could listen.

        Args:
            tokens: whether there are any.

        Raises:
            UnfitError: the flags to set.
        """
        if self.loopback:
            return
        wanted = f"--host {self.host} lets other machines in, for which"
        if self.tls_cert is None:
            raise UnfitError(f"{wanted} TLS is needed: give --tls-cert FILE and --tls-key FILE")
        if self.tls_client_ca is None and not tokens:
            raise UnfitError(
                f"{wanted} it must be known who calls: give --tls-client-ca FILE, or make a token first with: scorestream "
                f"token create NAME --role admin --data-dir {self.data_dir}"
            )


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lanes_of_worker(device: str, cores: int, workers: int) -> int:
    """Return how many lanes each of several workers should have.

    A lane of the CPU is a thread that computes, so there is one a core. A lane of a card is a thread that decodes and
    copies for it: three keep its copy engines and its processors busy together, and more only feed it faster.
    """
    share = cores // workers
    return max(1, share) if device == "cpu" else max(3, min(8, share))


def memory_budget(text: str, total: int) -> int:
    """Return how many bytes of a device's, or the machine's, memory a worker may use.

    Args:
        text: a fraction of that memory, such as ``0.5``, or an amount, such as ``8GiB`` or ``512 MiB``.
        total: bytes that there are.

    Raises:
        ValueError: it is neither, or it is nothing or more than the whole.
    """
    found = _MEMORY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no amount of memory; write a fraction such as 0.5, or 8GiB, or 512MiB")
    amount, unit = float(found[1]), found[2]
    if not unit and not 0 < amount <= 1:
        raise ValueError(
            f"{text!r} is no fraction of the memory: more than 0, at most 1; or write MiB or GiB"
        )
    size = int(amount * (_UNITS[unit] if unit else total))
    if not 0 < size <= total:
        raise ValueError(f"{text!r} is {size:,} bytes, and there are {total:,}")
    return size
