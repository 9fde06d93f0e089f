"""A file that is received: there whole, or not at all."""

import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from scorestream.errors import AlreadyExistsError, InvalidArgumentError


class LocalFile:
    """A context manager that writes under a temporary name and gives the file its real one at the end.

    Args:
        path: the file.
        replace: whether what is there is replaced.

    Attributes:
        size: bytes written so far.

    Raises:
        AlreadyExistsError: there is a file, and `replace` is false.
        InvalidArgumentError: its directory is not there, or it is a directory itself.
    """

    def __init__(self, path: Path, *, replace: bool) -> None:
        self._path = path.absolute()
        self._replace = replace
        self._scratch = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex[:8]}.tmp")
        self.size = 0
        self._check()

    def __enter__(self) -> Self:
        self._file = self._scratch.open("xb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                # Somebody may have written there in the meantime.
                self._check()
                self._scratch.replace(self._path)
        finally:
            self._scratch.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Append a piece."""
        self._file.write(chunk)
        self.size += len(chunk)

    def _check(self) -> None:
        if self._path.is_dir() or not self._path.parent.is_dir():
            raise InvalidArgumentError(
                f"{self._path} cannot be written: it is a directory, or its directory is not there.",
                reason="BAD_TARGET",
            )
        if self._path.exists() and not self._replace:
            raise AlreadyExistsError(
                f"{self._path} is there already; use --replace to replace it.", reason="OUTPUT_EXISTS"
            )
