"""The cache folder's name follows the kernels' sources."""

import shutil
import subprocess
import sys
from pathlib import Path

from scorestream_server.device import kernel_cache


def digest_of(folder: Path) -> str:
    program = (
        "import kernel_cache, sys; assert 'numba' not in sys.modules; print(kernel_cache.kernel_digest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_the_digest_changes_with_any_kernel_file_and_with_nothing_else(tmp_path: Path) -> None:
    source = Path(kernel_cache.__file__).parent
    for path in source.glob("*.py"):
        shutil.copy(path, tmp_path)
    first = digest_of(tmp_path)
    assert first == kernel_cache.kernel_digest()
    (tmp_path / "cpu.py").write_text("# changed\n")
    assert digest_of(tmp_path) == first
    seen = {first}
    for name in (
        "forest_planes.py",
        "forest_ranks.py",
        "forest_walk.py",
        "plane_pack.py",
        "rank_pack.py",
        "walk_pack.py",
    ):
        with (tmp_path / name).open("a") as file:
            file.write("# changed\n")
        seen.add(digest_of(tmp_path))
    assert len(seen) == 7
