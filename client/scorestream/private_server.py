"""A server of one's own: a child process that lives no longer than the client that started it."""

import importlib.util
import json
import os
import secrets
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from scorestream.errors import FailedPreconditionError, InvalidArgumentError, UnavailableError

START_SECONDS = 120.0
STOP_SECONDS = 15.0
SERVER_NEEDS = (
    "alembic",
    "grpc_health",
    "grpc_reflection",
    "msgspec",
    "numba",
    "psutil",
    "pynvml",
    "sqlalchemy",
    "sqlglot",
    "treelite",
)
LOG_TAIL_LINES = 20
WRONG_USAGE = 2
UNUSABLE_DIRECTORY = 3


def require_server() -> None:
    """Raise FailedPreconditionError where the server's dependencies are not installed."""
    missing = [name for name in SERVER_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise FailedPreconditionError(
            f"A server cannot run here because {', '.join(missing)} is not installed. Install it with: "
            f"pip install 'scorestream[server]'",
            reason="SERVER_NOT_INSTALLED",
        )


class PrivateServer:
    """A server process on a free port of this machine, which takes calls of this program alone.

    Others on this machine can find the port; what they cannot know is the token, which is made here and given to the
    server through its standard input. It stops when it is told to, and also when this process dies, because it watches its standard input.

    Args:
        data_dir: where it keeps its state; None: a temporary directory that is removed in the end.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: number of worker processes; None: the server decides.

    Attributes:
        address: where it listens, ``127.0.0.1:PORT``.
        token: what it is called with.
        data_dir: where its state and its log (``server.log``) are.

    Raises:
        FailedPreconditionError: its dependencies are not installed, or it cannot serve from `data_dir`.
        InvalidArgumentError: it refused `device` or `workers`.
        UnavailableError: it did not start; the message ends with its last words.
    """

    def __init__(
        self, data_dir: str | Path | None = None, device: str = "auto", workers: int | None = None
    ) -> None:
        require_server()
        temporary = data_dir is None
        directory = Path(tempfile.mkdtemp(prefix="scorestream-") if data_dir is None else data_dir).absolute()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data_dir = directory
        log = directory / "server.log"
        command = [
            sys.executable,
            "-m",
            "scorestream_server",
            "--private",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
        ]
        command += ["--data-dir", str(directory), "--device", device]
        command += [] if workers is None else ["--workers", str(workers)]
        self.token = secrets.token_urlsafe(32)
        process = _spawn(command, log)
        self._stop = weakref.finalize(self, _stop, process, directory if temporary else None)
        try:
            _hand_over(process, self.token)
            self.address = _address(process, log)
        except BaseException:
            self._stop()
            raise

    def stop(self) -> None:
        """Stop the server and wait until it is gone. A second call does nothing."""
        self._stop()


def _spawn(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start the server."""
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as words:
        return subprocess.Popen(  # noqa: S603 - our own module, run by this very interpreter
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            bufsize=0,
            # Ctrl-C at the terminal is for the client, which then ends the server in good order.
            start_new_session=True,
        )


def _hand_over(process: subprocess.Popen[bytes], token: str) -> None:
    """Tell the server the token, by the one way on which nobody can look."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):  # it has ended already, and has said why
            process.stdin.write(f"{token}\n".encode())


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the one JSON line that the server prints when it is ready, and return its address."""
    line = _first_line(process, time.monotonic() + START_SECONDS)
    try:
        return str(json.loads(line)["address"])
    except (ValueError, KeyError, TypeError):
        process.kill()
        process.wait()
        if process.returncode == WRONG_USAGE:
            # argparse's last line is the reason; what stands before it is about flags that nobody typed.
            raise InvalidArgumentError(
                "The private server did not start: "
                + log.read_text(errors="replace").rpartition("error: ")[2].strip(),
                reason="SERVER_REFUSED",
            ) from None
        if process.returncode == UNUSABLE_DIRECTORY:
            raise FailedPreconditionError(
                log.read_text(errors="replace").rpartition("scorestream serve: ")[2].strip(),
                reason="DATA_DIRECTORY_UNUSABLE",
            ) from None
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
        how = (
            f"it ended with code {process.returncode}"
            if process.returncode >= 0
            else "it did not say that it was ready"
        )
        raise UnavailableError(
            f"The private server did not start: {how}. Its last words:\n{tail or '(none)'}",
            reason="SERVER_DID_NOT_START",
        ) from None


def _first_line(process: subprocess.Popen[bytes], until: float) -> bytes:
    """Return the first line of a process's standard output, or what there is of it at its end or at `until`."""
    line = b""
    if process.stdout is None:
        return line
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not selector.select(left):
                break
            byte = process.stdout.read(1)
            if not byte:
                # Its end is near; wait for the exit code.
                process.wait(STOP_SECONDS)
                break
            line += byte
    return line


def _stop(process: subprocess.Popen[bytes], temporary: Path | None) -> None:
    """End the process, politely first, and remove its directory if it was a temporary one.

    A Ctrl-C meanwhile makes it less polite, and is raised when all is done.
    """
    interrupted: KeyboardInterrupt | None = None
    if process.stdin is not None:
        process.stdin.close()
    for harder in (process.terminate, process.kill, None):
        try:
            process.wait(STOP_SECONDS if harder else None)
            break
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            interrupted = error if isinstance(error, KeyboardInterrupt) else interrupted
            if harder is not None:
                harder()
    if process.stdout is not None:
        process.stdout.close()
    if temporary is not None:
        shutil.rmtree(temporary, ignore_errors=True)
    if interrupted is not None:
        raise interrupted
