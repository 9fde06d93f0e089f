"""What is opened to the server's group, for workers that run as another user."""

import os
import stat
from pathlib import Path

import pytest

from scorestream_server.tables.access import PASS, READ, admit


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_c4_the_group_may_do_what_is_needed_and_nothing_more(tmp_path: Path) -> None:
    """Whatever else was allowed stays as it was; links lead nowhere, and what is gone is nobody's fault."""
    folder, file, link = tmp_path / "folder", tmp_path / "file", tmp_path / "link"
    folder.mkdir(mode=0o700)
    file.touch(mode=0o600)
    link.symlink_to(file)
    admit(link, READ)
    admit(tmp_path / "gone", READ)
    assert (mode(folder), mode(file)) == (0o700, 0o600)
    for _ in range(2):
        admit(folder, PASS)
        admit(file, READ)
        assert (mode(folder), mode(file)) == (0o710, 0o640)
    admit(folder, stat.S_IRWXG)
    assert mode(folder) == 0o770


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to another group")
def test_c4_what_has_another_group_gets_the_servers(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(mode=0o600)
    os.chown(file, -1, 52_000)
    admit(file, READ)
    assert (file.stat().st_gid, mode(file)) == (os.getegid(), 0o640)
