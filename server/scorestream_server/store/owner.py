"""The one server that a data directory belongs to at a time."""

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from scorestream_server.domain.data_directory import DataDirectory, UnusableDirectoryError
from scorestream_server.store.mounts import Mount, current_mounts, mount_of

ORPHAN_SECONDS = 10.0
"""How long the workers of a server that was killed may take to notice it and end."""
_LOOK_AGAIN_SECONDS = 0.05


class Ownership:
    """The lock on a data directory, held until the process ends, or `release`.

    It is the kernel's lock on a file (``flock``), so it goes with the last process that holds it. Workers
    inherit it: as long as one that a killed server left behind may still write, nobody else begins.

    Args:
        directory: the data directory; made if it is not there.
        mounts: the file systems of this machine.

    Raises:
        UnusableDirectoryError: another server has it, or it lies on a network file system.
        OSError: it cannot be made or written.
    """

    def __init__(self, directory: DataDirectory, mounts: Iterable[Mount] | None = None) -> None:
        _refuse_network(directory.root, current_mounts() if mounts is None else mounts)
        directory.root.mkdir(parents=True, exist_ok=True)
        self._path = directory.lock
        # Not to be written by: workers inherit it, those too that run as another user.
        self.descriptor = os.open(directory.lock, os.O_RDONLY | os.O_CREAT, 0o600)
        try:
            take_lock(self.descriptor, f"The data directory {directory.root}", "--data-dir")
            self.tell("")
        except BaseException:
            os.close(self.descriptor)
            raise

    def tell(self, address: str) -> None:
        """Write down who the owner is: this process, and the address that it serves on."""
        text = json.dumps({"pid": os.getpid(), "address": address}).encode()
        try:
            with self._path.open("r+b", buffering=0) as file:
                file.write(text)
                file.truncate()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def release(self) -> None:
        """Give the directory up."""
        os.close(self.descriptor)


@contextlib.contextmanager
def owned(directory: DataDirectory) -> Iterator[Ownership]:
    """Own a data directory while the block runs; see `Ownership`."""
    ownership = Ownership(directory)
    try:
        yield ownership
    finally:
        ownership.release()


def _refuse_network(root: Path, mounts: Iterable[Mount]) -> None:
    mount = mount_of(root.resolve(), mounts)
    if mount is not None and mount.network:
        raise UnusableDirectoryError(
            f"The data directory {root} lies on a network file system ({mount.type}, {mount.source} on "
            f"{mount.point}). The store's write-ahead log is not safe there: a power cut, or a second machine, "
            "could damage it. Give a --data-dir on a local disk; inputs and outputs may stay on the network."
        )


def take_lock(descriptor: int, what: str, flag: str) -> None:
    """Lock a file in which the owner of a directory wrote down who it is.

    Args:
        descriptor: of the file.
        what: the directory, as the beginning of a sentence.
        flag: that names another one.

    Raises:
        UnusableDirectoryError: another server has it.
    """
    until = time.monotonic() + ORPHAN_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
        else:
            return
        pid, address = _owner(descriptor)
        alive = pid is None or _alive(pid)
        if alive or time.monotonic() > until:
            who = "another server" if pid is None else f"the server of process {pid}"
            where = f" at {address}" if address else ""
            gone = (
                "" if alive else ", or by a worker that it left behind (the process itself is not to be seen)"
            )
            raise UnusableDirectoryError(
                f"{what} is in use by {who}{where}{gone}. Stop that one first, or give another {flag}."
            )
        time.sleep(_LOOK_AGAIN_SECONDS)


def _owner(descriptor: int) -> tuple[int | None, str]:
    """Return the pid and the address that the owner wrote down, as far as it has."""
    try:
        told = json.loads(os.pread(descriptor, 1000, 0))
        return int(told["pid"]), str(told["address"])
    except (ValueError, KeyError, TypeError):
        return None, ""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
