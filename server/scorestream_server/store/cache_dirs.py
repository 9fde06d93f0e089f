"""Cache directories: each is one store's, and one server's at a time."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from scorestream_server.domain.data_directory import DataDirectory, UnusableDirectoryError
from scorestream_server.store.owner import take_lock

MARKER = "scorestream-cache.json"


@contextlib.contextmanager
def claimed(directory: DataDirectory) -> Iterator[tuple[int, ...]]:
    """Have the cache directories while the block runs; gives the locks, which a process holds that inherits them.

    Those that are not there are made.

    Raises:
        UnusableDirectoryError: one is another server's or another store's, or holds what no server put there.
        OSError: one cannot be made or written.
    """
    for path in directory.cache_dirs:
        others = [other for other in (*directory.cache_dirs, directory.root) if other != path]
        inside = next((other for other in others if path.is_relative_to(other)), None)
        if inside is not None and path != directory.root / "cache":
            raise UnusableDirectoryError(
                f"The cache directory {path} lies in {inside}, which the server has for something else. Give another "
                "--cache-dir."
            )
    store = _store_id(directory.store_id)
    locks: list[int] = []
    try:
        for path in directory.cache_dirs:
            locks.append(_claim(path, store))  # noqa: PERF401  what was locked before a failure is let go
        yield tuple(locks)
    finally:
        for lock in locks:
            os.close(lock)


def _store_id(path: Path) -> str:
    """Return the name of a store, which is made where it has none."""
    with contextlib.suppress(FileNotFoundError):
        if found := path.read_text().strip():
            return found
    made = uuid.uuid4().hex
    temporary = path.with_suffix(".tmp")
    temporary.write_text(made)
    temporary.replace(path)
    return made


def _claim(path: Path, store: str) -> int:
    if not path.parent.is_dir():
        raise UnusableDirectoryError(
            f"The cache directory {path} cannot be made: {path.parent} is not there. Is a disk not mounted? Leave this "
            "--cache-dir out to start without it."
        )
    path.mkdir(exist_ok=True)
    marker = path / MARKER
    if not marker.exists() and any(path.iterdir()):
        raise UnusableDirectoryError(
            f"The cache directory {path} holds files that are no server's cache. Give an empty one, or a new one, as "
            "--cache-dir."
        )
    handle = os.open(marker, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        take_lock(handle, f"The cache directory {path}", "--cache-dir")
        _mark(handle, path, store)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _mark(handle: int, path: Path, store: str) -> None:
    told = os.pread(handle, 1000, 0)
    if told:
        try:
            found = str(json.loads(told)["store"])
        except (ValueError, KeyError, TypeError):
            found = ""
        if found != store:
            raise UnusableDirectoryError(
                f"The cache directory {path} belongs to another data directory. Nothing in it was changed. Give another "
                "--cache-dir, or remove this one if that data directory is gone."
            )
    text = json.dumps({"store": store, "pid": os.getpid(), "address": ""}).encode()
    try:
        os.pwrite(handle, text, 0)
        os.ftruncate(handle, len(text))
        os.fsync(handle)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path / MARKER)) from None
