"""How much memory a worker may take, and the limit that holds it to that.

A worker decodes hostile files, and some decode to a million times their size. The limit makes the allocation fail
that would be too much, so that the task fails and nothing else.
"""

import contextlib
import functools
import os
import re
import resource
from pathlib import Path

SHARE = 0.75
"""Of the machine's memory, for all workers; the rest is for the server, the system, and the pages of mapped tables."""
FLOOR = 2 << 30
FIRST_KILLED = 500
"""What the kernel adds to a worker's badness, in thousandths of all memory, when it looks for a process to kill."""
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}
"""For worker processes: Arrow takes its memory from where all others do. Its own allocators reserve a GiB ahead and
keep what was freed to themselves, all of which would count. The system's gives each batch's memory back at once and
has it cleared anew for the next, which costs 6 % of a job; it keeps up to 128 MiB, and blocks above 32 MiB, the most
that the C library takes here, still go back."""


def usual_memory(total: int, workers: int) -> int:
    """Return how many bytes each of several workers may take where nobody has said."""
    return max(FLOOR, int(total * SHARE / workers))


def machine_memory(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many bytes of memory this process can have: the machine's, or less where its control group says so.

    Args:
        groups: the file that names the process's control groups.
        mounted: where control groups are mounted.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for line in groups.read_text().splitlines() if groups.exists() else ():
        number, controllers, path = line.split(":", 2)
        if number == "0":  # version 2
            top, name = mounted, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = top / path.lstrip("/")
        # In a container the path may be the host's, and then only the top is there.
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(top))):
            try:
                found = (folder / name).read_text().strip()
            except OSError:
                continue
            if found.isdecimal():
                limits.append(int(found))
    return min(limits)


def resident_memory() -> int:
    """Return how many bytes of memory this process has resident."""
    pages = os.pread(_memory_file(), 128, 0).split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@functools.cache
def _memory_file() -> int:
    """Return the file that says so, open for good: to open it was a tenth of what a worker takes for a short job."""
    return os.open("/proc/self/statm", os.O_RDONLY)


def limit_memory(size: int) -> None:
    """Have allocations of this process fail beyond `size` bytes on top of what it has now.

    What counts is private memory that can be written (RLIMIT_DATA), not what is mapped from files or by a device.
    """
    found = re.search(r"^VmData:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError("/proc/self/status does not say how much memory this process has")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = int(found[1]) * 1024 + size
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def die_first() -> None:
    """Have the kernel kill this process before others of its size, should the machine run out of memory."""
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):  # a sandbox may not let it
        # Not below what it is: a service manager may have set more.
        path.write_text(str(max(FIRST_KILLED, int(path.read_text()))))
