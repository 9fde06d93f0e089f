"""Workers that run as another user than the server: how one is started, and what it does before anything else.

Such a worker gets at the files of its sessions by the server's group, which is its only group by right; its user's own
groups are supplementary ones. Other processes of that user have another group, so the kernel lets them neither trace it,
nor read its memory, nor take its files. Nothing that they can write is run by it: neither modules nor compiled kernels.
"""

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scorestream_server.domain.account import find_account, own_rights, why_not
from scorestream_server.tables.access import PASS, admit

FLAGS = ("-s", "-P")
"""For Python: no modules of the user's home, none of the folder that it was started in."""
UMASK = 0o027
_STICKY_FOR_GROUP = 0o1770
_HIDDEN = ("XDG_", "SCORESTREAM_")
"""Beginnings of variables that are about the server's user, or secret."""
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4


@dataclass(frozen=True, slots=True)
class Guise:
    """What a process needs to run as another user.

    Attributes:
        group: its only group by right.
        extra_groups: those of its user.
        variables: that it has instead of the server's.
    """

    user: int
    group: int
    extra_groups: tuple[int, ...]
    variables: Mapping[str, str]

    def how(self) -> dict[str, Any]:
        """Return what `subprocess` is to be told beside the variables."""
        # Not where the server was started: libraries look for settings there.
        own = {"user": self.user, "group": self.group, "extra_groups": self.extra_groups}
        return {**own, "umask": UMASK, "cwd": "/"}


def guise(name: str, kernels: Path) -> Guise:
    """Return what a worker needs to run as this user; it blocks.

    Args:
        name: of the user.
        kernels: folder in the data directory where such workers keep compiled kernels; it is made.

    Raises:
        OSError: it cannot run as this one.
    """
    account = find_account(name)
    if account is None:
        raise OSError(f"there is no user {name!r} any more")
    rights = own_rights()
    if told := why_not(account, rights):
        raise OSError(told)
    kernels.mkdir(exist_ok=True)
    admit(kernels.parent, PASS)
    admit(kernels, stat.S_IRWXG)
    # Sticky: each user's workers make a folder of their own in it, and none can put another in its place.
    kernels.chmod(_STICKY_FOR_GROUP)
    own = str(kernels / name)
    caches = dict.fromkeys(("NUMBA_CACHE_DIR", "CUPY_CACHE_DIR", "CUDA_CACHE_PATH"), own)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_HIDDEN)}
    variables = {**kept, "HOME": account.home, "USER": name, "LOGNAME": name, **caches}
    return Guise(account.uid, rights.gid, account.groups, variables)


def why_no_start(name: str) -> str:
    """Return what may be the reason that a worker of this user ended without a word."""
    return f"; it ran as user {name!r}, who must be able to read the Python environment in {sys.prefix}"


def keep_to_itself() -> None:
    """Have what this process starts not have its capabilities; call it before there are threads.

    Those that a service manager gives it (ambient ones) would pass on to every process that it starts, whichever user it
    has, and so to what reads clients' files.
    """
    if _capabilities("CapAmb"):
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def seclude(kernels: Path) -> None:
    """Close this process, a worker that runs as another user than the server, to others of that user.

    Args:
        kernels: the folder of its own for compiled kernels; made where it is not there.

    Raises:
        OSError: that is not possible, with the reason.
    """
    if _prctl(_PR_SET_DUMPABLE, 0) or _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        raise OSError("this kernel does not let a process close itself to others")
    if len({*os.getresuid(), os.geteuid()}) > 1 or _capabilities("CapPrm"):
        raise OSError(
            "it has more rights than a worker may have (is the Python program setuid, or has it capabilities?)"
        )
    try:
        kernels.mkdir(mode=0o750, exist_ok=True)
    except PermissionError:
        closed = (path for path in reversed(kernels.parents) if not os.access(path, os.X_OK))
        top = next(closed, kernels.parent)
        raise OSError(
            f"its user may not pass through {top} to the data directory; let it (chmod o+x {top}), or have the data "
            "directory elsewhere"
        ) from None
    found = kernels.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OSError(f"{kernels} is not its own; remove it")


def _capabilities(kind: str) -> int:
    """Return a set of this process's capabilities; none where the kernel does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1], 16) for line in lines if line.startswith(f"{kind}:")), 0)


def _prctl(option: int, argument: int) -> int:
    import ctypes  # noqa: PLC0415  # few processes need it, and all are waited for

    return int(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(argument), *[ctypes.c_ulong(0)] * 3))
