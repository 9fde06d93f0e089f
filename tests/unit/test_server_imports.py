"""A server and its workers import only what they need until they are asked for more."""

import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

import scorestream
from served import served, workers_of

pytest.importorskip("pandas", reason="needs pandas, to see it stay away")
RESTING = "import scorestream_server.app"
OPENING = """
from pathlib import Path
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.store.opening import open_store
open_store(DataDirectory(Path.cwd()))
open_store(DataDirectory(Path.cwd()))
"""
SCALAR = "import pyarrow; pyarrow.scalar(1)"
WITHOUT = "from scorestream_server.tables.without_pandas import without_pandas; without_pandas();"


def imported(folder: Path, program: str) -> set[str]:
    """Return the modules that a process has when it has run a program."""
    program += "\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def libraries_of(process: psutil.Process, package: str) -> list[str]:
    """Return the native libraries of a package that a process has loaded."""
    return [part.path for part in process.memory_maps() if f"/{package}/" in part.path]


def test_a_server_imports_no_parser_and_no_kernel(tmp_path: Path) -> None:
    """What models, expressions and conditions are read with is imported with the first of them, if one comes."""
    later = {"alembic", "lark", "numba", "pandas", "pyarrow.dataset", "sqlglot", "treelite"}
    assert not later & imported(tmp_path, WITHOUT + RESTING)


def test_a_store_of_this_version_needs_no_migrations(tmp_path: Path) -> None:
    assert "alembic" not in imported(tmp_path, OPENING)


def test_arrow_finds_no_pandas(tmp_path: Path) -> None:
    """The second half shows that it would."""
    assert "pandas" not in imported(tmp_path, WITHOUT + SCALAR)
    assert "pandas" in imported(tmp_path, SCALAR)


def test_no_process_of_a_server_has_pandas(tmp_path: Path) -> None:
    """Not after a job with a condition either; people who have pandas start servers beside it."""
    with served(tmp_path, "--device", "cpu") as (client, server), client.create_session("s") as session:
        table = session.load_table(pa.table({"x": [1.0, 2.0]}), name="t")
        client.register_model("m", source="x * 2 AS score")
        job = session.score("m", table, where="x > 1").wait()
        assert job.state is scorestream.State.SUCCEEDED
        (worker,) = workers_of(server)
        for process in (server, worker):
            assert libraries_of(process, "pyarrow")
            assert not libraries_of(process, "pandas")
