"""Processes that are killed at a step that a test names: the n-th time that they are about to change a file."""

import itertools
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scorestream_server.domain.table import Destination, PartitionFile
from scorestream_server.tables.publish import publish

CHANGES = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir"}
"""What Python tells its audit hooks of before it happens."""


def kill_at(step: int, folders: Sequence[Path]) -> None:
    """Have this process killed before its so-manieth change below these folders."""
    steps = itertools.count(1)
    watched = tuple(map(str, folders))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or not any(str(argument).startswith(watched) for argument in arguments[:2]):
            return
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def publish_and_die(
    step: int,
    folders: Sequence[Path],
    files: Sequence[PartitionFile],
    schema: bytes,
    destination: Destination,
    journal: Path,
    how: Mapping[str, Any],
) -> None:
    """Publish an output; the process of this is killed at a step, or ends well where there are fewer."""
    import pyarrow as pa  # noqa: PLC0415 - the process that this one is forked from has it, and keeps no threads

    kill_at(step, folders)
    publish(files, pa.ipc.read_schema(pa.py_buffer(schema)), destination, journal, **how)
