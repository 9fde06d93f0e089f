"""Which file system a folder lies on, and whether a database in WAL mode is safe there."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ncpfs", "coda", "davfs"),
    *("lustre", "ceph", "glusterfs", "beegfs", "gpfs", "gfs2", "ocfs2", "orangefs", "pvfs2", "panfs"),
}
_NETWORK_FUSE = {
    *(
        "sshfs",
        "s3fs",
        "goofys",
        "rclone",
        "gcsfuse",
        "blobfuse",
        "blobfuse2",
        "juicefs",
        "curlftpfs",
        "davfs",
    ),
    *("glusterfs", "ceph", "ceph-fuse", "mfs", "lizardfs", "hdfs", "smbnetfs", "grpcfuse"),
}
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: where it is to be seen, its type, and what was mounted there."""

    point: str
    type: str
    source: str

    @property
    def network(self) -> bool:
        """Whether its files may be in use on another machine, as far as its type tells."""
        return self.type in _NETWORK or self.type.removeprefix("fuse.") in _NETWORK_FUSE


def parse_mounts(lines: Iterable[str]) -> list[Mount]:
    """Return the mounts that the lines of ``/proc/self/mountinfo`` tell of; lines of another form are left out."""
    found = []
    for line in lines:
        head, separator, tail = line.partition(" - ")
        before, after = head.split(), tail.split()
        if separator and len(before) >= 6 and len(after) >= 2:
            found.append(Mount(_unescaped(before[4]), after[0], _unescaped(after[1])))
    return found


def mount_of(path: PurePath, mounts: Iterable[Mount]) -> Mount | None:
    """Return the mount that an absolute path lies on: the deepest, and of several at one point the last."""
    best: Mount | None = None
    for mount in mounts:
        if path.is_relative_to(mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def current_mounts() -> list[Mount]:
    """Return the mounts that this process sees; none where the system does not tell."""
    try:
        return parse_mounts(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines())
    except OSError:
        return []


def _unescaped(text: str) -> str:
    """Undo the kernel's writing of spaces, tabs, line ends and backslashes as three octal digits."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
