"""Letting workers that run as another user at the files that they need, by this process's group."""

import os
import stat
from pathlib import Path

from scorestream_server.domain.disk import disk_error

PASS = stat.S_IXGRP
"""Through a folder, whose names stay hidden."""
READ = stat.S_IRGRP


def admit(path: Path, bits: int) -> None:
    """Have a file or a folder be of this process's group, and let that do with it what `bits` say.

    Nothing happens to a link, to what is gone, nor where the group may do it already, as with files that such a worker made.

    Raises:
        ScorestreamError: DIRECTORY_NOT_WRITABLE, where it belongs to another user.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        return
    try:
        if found.st_gid != os.getegid():
            os.chown(path, -1, os.getegid())
        if found.st_mode & bits != bits:
            path.chmod(stat.S_IMODE(found.st_mode) | bits)
    except OSError as error:
        told = disk_error(error, path)
        if told is None:
            raise
        raise told from error
