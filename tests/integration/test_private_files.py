"""What a server keeps is for its own user; what it publishes is for whom its operator wants."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from served import served


@pytest.fixture
def umask() -> Iterator[int]:
    """The umask that the server is started with."""
    before = os.umask(0o027)
    try:
        yield 0o027
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_others_cannot_read_what_the_server_keeps(tmp_path: Path, umask: int) -> None:
    """Every file of uploads, conversions, results, models, the store, the audit log and a backup; outputs keep the umask."""
    root = tmp_path / "root"
    root.mkdir()
    rows = pa.table({"a": [1.0, 2.0]})
    pacsv.write_csv(rows, root / "rows.csv")
    data = tmp_path / "data"
    with served(data, "--device", "cpu", "--data-root", str(root)) as (client, _):
        session = client.create_session("s")
        model = client.register_model("m", source="a AS b")
        session.load_table("rows.csv", name="converted")
        session.load_table(rows, name="uploaded")
        session.score(model, "uploaded", out="kept").wait()
        for name in ("out.parquet", "out.csv", "dataset"):
            session.score(model, "converted", out_path=name).wait()
        copy = tmp_path / "copy"
        command = [
            sys.executable,
            "-m",
            "scorestream_server.backup",
            "--data-dir",
            str(data),
            "--to",
            str(copy),
        ]
        subprocess.run(command, check=True)
        kept = [data, *data.rglob("*"), copy, *copy.rglob("*")]
        names = {path.name for path in kept}
        assert {"scorestream.db", "audit.log", "upload.arrow", "part-00000.arrow"} <= names
        assert {path: oct(mode(path)) for path in kept if mode(path) & 0o077} == {}
        assert [mode(path) for path in kept if path.is_file()] == [0o600] * sum(
            path.is_file() for path in kept
        )
    assert mode(root / "out.parquet") == mode(root / "out.csv") == 0o666 & ~umask
    assert mode(root / "dataset") == 0o777 & ~umask
    assert {mode(path) for path in (root / "dataset").iterdir()} == {0o666 & ~umask}
