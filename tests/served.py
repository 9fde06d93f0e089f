"""Starting and stopping real servers for tests."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

import scorestream


@contextlib.contextmanager
def served(
    data_dir: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[scorestream.Client, psutil.Process]]:
    """Run a server with these flags, and these variables beside ours, as an operator would; connect to it."""
    command = [sys.executable, "-m", "scorestream_server", "--port", "0", "--data-dir", str(data_dir), *flags]
    variables = {**os.environ, **(environment or {})}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=variables
    ) as process:
        try:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())["address"]
            with scorestream.connect(address) as client:
                yield client, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def workers_of(server: psutil.Process) -> list[psutil.Process]:
    """Return the living worker processes of a server."""
    found = []
    for child in server.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it died meanwhile, or is a zombie
            if "scorestream_server.workers.process" in child.cmdline():
                found.append(child)
    return found
