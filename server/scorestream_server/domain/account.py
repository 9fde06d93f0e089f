"""Users of the system: as whom this process runs, and as whom it may have workers run."""

import grp
import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_CAPABILITIES = {"CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7}
"""What it takes to start a process of another user, and to end it: their numbers in the kernel."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the system.

    Attributes:
        groups: ids of all groups that the user's own processes have.
    """

    name: str
    uid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, slots=True)
class Rights:
    """As whom this process runs, and what it lacks to have workers run as other users.

    Attributes:
        uid: its effective user.
        gid: its effective group, by which such workers get at their sessions' files.
        group: the name of that.
        missing: names of capabilities.
        members: users other than its own and root who are in that group, and so would get at those files, too.
    """

    uid: int
    gid: int
    group: str
    missing: tuple[str, ...]
    members: tuple[str, ...]


def own_rights(status: Path = Path("/proc/self/status")) -> Rights:
    """Return what this process may do.

    Args:
        status: the kernel's report on the process; without one it may do nothing.
    """
    uid, gid = os.geteuid(), os.getegid()
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read_text() if status.exists() else "", re.MULTILINE)
    effective = int(found[1], 16) if found else 0
    missing = tuple(name for name, number in _CAPABILITIES.items() if not effective >> number & 1)
    try:
        group = grp.getgrgid(gid)
        name, listed = group.gr_name, set(group.gr_mem)
    except KeyError:  # in a container, a group need not have a name
        name, listed = str(gid), set()
    others = {user.pw_name for user in pwd.getpwall() if user.pw_uid != uid and user.pw_gid == gid}
    return Rights(uid, gid, name, missing, tuple(sorted((others | listed) - {own_name(), "root"})))


def own_name() -> str:
    """Return the name of this process's user."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # in a container, a user need not have a name
        return str(os.geteuid())


def find_account(name: str) -> Account | None:
    """Return the user of this name; None: there is no such one."""
    try:
        user = pwd.getpwnam(name) if _NAME.fullmatch(name) else None
    except KeyError:
        user = None
    if user is None:
        return None
    return Account(name, user.pw_uid, tuple(os.getgrouplist(name, user.pw_gid)), user.pw_dir)


def is_other(name: str) -> bool:
    """Return whether a worker that is to run as this user, empty for the server's, runs as another than this process."""
    account = find_account(name) if name else None
    return bool(name) and (account is None or account.uid != os.geteuid())


def why_not(account: Account, rights: Rights) -> str:
    """Return why workers of a server cannot run as this user, and what to do; empty: they can.

    The server's group is all that lets such a worker into the data directory. So it must be the group of nobody else,
    and of no files of others: not root's.
    """
    if account.uid == rights.uid:
        return ""
    start = "(systemd: Group=; otherwise: setpriv --regid GROUP --clear-groups scorestream serve ...)"
    if account.uid == 0:
        return f"workers run as root, as which {account.name!r} is known to the system, only where the server does"
    if rights.missing:
        return (
            f"workers cannot run as {account.name!r}: the server may not switch users; it lacks "
            f"{', '.join(rights.missing)}. Give it these (systemd: AmbientCapabilities=), or run another server as "
            f"{account.name!r}, with a data directory of its own"
        )
    if rights.gid == 0:
        return (
            f"workers cannot run as {account.name!r}: they would share the server's group, and that is root's, by which they "
            f"could read much else. Start the server with a group of its own {start}"
        )
    members = sorted({*rights.members, *([account.name] if rights.gid in account.groups else [])})
    if members:
        return (
            f"workers cannot run as {account.name!r}: whoever is in the server's group, {rights.group!r}, could read what "
            f"they read, and {', '.join(members[:5])} {'is' if len(members) == 1 else 'are'} in it. Start the server with a "
            f"group that nobody else is in {start}"
        )
    return ""
