"""Rows D3, D4, D6 and D8 of the list of features: libraries, where tables are mapped from, global tables, and their lives."""

import contextlib
import os
import sqlite3
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

import scorestream
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.store.backup import back_up
from scorestream_server.store.opening import open_store
from served import served, started

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
FAULTS = Path(__file__).parents[1] / "faults"


@pytest.fixture
def folder(tmp_path: Path, customers: pa.Table) -> Path:
    """A library's directory with the first customers in several formats."""
    made = tmp_path / "sales"
    made.mkdir()
    few = customers.slice(0, 100)
    pq.write_table(few, made / "rows.parquet")
    feather.write_feather(few, str(made / "rows.arrow"), compression="uncompressed")
    feather.write_feather(few, str(made / "packed.arrow"), compression="lz4")
    few.to_pandas().to_csv(made / "rows.csv", index=False)
    return made


@pytest.fixture
def name() -> str:
    """A name of a global table or library that no other test has."""
    return f"t_{uuid.uuid4().hex[:8]}"


def test_d3_server_library_and_load_say_where_a_table_is_mapped_from(
    session: scorestream.Session, folder: Path, ask: Ask, name: str
) -> None:
    """Each table tells what holds for it and whose word that was, and goes on to do so when its library is gone."""
    session.libraries.create(name, str(folder), backing_store="disk_cache", description="May")
    of_server = session.load_table(folder / "rows.parquet", "of_server").describe()
    assert (of_server.asked, of_server.origin, of_server.info.backing_store) == (
        "in_place_preferred",
        "server",
        "IN_PLACE",
    )
    of_library = session.load_table("rows.parquet", "of_library", library=name).describe()
    assert (of_library.asked, of_library.origin) == ("disk_cache", f"library {name}")
    of_load = session.load_table(
        "rows.arrow", "of_load", library=name, backing_store="in_place_preferred"
    ).describe()
    assert (of_load.asked, of_load.origin, of_load.note) == ("in_place_preferred", "load", "")
    assert of_load.info.source_paths == (f"{folder}/rows.arrow",)
    assert [(source.path, source.size_bytes) for source in of_load.sources] == [
        (str(folder / "rows.arrow"), (folder / "rows.arrow").stat().st_size)
    ]
    changed = ask("library", "update", name, "--session", session.id, "--backing-store", "in_place_preferred")
    assert changed["backing_store"] == "in_place_preferred"
    words = ("table", "load", session.id, "rows.parquet", "--library", name, "--name", "by_command")
    assert ask(*words)["backing_store"] == "IN_PLACE"
    shown = ask("library", "show", name, "--session", session.id)
    assert (shown["tables"], shown["description"]) == (3, "May")
    session.libraries.delete(name)
    told = ask("table", "show", session.id, "of_library")
    assert (told["origin"], told["library"]) == (
        f"library {name}",
        f"sessions/{session.id}/libraries/{name}",
    )
    assert ask("table", "show", session.id, "by_command")["origin"] == f"library {name}"


def test_d3_where_in_place_does_not_apply_the_load_says_so(
    session: scorestream.Session, folder: Path, run: Run, local: scorestream.Client, customers: pa.Table
) -> None:
    """CSV, compressed Arrow and rows that are sent; jobs on such tables have nothing to warn of."""
    for file, why in (("rows.csv", "CSV"), ("packed.arrow", "compressed")):
        table = session.load_table(folder / file, file.replace(".", "_"))
        note = table.describe().note
        assert note.startswith("in_place_preferred (server) does not apply: ") and why in note
        assert table.info.notes == (note,)
        assert table.info.backing_store == "DISK_CACHE"
    assert "sent" in session.load_table(customers.slice(0, 10), "sent").describe().note
    printed = run("table", "show", session.id, "rows_csv", "--server", local.address).stdout
    assert "does not apply: CSV cannot be mapped" in printed
    model = local.register_model("d3_twice", source="var1 * 2 AS twice")
    assert session.score(model, "rows_csv").wait().state == "SUCCEEDED"


def test_d4_two_sessions_that_load_a_file_in_place_share_it(
    local: scorestream.Client, session: scorestream.Session, folder: Path, ask: Ask
) -> None:
    """And each that converts it has its own; a copy shares what it is a copy of."""
    with local.create_session() as other:
        mine = session.load_table(folder / "rows.arrow", "shared")
        theirs = other.load_table(folder / "rows.arrow", "shared")
        assert mine.describe().sharing == theirs.describe().sharing == 2
        uploads = [one.load_table(mine.read(), "sent") for one in (session, other)]
        assert [table.describe().sharing for table in uploads] == [1, 1]
        copied = ask("table", "copy", session.id, "sent", "again", "--to", other.id)
        assert (copied["name"], copied["session_id"]) == ("again", other.id)
        assert uploads[0].describe().sharing == 2
    assert mine.describe().sharing == uploads[0].describe().sharing == 1
    assert ask("table", "show", session.id, "shared")["sharing"] == 1


def test_d6_promoted_tables_are_everybodys_and_outlive_their_session(
    local: scorestream.Client, folder: Path, ask: Ask, run: Run, name: str, customers: pa.Table
) -> None:
    """Uploads, results, files of the home and files in place; by promotion, at load, and out of a job."""
    model = local.register_model("d6_twice", source="var1 * 2 AS twice")
    few, names = customers.slice(0, 100), [f"{name}_{number}" for number in range(7)]
    with local.create_session() as session:
        session.files.upload(folder / "rows.parquet", "mine.parquet")
        session.load_table(few, names[0])
        session.load_table("home:mine.parquet", names[1])
        session.load_table(folder / "rows.arrow", names[2])
        session.score(model, names[0], out=names[3], keep=few.column_names).wait()
        for one in names[:3]:
            assert ask("table", "promote", session.id, one)["session_id"] == ""
        session.table(names[3]).promote()
        of_home = session.table(names[1]).describe()
        assert "home" in of_home.note and of_home.info.backing_store == "DISK_CACHE"
        session.files.upload(folder / "rows.csv", "mine.parquet", replace=True)
        run(
            *("table", "load", session.id, folder / "rows.csv", "--name", names[4], "--promote"),
            *("--label", "straight", "--server", local.address),
        )
        job = session.score(
            model, names[0], out=names[5], keep=few.column_names, label="of a job", promote=True
        )
        assert job.wait().outputs == (f"tables/{names[5]}",)
        session.load_table(few, names[6], promote=True)
        assert session.tables() == []
        assert session.table(names[5]).info.label == "of a job"
    listed = {row["name"]: row for row in ask("table", "list", "--global")}
    assert set(names) <= set(listed) and listed[names[4]]["label"] == "straight"
    for one in names:
        table = local.table(one)
        assert table.read().select(few.column_names).equals(few) or one == names[4]
        assert table.head(3).num_rows == 3 and len(table.columns()) >= few.num_columns
        with local.create_session() as other:
            assert other.score(model, one).wait().rows_done == 100
            assert other.score(model, table).wait().info.table == f"tables/{one}"
    for one in names:
        run("table", "drop", "--global", one, "--server", local.address)
    assert not set(names) & {table.name for table in local.tables()}


def test_d6_a_global_table_is_replaced_at_once_and_readers_keep_what_they_opened(
    local: scorestream.Client, session: scorestream.Session, name: str
) -> None:
    """A stream that began before goes on with the old rows to its end; whoever comes then has the new ones."""
    old = pa.table({"a": pa.array([1.0] * 2_000_000)})
    new = pa.table({"a": [2.0, 3.0]})
    session.load_table(old, name).promote()
    table = local.table(name)
    rows = table.batches()
    seen = [next(rows)]
    assert table.describe().readers == 1
    replacing = session.load_table(new, name)
    with pytest.raises(scorestream.AlreadyExistsError, match="global table"):
        replacing.promote()
    assert replacing.describe().hides_global
    replacing.promote(replace=True)
    assert local.table(name).read() == new
    seen += rows
    assert pa.Table.from_batches(seen) == old
    local.table(name).drop()


def test_d6_names_are_the_sessions_first_and_then_global(
    session: scorestream.Session, local: scorestream.Client, name: str, ask: Ask
) -> None:
    """`tables/NAME` is the global one, whatever the session has; a drop by name never reaches it."""
    model = local.register_model("d6_same", source="a AS b")
    session.load_table(pa.table({"a": [1.0]}), name).promote()
    own = session.load_table(pa.table({"a": [2.0, 2.0]}), name)
    for told, rows in ((name, 2), (f"tables/{name}", 1), (own, 2), (local.table(name), 1)):
        assert session.score(model, told).wait().rows_done == rows
    assert ask("table", "show", session.id, name)["hides_global"] is True
    assert ask("table", "show", "--global", name)["hides_global"] is False
    own.drop()
    assert session.score(model, name).wait().rows_done == 1
    assert local.table(name).rows == 1
    local.table(name).drop()


def test_d8_label_and_lifetime_of_a_jobs_table_and_how_they_are_changed(
    session: scorestream.Session, local: scorestream.Client, ask: Ask, run: Run, customers: pa.Table
) -> None:
    """Said with the job, shown, changed by command; a change for what was read before is refused."""
    model = local.register_model("d8_twice", source="var1 * 2 AS twice")
    session.load_table(customers.slice(0, 10), "few", label="Müller & Söhne", lifetime=3600)
    words = ("--out", "scored", "--label", "May", "--lifetime", 7200, "--wait", "--server", local.address)
    run("job", "submit", session.id, "d8_twice", "few", *words)
    scored = session.table("scored")
    assert (scored.info.label, scored.info.lifetime) == ("May", 7200)
    assert session.table("few").info.label == "Müller & Söhne"
    before = scored.info.etag
    told = ask("table", "update", session.id, "scored", "--lifetime", 0, "--label", "June")
    assert (told["label"], told["lifetime"]) == ("June", 0)
    with pytest.raises(scorestream.FailedPreconditionError) as stale:
        scored.update(label="July", etag=before)
    assert stale.value.reason == "STALE_ETAG"
    assert scored.update(label="", etag=told["etag"]).info.label == ""
    with pytest.raises(scorestream.InvalidArgumentError) as caught:
        session.score(model, "few", label="x", lifetime=1, promote=True)
    assert [fault.field for fault in caught.value.faults] == [
        "spec.out_label",
        "spec.out_lifetime",
        "spec.out_promote",
    ]
    with pytest.raises(scorestream.AlreadyExistsError):
        session.score(model, "few", out="scored")
    session.score(model, "few", out="scored", replace=True, lifetime=60).wait()
    assert session.table("scored").info.lifetime == 60


def test_d8_a_table_goes_when_it_was_not_read_for_its_lifetime(session: scorestream.Session) -> None:
    """The session's log says so, and why."""
    session.load_table(pa.table({"a": [1.0]}), "short", lifetime=0.2)
    session.load_table(pa.table({"a": [1.0]}), "stays")
    for line in session.log(follow=True):
        if "short was dropped" in line.text:
            assert "not read for 0.2 seconds" in line.text
            break
    assert [table.name for table in session.tables()] == ["stays"]


def test_d6_global_tables_survive_kills_and_backups_and_leave_nothing(
    tmp_path: Path, customers: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client was told is there after kill -9 in the middle of a promotion, which did not happen then.

    What it had begun, and folders that no table has, are gone at the next start; a backup has global tables, too.
    """
    monkeypatch.delenv("SCORESTREAM_TOKEN")
    few, data_dir, copy, killed = (
        customers.slice(0, 100),
        *(tmp_path / name for name in ("data", "copy", "k")),
    )
    environment = {
        "PYTHONPATH": os.pathsep.join([str(FAULTS / "inject"), os.environ.get("PYTHONPATH", "")]),
        "KILL_IN": "scorestream_server",
        "KILL_AT": f"open {data_dir}/tables/[0-9a-f-]+ ",  # when its files are linked
        "KILL": "itself",
        "KILLED": str(killed),
    }
    killed.touch()  # not yet
    with (
        started(data_dir, "--device", "cpu", environment=environment) as (address, _),
        scorestream.connect(address) as client,
    ):
        session = client.create_session("maker")
        model = client.register_model("plain", source="var1 AS score")
        rows = session.load_table(few, "rows")
        for name in ("kept", "half"):  # whose files would end with their jobs' session
            session.score(model, rows, out=name, keep=few.column_names, lifetime=3600).wait()
        session.table("kept").promote()
        half = session.table("half")
        killed.unlink()
        with pytest.raises(scorestream.UnavailableError):
            half.promote()
    assert killed.exists()
    back_up(DataDirectory(data_dir), copy)
    assert len(list((copy / "tables").iterdir())) == 2  # what was begun is nobody's
    (data_dir / "tables" / str(uuid.uuid4())).mkdir()
    with served(data_dir, "--device", "cpu") as (client, _):
        assert [table.name for table in client.tables()] == ["kept"]
        [folder] = (data_dir / "tables").iterdir()
        assert [file.suffix for file in folder.iterdir()] == [".arrow"]
        session = client.get_session("maker")
        assert session.table("half").session_id == session.id
        assert session.table("half").read() == client.table("kept").read()
        session.terminate()
        assert client.table("kept").read().select(few.column_names) == few
    open_store(DataDirectory(copy))
    with contextlib.closing(sqlite3.connect(copy / "scorestream.db")) as store:
        [(data,)] = store.execute("SELECT data FROM tables WHERE is_global AND NOT dropped").fetchall()
    [file] = (copy / "tables" / folder.name).iterdir()
    assert str(file).encode() in data
