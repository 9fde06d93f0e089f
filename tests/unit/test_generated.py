"""Generated code is what its sources generate."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_committed_stubs_and_the_blocking_client_match_their_sources() -> None:
    """Nobody edited generated code by hand, and nobody forgot to generate it again."""
    command = [sys.executable, str(ROOT / "tools" / "generate.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
