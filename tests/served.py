"""Starting and stopping real servers for tests."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

import scorestream


@contextlib.contextmanager
def served(data_dir: Path, *flags: str) -> Iterator[tuple[scorestream.Client, psutil.Process]]:
    """Run a server with these flags, as an operator would, and connect to it."""
    command = [sys.executable, "-m", "scorestream_server", "--port", "0", "--data-dir", str(data_dir), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
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
