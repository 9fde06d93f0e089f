"""A data directory has one owner, lies on a local disk, and holds a whole store that this program knows."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.data_directory import DataDirectory, UnusableDirectoryError
from scorestream_server.domain.table import FileFormat, LoadedAs, TableData
from scorestream_server.store import table_life
from scorestream_server.store import tables as table_store
from scorestream_server.store.database import open_engine
from scorestream_server.store.holdings import read_holdings
from scorestream_server.store.mounts import Mount, current_mounts, mount_of, parse_mounts
from scorestream_server.store.opening import open_store
from scorestream_server.store.owner import Ownership
from scorestream_server.store.schema import VERSION
from scorestream_server.store.upgrade import known_versions, upgrade

MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:40 / /mnt/bank rw,relatime shared:7 master:1 - nfs4 filer:/export/bank rw,vers=4.2
31 30 0:41 / /mnt/bank/local rw - xfs /dev/vdb rw
32 27 0:42 / /mnt/two\040words rw - cifs //host/a\040share rw
33 27 0:43 / /home/me/far rw,nosuid - fuse.sshfs me@host:/ rw
34 27 0:44 / /vault rw - fuse.gocryptfs /cipher rw
35 27 0:45 / /over rw - nfs a:/b rw
36 35 0:46 / /over rw - tmpfs tmpfs rw
this line says nothing
"""


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path / "data")
    made.root.mkdir()
    return made


# -- file systems ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var/lib/scorestream", "ext4", False),
        ("/mnt/bank", "nfs4", True),
        ("/mnt/bank/scores/data", "nfs4", True),
        ("/mnt/bankers", "ext4", False),
        ("/mnt/bank/local/data", "xfs", False),
        ("/mnt/two words/data", "cifs", True),
        ("/home/me/far/away", "fuse.sshfs", True),
        ("/vault/data", "fuse.gocryptfs", False),
        ("/over/data", "tmpfs", False),
    ],
)
def test_a_path_lies_on_its_deepest_and_latest_mount(path: str, kind: str, network: bool) -> None:
    found = mount_of(PurePosixPath(path), parse_mounts(MOUNTINFO.splitlines()))
    assert found is not None
    assert (found.type, found.network) == (kind, network)


@pytest.mark.parametrize(
    "kind", ["nfs", "cifs", "smb3", "9p", "lustre", "ceph", "fuse.glusterfs", "fuse.s3fs"]
)
def test_network_file_systems_are_known(kind: str) -> None:
    assert Mount("/", kind, "there").network


@given(st.lists(st.text()))
def test_lines_of_another_form_are_passed_over(lines: list[str]) -> None:
    """Whatever the kernel may write one day, a server starts."""
    mount_of(PurePosixPath("/data"), parse_mounts(lines))


def test_this_machine_tells_its_mounts() -> None:
    assert mount_of(PurePosixPath("/proc/self"), current_mounts()) == Mount("/proc", "proc", "proc")


def test_a_data_directory_on_a_network_file_system_is_refused(tmp_path: Path) -> None:
    """The reason and the way out are told, and nothing is made there."""
    mounts = [Mount("/", "ext4", "/dev/vda"), Mount(str(tmp_path), "nfs4", "filer:/export")]
    with pytest.raises(UnusableDirectoryError, match=r"\(nfs4, filer:/export on .*not safe.*local disk"):
        Ownership(DataDirectory(tmp_path / "data"), mounts)
    assert list(tmp_path.iterdir()) == []


# -- the owner ------------------------------------------------------------------------------------------


def test_a_second_owner_is_told_who_the_first_is(directory: DataDirectory) -> None:
    first = Ownership(directory)
    with pytest.raises(UnusableDirectoryError, match=rf"in use by the server of process {os.getpid()}\. "):
        Ownership(directory)
    first.tell("127.0.0.1:8500")
    with pytest.raises(
        UnusableDirectoryError, match=rf"process {os.getpid()} at 127\.0\.0\.1:8500\. .*--data-dir"
    ):
        Ownership(directory)
    first.release()
    Ownership(directory).release()


HOLDER = """
import subprocess, sys
from pathlib import Path
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.store.owner import Ownership
from scorestream_server.store.schema import VERSION
from scorestream_server.store.upgrade import known_versions, upgrade
owner = Ownership(DataDirectory(Path(sys.argv[1])))
worker = subprocess.Popen(["sleep", sys.argv[2]], pass_fds=[owner.descriptor], stdout=subprocess.DEVNULL)
print(worker.pid, flush=True)
sys.stdin.read()
"""


def holder(directory: DataDirectory, worker_seconds: float) -> tuple[subprocess.Popen[str], int]:
    """Start an owner that has a worker; return it and the worker's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory.root), str(worker_seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_the_lock_goes_with_the_process(directory: DataDirectory) -> None:
    """After a kill -9 the next owner begins, once the workers that were left behind have ended."""
    with holder(directory, 1)[0] as process:
        with pytest.raises(UnusableDirectoryError, match=f"process {process.pid}"):
            Ownership(directory)
        process.kill()
        process.wait()
    Ownership(directory).release()


def test_a_worker_that_stays_keeps_the_directory(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two may not write there at once, even if one of them should be gone long since."""
    monkeypatch.setattr("scorestream_server.store.owner.ORPHAN_SECONDS", 0.2)
    process, worker = holder(directory, 600)
    with process:
        process.kill()
        process.wait()
        with pytest.raises(UnusableDirectoryError, match="or by a worker that it left behind"):
            Ownership(directory)
        os.kill(worker, signal.SIGKILL)
    Ownership(directory).release()


# -- the store ------------------------------------------------------------------------------------------


def version(directory: DataDirectory) -> str:
    engine = open_engine(directory.database_url)
    with engine.connect() as connection:
        found = str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar())
    engine.dispose()
    return found


def test_a_new_store_is_of_this_version_and_opens_again(directory: DataDirectory) -> None:
    open_store(directory)
    assert version(directory) == VERSION
    open_store(directory)


def test_this_version_is_the_last_migrations() -> None:
    assert known_versions()[0] == VERSION


def layout(path: Path) -> dict[str, dict[str, Any]]:
    """Return everything that SQLite keeps of each table, but in which order its columns came."""
    with contextlib.closing(sqlite3.connect(path)) as connection:

        def rows(statement: str, *parameters: str) -> list[tuple[Any, ...]]:
            return connection.execute(statement, parameters).fetchall()

        found: dict[str, dict[str, Any]] = {}
        for table, text in rows("SELECT name, sql FROM sqlite_master WHERE type = 'table'"):
            # For a column: type, NOT NULL, default, place in the key. For an index: unique, origin, condition, columns.
            indexes = rows('SELECT name, "unique", origin FROM pragma_index_list(?)', table)
            found[table] = {
                "columns": {row[1]: row[2:] for row in rows(f"PRAGMA table_info('{table}')")},
                "keys": sorted(row[2:] for row in rows(f"PRAGMA foreign_key_list('{table}')")),
                "indexes": sorted(
                    (name, rest, rows("SELECT name FROM pragma_index_info(?)", name))
                    for name, *rest in indexes
                ),
                "constraints": sorted(re.findall(r"CONSTRAINT (\w+ \w+)", text)),
                "autoincrement": "AUTOINCREMENT" in text,
            }
        made = rows("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        found["indexes"] = {name: " ".join(text.split()) for name, text in made}
    return found


def old_store(folder: Path, version: str) -> DataDirectory:
    """Return a data directory as a server of that version leaves it."""
    old = DataDirectory(folder)
    old.root.mkdir()
    engine = open_engine(old.database_url)
    with engine.execution_options(writes=True).begin() as connection:
        upgrade(connection, version)
    engine.dispose()
    return old


def test_a_new_store_is_as_one_that_all_migrations_went_through(directory: DataDirectory) -> None:
    """New stores get their tables at once, older ones by and by: tables, keys, defaults and indexes are the same."""
    open_store(directory)
    old = old_store(directory.root / "old", VERSION)
    made = layout(directory.database)
    assert made == layout(old.database)
    assert {"sessions", "jobs", "alembic_version"} < made.keys()
    assert version(directory) == version(old)


def test_an_older_store_is_brought_forward(tmp_path: Path) -> None:
    """Of any version, and with what is in it."""
    _, *versions = known_versions()
    assert len(versions) >= 8
    for number in versions:
        old = old_store(tmp_path / number, number)
        with contextlib.closing(sqlite3.connect(old.database, isolation_level=None)) as connection:
            connection.execute(
                "INSERT INTO models (model_id, version, digest, size_bytes, file_name, schema, owner, create_time, removed)"
                " VALUES ('m', 1, 'd', 1, 'f', x'00', 'me', 1.0, 0)"
            )
        open_store(old)
        assert version(old) == VERSION
        with contextlib.closing(sqlite3.connect(old.database)) as connection:
            assert connection.execute("SELECT model_id FROM models").fetchall() == [("m",)]


def test_a_store_that_was_begun_and_not_filled_is_filled(directory: DataDirectory) -> None:
    """As a kill in the middle of the first start leaves it."""
    engine = open_engine(directory.database_url)
    with engine.connect():
        pass
    engine.dispose()
    open_store(directory)
    assert version(directory) == VERSION


def test_a_newer_store_is_refused_with_both_versions_and_not_touched(directory: DataDirectory) -> None:
    open_store(directory)
    engine = open_engine(directory.database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0999'"))
    engine.dispose()
    before = directory.database.read_bytes()
    with pytest.raises(
        UnusableDirectoryError, match=rf"is of version 0999; .* up to {VERSION}\. Nothing was changed"
    ):
        open_store(directory)
    assert directory.database.read_bytes() == before


@pytest.mark.parametrize("damage", ["page", "text", "cut", "other"])
def test_a_damaged_store_is_refused_and_not_touched(directory: DataDirectory, damage: str) -> None:
    """A page of noise, a file of text, a file cut short, somebody else's database: said, and what to do."""
    expected = "put a backup in its place"
    if damage == "text":
        directory.database.write_text("These are the accounts of the bank. " * 500)
    elif damage == "other":
        engine = open_engine(directory.database_url)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE accounts (id INTEGER)"))
        engine.dispose()
        expected = "none of scorestream's"
    else:
        open_store(directory)
        data = bytearray(directory.database.read_bytes())
        # Every page but the first, which holds the list of tables and would hide the rest.
        data[4096:] = b"" if damage == "cut" else b"\x5a" * (len(data) - 4096)
        directory.database.write_bytes(data)
    before = directory.database.read_bytes()
    with pytest.raises(UnusableDirectoryError, match=expected):
        open_store(directory)
    assert directory.database.read_bytes() == before


def test_files_without_their_store_are_not_taken_for_leftovers(directory: DataDirectory) -> None:
    """Where the store was lost, a server does not begin a new one that would know none of the files."""
    directory.models.mkdir()
    (directory.models / "digest.ubj").write_bytes(b"model")
    with pytest.raises(UnusableDirectoryError, match=r"is missing, and files that belong to it"):
        open_store(directory)
    assert not directory.database.exists()


def test_tables_of_stores_before_global_ones_are_as_they_were(directory: DataDirectory) -> None:
    """They have their session's owner, count as read when they were made, and are mapped from where they could be."""
    engine = open_engine(directory.database_url)
    data = TableData((), (), (), b"", 7, FileFormat.ARROW, in_place=True)
    with engine.execution_options(writes=True).begin() as connection:
        upgrade(connection, "0009")
        for session, state in (("open", "ACTIVE"), ("over", "ENDED")):
            connection.exec_driver_sql(
                "INSERT INTO sessions (id, name, owner, state, weight, create_time, last_active_time) "
                "VALUES (?, ?, 'me', ?, 100, 1, 1)",
                (session, session, state),
            )
            for dropped in (0, 1):
                connection.exec_driver_sql(
                    "INSERT INTO tables (uid, session_id, table_id, data, source_paths, size_bytes, create_time, dropped) "
                    "VALUES (?, ?, 't', ?, ?, 1, 5.0, ?)",
                    (f"{session}-{dropped}", session, msgspec.json.encode(data), b"[]", dropped),
                )
        assert {path.name for path in read_holdings(connection, directory).tables} == {"open-0", "open-1"}
    engine.dispose()
    open_store(directory)
    engine = open_engine(directory.database_url)
    with engine.begin() as connection:
        [table] = table_store.of_session(connection, "open")
        assert (table.uid, table.owner, table.last_access_time, table.loaded) == (
            "open-0",
            "me",
            5.0,
            LoadedAs(),
        )
        assert (table.data, table.is_global, table.lifetime) == (data, False, 0.0)
        assert [one.uid for one in table_life.to_clear(connection)] == ["open-1"]
        assert {path.name for path in read_holdings(connection, directory).tables} == {"open-0", "open-1"}
    engine.dispose()
