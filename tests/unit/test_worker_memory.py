"""How much memory there is for workers, and the limit that holds one to it."""

import subprocess
import sys
from pathlib import Path

import pytest

from scorestream_server.workers.memory import machine_memory

MIB = 1 << 20
LIMITED = """
import sys
from scorestream_server.workers.memory import die_first, limit_memory
limit_memory(64 << 20)
kept = bytearray(32 << 20)
try:
    bytearray(64 << 20)
except MemoryError:
    print("limited")
die_first()
print(open("/proc/self/oom_score_adj").read().strip())
"""


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": str(300 * MIB)}, 300 * MIB),
        ("0::/a/b", {"memory.max": str(200 * MIB)}, 200 * MIB),
        ("4:cpu,memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": str(100 * MIB)}, 100 * MIB),
        ("4:memory:/gone", {"memory/memory.limit_in_bytes": str(100 * MIB)}, 100 * MIB),
    ],
    ids=["a parent's", "in a container", "version 1", "version 1 in a container"],
)
def test_a_control_groups_limit_counts(
    tmp_path: Path, groups: str, files: dict[str, str], limit: int
) -> None:
    (tmp_path / "groups").write_text(groups + "\n")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert machine_memory(tmp_path / "groups", tmp_path) == limit


def test_without_a_limit_it_is_the_machines(tmp_path: Path) -> None:
    (tmp_path / "groups").write_text("4:memory:/\n0::/\n")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert machine_memory(tmp_path / "groups", tmp_path) == machine_memory(tmp_path / "nothing")


def test_an_allocation_beyond_the_limit_fails_and_nothing_else_does() -> None:
    """On top of what the process had; and the kernel kills it before others."""
    found = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    limited, adjusted = found.stdout.split()
    assert limited == "limited"
    assert int(adjusted) >= 500
