"""Rows C11 to C13 of the list of features: data, files and filerefs of a session."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import scorestream
from nightly import SCORE_CODE

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def table(session: scorestream.Session, customers_file: Path) -> scorestream.Table:
    """The customers, loaded."""
    return session.load_table(customers_file, name="customers")


def test_c11_libraries_and_columns(session: scorestream.Session, table: scorestream.Table, ask: Ask) -> None:
    """`work` holds the session's tables; columns come with type, nulls and place."""
    assert [(one.name, one.tables, one.transient, one.read_only) for one in session.libraries.list()] == [
        ("work", 1, True, False)
    ]
    told = ask("library", "list", session.id)
    assert [(one["name"], one["tables"], one["transient"]) for one in told] == [("work", 1, True)]
    assert [(one.index, one.name, one.type, one.nullable, one.readable) for one in table.columns()] == [
        (index, field.name, str(field.type), True, True) for index, field in enumerate(table.schema)
    ]
    told = ask("table", "columns", session.id, "customers")
    assert [row["name"] for row in told] == table.schema.names
    strict = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.list_(pa.int8()))])
    path = Path("strict.arrow")
    with pa.ipc.new_file(str(path), strict) as writer:
        writer.write_table(pa.table([[1], [[1, 2]]], schema=strict))
    other = session.load_table(path.absolute(), name="strict")
    assert [column.readable for column in other.columns()] == [True, False]
    assert other.read().to_pylist() == [{"a": 1}]


def test_c11_rows_by_start_limit_where_and_order(
    session: scorestream.Session,
    table: scorestream.Table,
    customers: pa.Table,
    ask: Ask,
    run: Run,
    local: scorestream.Client,
) -> None:
    """Any rows, as Arrow computes them: as rows, as CSV, and as files of each format."""
    assert table.read() == customers
    assert table.read(20_000, 7) == customers.slice(20_000, 7)
    assert table.read(59_999, 7).num_rows == 1
    assert table.read(70_000).num_rows == table.read(0, 0).num_rows == 0
    assert table.read(70_000).schema == customers.schema
    few = customers.filter(pc.field("segment_id") == 2)
    assert table.read(where="segment_id = 2") == few
    assert table.read(19_990, 100, where="segment_id = 2") == few.slice(19_990)
    ordered = customers.take(
        pc.sort_indices(customers, sort_keys=[("var3", "descending"), ("segment_id", "ascending")])
    )
    assert table.read(order_by=["var3 desc", "segment_id"]) == ordered
    assert table.read(30_000, 5, order_by=["var3 desc", "segment_id asc"]) == ordered.slice(30_000, 5)
    top = few.take(pc.sort_indices(few, sort_keys=[("var1", "descending")]))
    assert table.read(limit=3, where="segment_id = 2", order_by="var1 desc") == top.slice(0, 3)
    batches = list(table.batches(where="segment_id = 2"))
    assert pa.Table.from_batches(batches) == few

    shown = ask("table", "rows", session.id, "customers", "--start", 5, "--limit", 2)
    assert shown == customers.slice(5, 2).to_pylist()
    words = ("--where", "segment_id = 2", "--order-by", "var1 desc", "--limit", 3, "--csv")
    text = run("table", "rows", session.id, "customers", *words, "--server", local.address).stdout
    assert pacsv.read_csv(pa.BufferReader(text.encode())).to_pylist() == top.slice(0, 3).to_pylist()
    assert b"".join(table.csv(10, 0)) == b'"segment_id","customer_id","var1","var2","var3"\n'
    everything = pacsv.read_csv(pa.BufferReader(b"".join(table.csv())))
    assert everything["customer_id"] == customers["customer_id"]
    assert np.allclose(everything["var2"], customers["var2"])

    for ending, read in (
        (".parquet", pq.read_table),
        (".arrow", lambda path: pa.ipc.open_file(path).read_all()),
    ):
        path = Path(f"down{ending}").absolute()
        run("table", "download", session.id, "customers", path, "--server", local.address)
        assert read(str(path)) == customers
    assert table.download("few.csv", where="segment_id = 2") == 20_000
    assert pacsv.read_csv("few.csv")["customer_id"] == few["customer_id"]
    with pytest.raises(scorestream.AlreadyExistsError):
        table.download("few.csv")


def test_c11_what_cannot_be_read_is_told(table: scorestream.Table) -> None:
    """Unknown columns, wrong predicates and negative numbers are refused by name."""
    for arguments, reason in (
        ({"order_by": "nothing desc"}, "UNKNOWN_COLUMN"),
        ({"where": "nothing = 1"}, "UNKNOWN_COLUMN"),
        ({"where": "var1 +"}, "EXPRESSION_SYNTAX"),
        ({"start": -1}, "BAD_ROWS"),
    ):
        with pytest.raises(scorestream.InvalidArgumentError) as caught:
            table.read(**arguments)
        assert caught.value.reason == reason


def test_c12_files_in_the_home(
    session: scorestream.Session, ask: Ask, run: Run, local: scorestream.Client, tmp_path: Path
) -> None:
    """Sent, fetched, looked at, listed, copied, moved and removed, by the client and by the command line."""
    files, here = session.files, ("--session", session.id, "--server", local.address)
    content = np.random.default_rng(12).bytes(5_000_000)
    (tmp_path / "big.bin").write_bytes(content)
    assert files.list() == []
    seen: list[tuple[int, int]] = []
    with pytest.raises(scorestream.NotFoundError, match="mkdir"):
        files.upload(tmp_path / "big.bin", "in/big.bin")
    assert ask("file", "mkdir", "in/may", "--session", session.id)["directory"]
    assert files.make_directory("in/may").directory
    sent = files.upload(tmp_path / "big.bin", "in/big.bin", report=lambda *done: seen.append(done))
    assert (sent.path, sent.size_bytes, sent.directory) == ("in/big.bin", len(content), False)
    assert seen[-1] == (len(content), len(content))
    assert files.info("in/big.bin") == files.info("home:in/big.bin") == sent
    assert files.read("in/big.bin") == content
    assert b"".join(files.stream("in/big.bin", offset=4_999_990, etag=sent.etag)) == content[-10:]
    assert [(file.name, file.directory) for file in files.list("in")] == [("big.bin", False), ("may", True)]

    run("file", "put", "big.bin", "in/may/", *here)
    run("file", "get", "in/may/big.bin", "back.bin", *here)
    assert (tmp_path / "back.bin").read_bytes() == content
    assert "already" in run("file", "put", "big.bin", "in/may/", *here, check=2).stderr
    assert "already" in run("file", "get", "in/may/big.bin", "back.bin", *here, check=2).stderr
    assert [row["path"] for row in ask("file", "ls", "in", "--session", session.id)] == [
        "in/big.bin",
        "in/may",
    ]
    assert ask("file", "info", "in/big.bin", "--session", session.id)["etag"] == sent.etag
    assert ask("file", "cp", "in/big.bin", "copy.bin", "--session", session.id)["path"] == "copy.bin"
    assert (
        ask("file", "mv", "copy.bin", "in/may/moved.bin", "--session", session.id)["size_bytes"] == 5_000_000
    )
    assert files.read("in/may/moved.bin") == content
    files.move("in/may", "may")
    assert [file.name for file in files.list("may")] == ["big.bin", "moved.bin"]
    assert "not empty" in run("file", "rm", "may", *here, check=2).stderr
    run("file", "rm", "may", "--recursive", *here)
    run("file", "rm", "in/big.bin", *here)
    assert [file.path for file in files.list()] == ["in"]
    assert files.upload(b"", "empty").size_bytes == 0
    assert files.read("empty") == b""


def test_c12_an_etag_guards_what_is_replaced(session: scorestream.Session) -> None:
    """Who has not seen the newest file neither replaces it nor goes on with a download of another."""
    files = session.files
    first = files.upload(b"first", "a.txt")
    with pytest.raises(scorestream.AlreadyExistsError):
        files.upload(b"second", "a.txt")
    second = files.upload(b"second", "a.txt", etag=first.etag)
    assert second.etag != first.etag
    other = files.upload(b"other", "b.txt")
    for stale in (
        lambda: files.upload(b"third", "a.txt", replace=True, etag=first.etag),
        lambda: files.upload(b"new", "c.txt", etag=first.etag),
        lambda: files.copy("b.txt", "a.txt", etag=first.etag),
        lambda: files.move("b.txt", "a.txt", etag=first.etag),
        lambda: files.delete("a.txt", etag=first.etag),
        lambda: list(files.stream("a.txt", offset=2, etag=first.etag)),
    ):
        with pytest.raises(scorestream.FailedPreconditionError) as caught:
            stale()
        assert caught.value.reason == "FILE_CHANGED"
    assert files.read("a.txt") == b"second"
    assert files.move("b.txt", "a.txt", etag=second.etag).size_bytes == other.size_bytes
    with pytest.raises(scorestream.OutOfRangeError):
        list(files.stream("a.txt", offset=6))


def test_c12_home_files_are_input_output_and_models(
    session: scorestream.Session,
    customers_file: Path,
    customers: pa.Table,
    ask: Ask,
    local: scorestream.Client,
) -> None:
    """A job reads, scores with and writes files of the home, and what it wrote is there whole."""
    files = session.files
    files.make_directory("in")
    files.upload(customers_file, "in/customers.parquet")
    files.upload(SCORE_CODE.encode(), "scorer.sql")
    model = files.register_model("scorer.sql", "from_home")
    assert ask("model", "add", "home:scorer.sql", "--name", "from_home", "--session", session.id)[
        "version"
    ] == (model.version)
    table = session.load_table("home:in")
    assert (table.name, table.rows, table.info.source_paths) == ("in", 60_000, ("home:in",))
    job = session.score(model, table, keep=["customer_id"], out_path="home:scores.parquet")
    job.wait()
    assert job.refresh().info.outputs == ("home:scores.parquet",)
    assert job.info.out_path == "home:scores.parquet"
    files.download("scores.parquet")
    assert pq.read_table("scores.parquet")["customer_id"] == customers["customer_id"]
    with pytest.raises(scorestream.AlreadyExistsError):
        session.score(model, table, out_path="home:scores.parquet")
    session.score(model, table, out_path="home:in/parts").wait()
    assert "_SUCCESS" in {file.name for file in files.list("in/parts")}
    assert session.load_table("home:in/parts", name="parts").rows == 60_000
    assert [file.name for file in files.list()] == ["in", "scorer.sql", "scores.parquet"]
    with pytest.raises(scorestream.NotFoundError):
        session.load_table("home:nothing.csv")
    del local


def test_c13_filerefs(
    session: scorestream.Session,
    model: scorestream.Model,
    ask: Ask,
    run: Run,
    local: scorestream.Client,
    customers_file: Path,
    tmp_path: Path,
) -> None:
    """Names for files: assigned, listed, read, used in jobs, and deassigned while the file stays."""
    files, names, here = session.files, session.filerefs, ("--session", session.id, "--server", local.address)
    missing = names.assign("Custs", "home:customers.parquet")
    assert (missing.name, missing.path, missing.exists) == ("custs", "home:customers.parquet", False)
    with pytest.raises(scorestream.NotFoundError, match="fileref:CUSTS stands for"):
        session.load_table("fileref:CUSTS", name="customers")
    files.upload(customers_file, "customers.parquet")
    assert names.get("CUSTS").exists
    table = session.load_table("fileref:custs")
    assert (table.name, table.rows) == ("custs", 60_000)

    assert ask("fileref", "assign", "scores", "home:scores.csv", "--session", session.id)["exists"] is False
    job = session.score(model, table, where="segment_id = 1", out_path="fileref:scores")
    job.wait()
    assert job.refresh().info.outputs == ("home:scores.csv",)
    run("fileref", "get", "scores", "got.csv", *here)
    assert pacsv.read_csv("got.csv").num_rows == 20_000
    assert files.read("fileref:scores") == (tmp_path / "got.csv").read_bytes()

    (tmp_path / "outside.sql").write_text("var1 * 2 AS twice")
    names.assign("outside", tmp_path / "outside.sql")
    assert files.read("fileref:outside") == b"var1 * 2 AS twice"
    assert files.info("fileref:outside").size_bytes == 17
    assert files.register_model("fileref:outside", "from_fileref").info.outputs[0].name == "twice"
    with pytest.raises(scorestream.InvalidArgumentError, match="only be read"):
        files.upload(b"x", "fileref:outside", replace=True)
    assert [row["name"] for row in ask("fileref", "list", "--session", session.id)] == [
        "custs",
        "outside",
        "scores",
    ]
    assert ask("fileref", "show", "scores", "--session", session.id)["exists"]

    with pytest.raises(scorestream.NotFoundError, match="did you mean 'scores'"):
        names.get("score")
    with pytest.raises(scorestream.NotFoundError, match="custs, outside, scores"):
        session.load_table("fileref:entirely_other")
    for bad in ("9x", "a b", "a" * 33, "", "ü"):
        with pytest.raises(scorestream.InvalidArgumentError):
            names.assign(bad, "home:x")
    with pytest.raises(scorestream.InvalidArgumentError):
        names.assign("x", "fileref:custs")
    run("fileref", "deassign", "custs", *here)
    with pytest.raises(scorestream.NotFoundError):
        session.load_table("fileref:custs", name="gone")
    assert files.info("customers.parquet").size_bytes == customers_file.stat().st_size


def test_c13_files_and_filerefs_end_with_their_session(local: scorestream.Client) -> None:
    """Nothing of an ended session is left to read."""
    session = local.create_session("ends")
    session.files.upload(b"x", "x.txt")
    session.filerefs.assign("x", "home:x.txt")
    session.terminate()
    for read in (lambda: session.files.read("x.txt"), session.filerefs.list, session.libraries.list):
        with pytest.raises(scorestream.FailedPreconditionError) as caught:
            read()
        assert caught.value.reason == "SESSION_ENDED"


@pytest.mark.parametrize("topic", ["file", "fileref", "library", "table"])
def test_c12_every_command_has_help_with_an_example(run: Run, topic: str) -> None:
    """A person finds out how to call it."""
    listed = run(topic, "--help").stdout
    words = {"file": "ls info put get cp mv rm mkdir", "fileref": "assign list show get deassign"}
    words |= {"library": "list", "table": "columns rows download"}
    for command in words[topic].split():
        assert command in listed
        assert f"scorestream {topic} {command}" in run(topic, command, "--help").stdout.replace("\n", " ")
