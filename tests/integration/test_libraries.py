"""Libraries and global tables: whose they are, and what is refused, with what is wrong and what to do."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scorestream
from principals import People, people
from scorestream.v1 import data_pb2, library_service_pb2, table_service_pb2
from scorestream_server.contexts.library_rules import library_of
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.tables.paths import DataRoots

ROWS = pa.table({"a": [1.0, 2.0, 3.0]})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a library's folder in it, and secrets beside both."""
    top = tmp_path_factory.mktemp("libraries")
    inside = top / "root" / "sales"
    inside.mkdir(parents=True)
    pq.write_table(ROWS, inside / "rows.parquet")
    pq.write_table(ROWS, top / "root" / "beside.parquet")
    pq.write_table(ROWS, top / "secret.parquet")
    (inside / "out.parquet").symlink_to(top / "root" / "beside.parquet")
    (inside / "in.parquet").symlink_to(inside / "rows.parquet")
    (top / "root" / "escape").symlink_to(top)
    return top / "root"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[People]:
    data_dir = tmp_path_factory.mktemp("libraries_server") / "data"
    config = data_dir.parent / "scorestream.toml"
    config.write_text(
        '[libraries.archive]\npath = "sales"\nbacking_store = "in_place_preferred"\ndescription = "of the file"\n'
    )
    flags = ("--data-root", str(root), "--config", str(config), "--backing-store", "disk_cache")
    with people(data_dir, *flags) as found:
        yield found


def unique(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:8]}"


def refusal(by: Callable[[], object]) -> scorestream.ScorestreamError:
    with pytest.raises(scorestream.ScorestreamError) as caught:
        by()
    return caught.value


def test_d3_global_libraries_are_read_by_all_and_made_by_admins(known: People) -> None:
    """Those of the configuration file are there, and are changed there only."""
    name = unique("sales")
    made = known.admin.libraries.create(name, "sales", backing_store="disk_cache", copies=1)
    assert known.bob.libraries.get(name) == made
    assert (made.path, made.backing_store, made.copies, made.owner) == ("sales", "disk_cache", 1, "root")
    assert refusal(lambda: known.bob.libraries.create(unique("mine"), "sales")).reason == "ADMINS_ONLY"
    assert refusal(lambda: known.bob.libraries.update(name, copies=0)).reason == "ADMINS_ONLY"
    assert refusal(lambda: known.bob.libraries.delete(name)).reason == "ADMINS_ONLY"
    assert refusal(lambda: known.admin.libraries.create(name, "sales")).reason == "LIBRARY_EXISTS"
    changed = known.admin.libraries.update(name, etag=made.etag, backing_store=None, description="May")
    assert (changed.backing_store, changed.copies, changed.description) == ("inherit", 1, "May")
    stale = refusal(lambda: known.admin.libraries.update(name, etag=made.etag, copies=2))
    assert stale.reason == "STALE_ETAG" and changed.etag in str(stale)
    archive = known.alice.libraries.get("archive")
    assert (archive.built_in, archive.backing_store, archive.description) == (
        True,
        "in_place_preferred",
        "of the file",
    )
    for change in (
        lambda: known.admin.libraries.update("archive", copies=1),
        lambda: known.admin.libraries.delete("archive"),
    ):
        assert "scorestream.toml" in str(refusal(change))
    known.admin.libraries.delete(name, etag=changed.etag)
    assert refusal(lambda: known.bob.libraries.get(name)).reason == "LIBRARY_NOT_FOUND"


def test_d3_a_server_is_told_its_own_default(known: People, root: Path) -> None:
    """By a flag; libraries of the configuration file say more closely what holds for their tables."""
    (root / "sales" / "more").mkdir()
    (root / "sales" / "more" / "rows.csv").write_text("a\n1.5\n")
    with known.alice.create_session("default") as session:
        of_server = session.load_table("sales/more/rows.csv", "a").describe()
        assert (of_server.asked, of_server.origin, of_server.note) == ("disk_cache", "server", "")
        of_library = session.load_table("more/rows.csv", "b", library="archive").describe()
        assert (of_library.asked, of_library.origin) == ("in_place_preferred", "library archive")
        assert "in_place_preferred (library archive) does not apply: CSV" in of_library.note


def test_d3_a_sessions_libraries_are_its_owners_and_win_by_name(known: People) -> None:
    """One listing has them all: work, the session's, the global ones."""
    with known.alice.create_session("of_alice") as session, known.bob.create_session("of_bob") as bobs:
        session.libraries.create("archive", "sales")
        session.libraries.create("own", "sales", on_source_change="private_copy")
        listed = [(one.name, one.transient) for one in session.libraries.list()]
        assert listed == [("archive", True), ("archive", False), ("own", True), ("work", True)]
        assert [one.name for one in bobs.libraries.list()] == ["archive", "work"]
        assert [one.name for one in known.bob.libraries.list()] == ["archive"]
        table = session.load_table("rows.parquet", library="archive")
        assert table.describe().library == f"sessions/{session.id}/libraries/archive"
        of_all = session.load_table("rows.parquet", "global_one", library="libraries/archive")
        assert of_all.describe().library == "libraries/archive"
        counts = {(one.name, one.transient): one.tables for one in session.libraries.list()}
        assert counts[("archive", True)] == counts[("archive", False)] == 1
        assert counts[("work", True)] == 2
        other = refusal(
            lambda: bobs.load_table("rows.parquet", library=f"sessions/{session.id}/libraries/own")
        )
        assert other.reason == "LIBRARY_OF_OTHER_SESSION"
        session.libraries.delete("archive")
        assert table.describe().library == f"sessions/{session.id}/libraries/archive"
        assert table.head().num_rows == 3
    again = known.alice.create_session("after")
    assert refusal(lambda: again.load_table("rows.parquet", library="own")).reason == "LIBRARY_NOT_FOUND"
    again.terminate()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../beside.parquet", "PATH_OUTSIDE_LIBRARY"),
        ("x/../../beside.parquet", "PATH_OUTSIDE_LIBRARY"),
        ("/etc/passwd", "PATH_OUTSIDE_LIBRARY"),
        ("out.parquet", "PATH_OUTSIDE_LIBRARY"),
        (".", "PATH_OUTSIDE_LIBRARY"),  # with the link in it
        ("home:x.parquet", "PATH_OUTSIDE_LIBRARY"),
        ("file:///etc/passwd", "PATH_OUTSIDE_LIBRARY"),
        ("nothing.parquet", "FILE_NOT_FOUND"),
        ("a\0b", "INVALID_PATH"),
    ],
)
def test_d3_no_path_leaves_its_library(known: People, path: str, reason: str) -> None:
    """Neither by dots nor by links, nor as another kind of path; a link that stays inside is followed."""
    with known.alice.create_session("paths") as session:
        error = refusal(lambda: session.load_table(path, "t", library="archive"))
        assert error.reason in {reason, "PATH_OUTSIDE_DATA_ROOTS"}
        assert session.tables() == []
        assert session.load_table("in.parquet", library="archive").rows == 3


def test_d3_all_that_is_wrong_with_a_library_or_a_load_is_named_at_once(known: People) -> None:
    """With the fields by name; and nothing was made."""
    request = library_service_pb2.CreateLibraryRequest(
        library_id="../x",
        library=data_pb2.Library(
            path="/etc",
            backing_store=99,  # type: ignore[arg-type]  # as clients may
            on_source_change=99,  # type: ignore[arg-type]
            copies=-1,
            description="\n",
        ),
    )
    connection = known.admin._connection
    error = refusal(lambda: connection.call(connection.libraries.CreateLibrary, request))
    wanted = {"path", "backing_store", "on_source_change", "copies", "description"}
    assert {fault.field for fault in error.faults} == {"library_id", *(f"library.{name}" for name in wanted)}
    with known.alice.create_session("faults") as session:
        load = table_service_pb2.LoadTableRequest(
            session=f"sessions/{session.id}",
            table_id="1 x",
            paths=["beside.parquet"],
            backing_store=99,  # type: ignore[arg-type]
            on_source_change=99,  # type: ignore[arg-type]
            columns=["a", "a"],
            copies=100,
            label="x" * 257,
        )
        load.lifetime.seconds = -1
        connection = session._connection
        error = refusal(lambda: connection.call(connection.tables.LoadTable, load))
        told = {"table_id", "backing_store", "on_source_change", "columns", "copies", "label", "lifetime"}
        assert {fault.field for fault in error.faults} == told
    for name in ("work", "", "a b", "../x", "x" * 64):
        assert refusal(lambda name=name: known.admin.libraries.create(name, "sales")).reason in {  # type: ignore[misc]
            "INVALID_NAME",
            "INVALID_LIBRARY",
        }
    for path in ("escape", "..", "beside.parquet", "no_such", ""):
        assert refusal(lambda path=path: known.admin.libraries.create("never", path))  # type: ignore[misc]
    assert "never" not in {one.name for one in known.admin.libraries.list()}


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["path", "backing_store", "on_source_change", "copies", "description", "owner", "x"]),
        st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.lists(st.text(), max_size=2)),
    )
)
def test_whatever_a_library_is_told_it_is_one_or_everything_wrong_is_named(values: dict[str, object]) -> None:
    """As the configuration file and hostile clients may: no other error comes out."""
    with pytest.raises(ScorestreamError) as caught:  # no data root: no path is allowed
        library_of("l", "", values, DataRoots(()), "library")
    assert caught.value.faults
    assert all(fault.field.startswith("library.") for fault in caught.value.faults)


def test_d6_a_global_table_is_read_by_all_and_changed_by_its_owner(known: People) -> None:
    """It stays when its session ends; Bob scores it, and neither drops, updates nor replaces it; an admin may."""
    name = unique("customers")
    with known.alice.create_session("maker") as session:
        session.load_table(ROWS, name, label="hers").promote()
    assert name in {table.name for table in known.bob.tables()}
    table = known.bob.table(name)
    assert (table.info.owner, table.session_id, table.read()) == ("alice", "", ROWS)
    with known.bob.create_session("reader") as reader:
        known.bob.register_model(unique("double"), source="a * 2 AS b")
        model = known.bob.register_model(f"m_{name}", source="a * 2 AS b")
        job = reader.score(model, name, keep=["a"])
        assert [row["b"] for batch in job.results() for row in batch.to_pylist()] == [2.0, 4.0, 6.0]
        mine = reader.load_table(ROWS, name)
        assert mine.describe().hides_global
        assert reader.table(name).session_id == reader.id
        for change in (
            lambda: mine.promote(replace=True),
            lambda: reader.load_table(ROWS, name, promote=True, replace=True),
            lambda: reader.score(model, name, out=name, promote=True, replace=True),
            table.drop,
            lambda: table.update(label="his"),
        ):
            error = refusal(change)
            assert error.reason == "TABLE_OF_ANOTHER" and "alice" in str(error)
        assert refusal(mine.promote).reason == "TABLE_EXISTS"
        reader.table(name).drop()
        assert reader.table(name).session_id == ""
        # A name in a session never drops what is everybody's.
        request = table_service_pb2.DropTableRequest(name=f"sessions/{reader.id}/tables/{name}")
        connection = reader._connection
        dropping = refusal(lambda: connection.call(connection.tables.DropTable, request))
        assert dropping.reason == "TABLE_NOT_FOUND"
    assert known.admin.table(name).update(label="the admin's").info.label == "the admin's"
    known.admin.table(name).drop()
    assert refusal(lambda: known.alice.table(name)).reason == "TABLE_NOT_FOUND"


def test_d6_a_copy_is_the_callers_own(known: People) -> None:
    """Of a global table for everybody, of a session's for its owner; into nobody else's session."""
    name = unique("shared")
    with known.alice.create_session("one") as one, known.bob.create_session("bobs") as bobs:
        hers = one.load_table(ROWS, name)
        for copy in (
            lambda: hers.copy("stolen", session=bobs),
            lambda: known.bob.get_session(one.id),
        ):
            assert isinstance(refusal(copy), scorestream.NotFoundError)
        hers.promote()
        his = bobs.table(name).copy("his", session=bobs)
        assert (his.info.owner, his.session_id, his.describe().sharing) == ("bob", bobs.id, 2)
        known.alice.table(name).drop()
        assert his.read() == ROWS
