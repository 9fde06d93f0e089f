"""What a disk refuses, as errors that a person can act on."""

import errno
import os

from scorestream_server.domain.account import own_name
from scorestream_server.domain.errors import ErrorCode, ScorestreamError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_FAILED = {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE}


class StorageError(ScorestreamError):
    """The disk's trouble, whoever asked for what: it may work again later."""


def disk_error(error: OSError, path: object = None) -> StorageError | None:
    """Return what to tell of a failed call on a file; None where it is no trouble of the disk.

    Args:
        error: what was raised.
        path: the file or folder that it is about; None: the one that the error names, if it does.
    """
    place = error.filename if path is None else path
    named = "the server's files" if place is None else repr(str(place))
    metadata = {} if place is None else {"path": str(place)}
    number = _number(error)
    if number in _FULL:
        return full_disk(named, metadata)
    if number in _FORBIDDEN:
        message = f"User {own_name()!r}, as whom this runs, may not write {named}. Change the directory's permissions."
        return StorageError(ErrorCode.PERMISSION_DENIED, "DIRECTORY_NOT_WRITABLE", message, metadata=metadata)
    if number in _FAILED:
        return failed_disk(named, os.strerror(number), metadata)
    return None


def unreadable(what: str, path: str) -> ScorestreamError:
    """Return the error for a file that this process's user may not read.

    Args:
        what: the file, as the beginning of a sentence.
        path: of it.
    """
    told = f"{what} may not be read by user {own_name()!r}, as whom the process runs that reads it. Change the file's permissions."
    return ScorestreamError(
        ErrorCode.PERMISSION_DENIED, "FILE_NOT_READABLE", told, metadata={"path": path, "user": own_name()}
    )


def full_disk(named: str, metadata: dict[str, str]) -> StorageError:
    """Return the error of a disk without room for what is named."""
    message = f"The disk is full: there is no room left to write {named}. Free some space, or use another directory."
    return StorageError(ErrorCode.RESOURCE_EXHAUSTED, "DISK_FULL", message, metadata=metadata)


def failed_disk(named: str, told: str, metadata: dict[str, str]) -> StorageError:
    """Return the error of a disk that did not do what it was asked to with what is named."""
    message = f"The disk failed on {named} ({told}). Look after the server's disk (its kernel's log says more), then try again."
    return StorageError(ErrorCode.INTERNAL, "DISK_FAILED", message, metadata=metadata)


def _number(error: OSError) -> int:
    # Arrow raises a plain OSError for some failures, its number in the text only.
    told = str(error).lower()
    return error.errno or next(
        (number for number in _FULL | _FORBIDDEN | _FAILED if f"[errno {number}]" in told), 0
    )
