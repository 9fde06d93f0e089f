"""A server reads and writes files under its data roots only."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream
from served import served


def test_paths_stay_under_the_data_roots(tmp_path: Path) -> None:
    """Absolute paths elsewhere, `..` and links out are refused, for reading and writing; the rest works."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    for folder in (root, outside):
        pq.write_table(pa.table({"a": [1.0, 2.0]}), folder / "rows.parquet")
    (root / "link.parquet").symlink_to(outside / "rows.parquet")
    (root / "linked").symlink_to(outside)
    with served(tmp_path / "data", "--data-root", str(root)) as (client, _):
        session = client.create_session("roots")
        model = client.register_model("double", source="a * 2 AS twice")
        escapes = (
            "../outside/rows.parquet",
            str(outside / "rows.parquet"),
            "link.parquet",
            "linked/rows.parquet",
            "/etc/passwd",
        )
        for path in escapes:
            with pytest.raises(scorestream.PermissionDeniedError) as caught:
                session.load_table(path, name="rows")
            assert caught.value.reason == "PATH_OUTSIDE_DATA_ROOTS"
        assert session.tables() == []
        for path in ("rows.parquet", str(root / "rows.parquet")):
            table = session.load_table(path, name="rows", replace=True)
            assert table.info.rows == 2
        for path in (str(outside / "out.parquet"), "../outside/out.parquet", "linked/out.parquet"):
            with pytest.raises(scorestream.PermissionDeniedError):
                session.score(model, "rows", out_path=path)
        session.score(model, "rows", out_path=str(root / "out.parquet")).wait()
        assert pq.read_table(root / "out.parquet")["twice"].to_pylist() == [2.0, 4.0]
        assert sorted(path.name for path in outside.iterdir()) == ["rows.parquet"]


def test_without_a_data_root_clients_can_only_upload(tmp_path: Path) -> None:
    """A plain server opens no file for a client, and says so."""
    with served(tmp_path / "data") as (client, _):
        session = client.create_session("none")
        with pytest.raises(scorestream.PermissionDeniedError):
            session.load_table("/etc/hostname.csv", name="t")
        assert session.load_table(pa.table({"a": [1]}), name="t").info.rows == 1
