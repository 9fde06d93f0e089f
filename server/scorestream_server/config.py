"""Flags and environment, as one frozen value that everything else is built from."""

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 8500
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Config:
    """How this server is to run.

    Attributes:
        data_dir: everything that the server owns: database, models, caches, results.
        data_roots: folders below which clients' paths may lie, for reading and writing; None lets every
            path through that the server's own user may use (a private server of one user).
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        devices: the device of each worker by name, ``cpu`` or ``cuda:N``.
        lanes: lanes of each worker.
        private: end when standard input ends, because the process that started this one is gone.
        max_message_bytes: largest gRPC message that is taken.
        max_model_bytes: largest model file that is taken.
        max_upload_bytes: most bytes of rows that one upload may hold.
    """

    data_dir: Path
    data_roots: tuple[Path, ...] | None
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    devices: tuple[str, ...] = ("cpu",)
    lanes: int = 1
    private: bool = False
    max_message_bytes: int = 8 * MIB
    max_model_bytes: int = 2048 * MIB
    max_upload_bytes: int = 64 * 1024 * MIB


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
