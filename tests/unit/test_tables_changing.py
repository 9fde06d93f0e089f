"""Files that change under tables: noticed, survived, never mixed; and the versions that are kept of them."""

import decimal
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.messages import HeadRead, LoadTable, ReadHead, TableLoaded
from scorestream_server.domain.table import (
    FileFormat,
    InputFile,
    LoadOptions,
    Partition,
    SourceChange,
    SourceFile,
    TableData,
)
from scorestream_server.store.relocation import relocate
from scorestream_server.store.schema import METADATA, SESSIONS, TABLES
from scorestream_server.tables.identity import TICK_NS, change, etag, source_in_place
from scorestream_server.tables.kept import (
    current,
    keep_copies,
    keep_replaced,
    keep_sources,
    kept_name,
    needed_names,
    steadily,
    sweep,
)
from scorestream_server.tables.mapping import apart, copied_out, open_arrow
from scorestream_server.tables.parquet_reading import Scratch
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table
from scorestream_server.workers.local import LocalPool

PRIVATE = LoadOptions(on_source_change=SourceChange.PRIVATE_COPY)
ROWS = 40_000


def write(path: Path, value: int, rows: int = ROWS) -> None:
    """Write a file anew in its place, of batches whose rows all say the same; of one size for each value below 10."""
    table = pa.table({"x": np.full(rows, value, np.float64), "s": [f"text {value}"] * rows})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5000)


def read(reader: TableReader, table: TableData, scratch: Path) -> pa.Table:
    """Read all rows, partition by partition, as a lane does."""
    found: list[pa.RecordBatch] = []
    for part in plan_partitions(table, 7000):

        def rows(part: Partition = part) -> list[pa.RecordBatch]:
            batches = reader.read(table, part, ["x", "s"], scratch=Scratch("job", scratch))
            return [apart(batch) for batch in batches]

        found += steadily(table, table.files, rows)
    return pa.Table.from_batches(found)


def fails(work: Callable[[], object]) -> ScorestreamError:
    """Return the error of what must fail because a file changed."""
    with pytest.raises(ScorestreamError) as caught:
        work()
    assert (caught.value.code, caught.value.reason) == (ErrorCode.FAILED_PRECONDITION, "SOURCE_CHANGED")
    return caught.value


def cut_short(path: Path) -> None:
    os.truncate(path, 4000)


def written_again(path: Path) -> None:
    write(path, 2)


def given_its_old_time(path: Path) -> None:
    found = path.stat()
    write(path, 2)
    assert path.stat().st_size == found.st_size
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def replaced_by_a_copy_with_its_time(path: Path) -> None:
    """As ``cp -p`` and ``mv`` do."""
    other = path.with_suffix(".other")
    write(other, 2)
    shutil.copystat(path, other)
    other.replace(path)


def removed(path: Path) -> None:
    path.unlink()


CHANGES: dict[Callable[[Path], None], str] = {
    cut_short: "was cut short at",
    written_again: "was written again at",
    given_its_old_time: "given its old time",
    replaced_by_a_copy_with_its_time: "was replaced by another file, written at",
    removed: "is gone",
}


@pytest.mark.parametrize("spoil", CHANGES, ids=lambda spoil: spoil.__name__)
def test_a_change_is_told_for_what_it_is_and_nothing_is_read(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    write(tmp_path / "t.arrow", 1)
    table = load_table([tmp_path / "t.arrow"], tmp_path)
    reader = TableReader()
    part = plan_partitions(table, ROWS)[0]
    begun = reader.read(table, part, ["x"], scratch=Scratch("job", tmp_path))
    assert next(begun).num_rows
    spoil(tmp_path / "t.arrow")
    for work in (lambda: list(begun), lambda: read(reader, table, tmp_path)):
        error = fails(work)
        assert CHANGES[spoil] in error.message
        assert error.metadata["path"] == str(tmp_path / "t.arrow")
        assert "Load the table again" in error.message


@pytest.mark.parametrize("spoil", CHANGES, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_a_partition_goes_on_from_the_private_copy(
    tmp_path: Path, spoil: Callable[[Path], None], form: str
) -> None:
    """Also one in the middle, which found the change at its end: it is read again, all of it from the copy."""
    path = tmp_path / f"t.{form}"
    write(path, 1)
    if form == "parquet":
        pq.write_table(pa.ipc.open_file(pa.OSFile(str(path))).read_all(), path, row_group_size=9000)
    kept = tmp_path / "kept"
    table = keep_sources(load_table([path], tmp_path, PRIVATE), PRIVATE, str(kept))
    reader, parts = TableReader(), plan_partitions(table, 15_000)
    tries = 0

    def rows() -> list[pa.RecordBatch]:
        nonlocal tries
        tries += 1
        found: list[pa.RecordBatch] = []
        for batch in reader.read(table, parts[1], ["x", "s"], scratch=Scratch("job", tmp_path)):
            if tries == 1 and not found:
                spoil(path)
            found.append(apart(batch))
        return found

    found = pa.Table.from_batches(steadily(table, table.files, rows))
    assert tries == 2
    assert found.num_rows == parts[1].rows
    assert set(found["x"].to_pylist()) == {1.0}
    assert set(found["s"].to_pylist()) == {"text 1"}
    assert read(reader, table, tmp_path).num_rows == ROWS


def test_random_changes_at_random_moments_kill_nobody_and_mix_nothing(tmp_path: Path) -> None:
    """What is read without an error is what was loaded, to the last row, whatever is done to the file meanwhile."""
    path, chance = tmp_path / "t.arrow", random.Random(11)
    changes = [cut_short, written_again, given_its_old_time, removed]
    good, refused = 0, 0
    for _ in range(20):
        write(path, 1)
        table = load_table([path], tmp_path)
        started = threading.Event()
        outcomes: list[object] = []

        def lane(
            table: TableData = table, started: threading.Event = started, outcomes: list[object] = outcomes
        ) -> None:
            reader = TableReader()
            started.set()
            try:
                outcomes.extend(read(reader, table, tmp_path) for _ in range(20))
            except ScorestreamError as error:
                outcomes.append(error)

        lanes = [threading.Thread(target=lane) for _ in range(2)]
        for one in lanes:
            one.start()
        started.wait()
        time.sleep(chance.random() * 0.02)
        with suppress(FileNotFoundError):
            chance.choice(changes)(path)
        for one in lanes:
            one.join()
        for outcome in outcomes:
            if isinstance(outcome, pa.Table):
                good += 1
                assert set(outcome["x"].to_pylist()) == {1.0}
                assert set(outcome["s"].to_pylist()) == {"text 1"}
                assert outcome.num_rows == ROWS
            else:
                refused += 1
                assert isinstance(outcome, ScorestreamError)
                assert outcome.reason == "SOURCE_CHANGED"
    assert refused >= 20
    assert good


def test_a_file_that_was_just_written_is_looked_at_again(tmp_path: Path) -> None:
    """So that what is written within the same tick of the clock, of the same size, is noticed."""
    path = tmp_path / "t"
    for _ in range(20):
        path.write_bytes(b"one")
        file = source_in_place(path)
        assert time.time_ns() - file.ctime_ns >= TICK_NS
        times = path.stat()
        with path.open("r+b") as opened:
            opened.write(b"two")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert "given its old time" in change(file)


def test_other_permissions_are_told_as_a_change_that_may_be_that(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"x")
    file = source_in_place(path)
    path.chmod(0o600)
    assert "or got other permissions" in change(file)


def test_files_of_our_own_may_move(tmp_path: Path) -> None:
    """Their size and time are all that tells them, and those a copy of the data directory keeps."""
    write(tmp_path / "t.arrow", 1)
    loaded = load_table([tmp_path / "t.arrow"], tmp_path)
    table = keep_sources(loaded, LoadOptions(), "")
    assert etag(loaded.sources)
    assert etag(table.sources) == ""
    shutil.copy2(tmp_path / "t.arrow", tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / "t.arrow")
    assert read(TableReader(), table, tmp_path).num_rows == ROWS


def test_copies_are_shared_and_go_when_nobody_needs_them(tmp_path: Path) -> None:
    write(tmp_path / "t.arrow", 1)
    kept = tmp_path / "kept"
    tables = [
        keep_sources(load_table([tmp_path / "t.arrow"], tmp_path, PRIVATE), PRIVATE, str(kept))
        for _ in range(2)
    ]
    (one,) = kept.iterdir()
    assert {one.name} == needed_names(tables[0]) == needed_names(tables[1])
    assert one.stat().st_ino != (tmp_path / "t.arrow").stat().st_ino
    assert one.read_bytes() == (tmp_path / "t.arrow").read_bytes()
    assert sweep(kept, needed_names(tables[0])) == 0
    assert sweep(kept, []) == 1
    assert not list(kept.iterdir())
    assert sweep(tmp_path / "nothing", []) == 0


def test_a_copy_that_is_cancelled_or_fails_leaves_nothing(tmp_path: Path) -> None:
    path, kept = tmp_path / "t.arrow", tmp_path / "kept"
    write(path, 1)
    file = source_in_place(path)
    with pytest.raises(ScorestreamError) as caught:
        keep_copies([file], kept, lambda: True)
    assert caught.value.code is ErrorCode.CANCELLED
    written_again(path)
    assert "was written again" in fails(lambda: keep_copies([file], kept)).message
    removed(path)
    assert "is gone" in fails(lambda: keep_copies([file], kept)).message
    assert not list(kept.iterdir())


def test_what_is_to_be_replaced_is_kept_for_those_who_read_it_alone(tmp_path: Path) -> None:
    """By a second name, which costs nothing; what no table reads goes with its name."""
    path, kept = tmp_path / "data" / "t.arrow", tmp_path / "kept"
    path.parent.mkdir()
    write(path, 1)
    file, stale = source_in_place(path), SourceFile(str(path), 1, 1, 1, 1)
    keep_replaced(path, [stale], kept)
    keep_replaced(tmp_path / "other", [file], kept)
    assert not kept.exists() or not list(kept.iterdir())
    keep_replaced(path.parent, [file, stale], kept)
    assert (kept / kept_name(file)).stat().st_ino == file.inode
    replaced_by_a_copy_with_its_time(path)
    assert current(file, str(kept)).path == str(kept / kept_name(file))
    keep_replaced(path, [file], kept)
    assert len(list(kept.iterdir())) == 1


COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[object]]] = {
    "f": (pa.float64(), st.floats(allow_nan=False)),
    "i": (pa.int16(), st.integers(-100, 100)),
    "b": (pa.bool_(), st.booleans()),
    "s": (pa.string(), st.text(max_size=5)),
    "l": (pa.large_string(), st.text(max_size=5)),
    "y": (pa.binary(), st.binary(max_size=5)),
    "z": (pa.binary(3), st.binary(min_size=3, max_size=3)),
    "v": (pa.string_view(), st.text(max_size=20)),
    "d": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["", "one", "two"])),
    "m": (pa.decimal128(9, 2), st.decimals(-9, 9, places=2).map(lambda one: one or decimal.Decimal(0))),
    "n": (pa.null(), st.none()),
    "t": (pa.timestamp("us"), st.integers(0, 10**9)),
}
RECORDS = st.lists(
    st.tuples(*(st.none() | values for _, values in COLUMNS.values())), min_size=1, max_size=20
)


@given(
    records=RECORDS, cut=st.tuples(st.integers(0, 40), st.integers(0, 40)), width=st.sampled_from([1.0, 3e7])
)
@settings(deadline=None, max_examples=25)
def test_what_other_bytes_depend_on_is_copied_and_says_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[object, ...]],
    cut: tuple[int, int],
    width: float,
) -> None:
    arrays = {
        name: pa.array([record[at] for record in records], kind)
        for at, (name, (kind, _)) in enumerate(COLUMNS.items())
    }
    batch = pa.RecordBatch.from_pydict(arrays)
    path = tmp_path_factory.mktemp("map") / "t.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    opened = open_arrow(source_in_place(path))
    assert opened.mapped
    whole = opened.source.read_buffer()
    opened.source.seek(0)
    found = pa.ipc.open_file(opened.source).get_batch(0)
    slice_ = found.slice(*cut)
    parts = list(copied_out(slice_, width))
    for part in parts:
        part.validate(full=True)
    assert pa.Table.from_batches(parts, batch.schema).to_pydict() == batch.slice(*cut).to_pydict()

    def within(buffer: pa.Buffer | None) -> bool:
        return buffer is not None and whole.address <= buffer.address < whole.address + whole.size

    for part in parts:
        for name, column in zip(part.schema.names, part.columns, strict=True):
            if name == "d":
                continue  # its texts were read into memory when the file was opened
            mask, *rest = column.buffers()
            assert not within(mask)
            if name in {"f", "i", "z", "m", "t"}:
                assert within(rest[0])
            else:
                assert not any(map(within, rest))


@given(offsets=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=4, max_size=4))
@settings(deadline=None)
def test_offsets_that_lead_nowhere_are_an_error_and_not_a_crash(offsets: list[int]) -> None:
    written = np.zeros(4, np.int32)
    buffers = [None, pa.py_buffer(written), pa.py_buffer(b"some text")]
    column = pa.Array.from_buffers(pa.string(), 3, buffers)
    written[:] = offsets  # behind the back of Arrow's first look
    try:
        for part in copied_out(pa.RecordBatch.from_arrays([column], ["s"]), 1.0):
            part.validate(full=True)
            assert offsets == sorted(offsets)
    except pa.ArrowInvalid:
        assert offsets != sorted(offsets) or offsets[0] < 0 or offsets[-1] > 9


_KILLED = """
import faulthandler, mmap, os, sys
faulthandler.enable()
from scorestream_server.tables.identity import source_in_place
from scorestream_server.tables.mapping import open_arrow
from pathlib import Path
path = Path(sys.argv[1])
opened = open_arrow(source_in_place(path))
assert opened.mapped
with path.open("rb") as file:
    other = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
os.truncate(path, 100)
if sys.argv[2] == "ours":
    buffer = opened.source.read_buffer()
    assert bytes(buffer)[100_000:200_000] == bytes(100_000)
    assert opened.torn
else:
    print(other[100_000])
"""


@pytest.mark.parametrize(("which", "code"), [("ours", 0), ("other", -7)])
def test_only_maps_of_tables_are_guarded(tmp_path: Path, which: str, code: int) -> None:
    """A fault in any other map ends the process as ever, and Python says where."""
    write(tmp_path / "t.arrow", 1)
    words = [sys.executable, "-c", _KILLED, str(tmp_path / "t.arrow"), which]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("Fatal Python error: Bus error" in done.stderr) == (which == "other")


@pytest.fixture
def _maps(tmp_path: Path) -> Iterator[None]:
    before = Path("/proc/self/maps").read_text().count(str(tmp_path))
    yield
    assert Path("/proc/self/maps").read_text().count(str(tmp_path)) == before


@pytest.mark.usefixtures("_maps")
def test_a_map_goes_with_the_last_view_of_it(tmp_path: Path) -> None:
    write(tmp_path / "t.arrow", 1)
    opened = open_arrow(source_in_place(tmp_path / "t.arrow"))
    batch = pa.ipc.open_file(opened.source).get_batch(3)
    del opened
    assert str(tmp_path) in Path("/proc/self/maps").read_text()
    assert set(batch.column(0).to_pylist()) == {1.0}
    del batch


async def test_a_worker_goes_on_from_the_private_copy_that_it_made(tmp_path: Path) -> None:
    """Through real messages and a real process, which lives on."""
    write(tmp_path / "t.arrow", 1)
    pool = LocalPool(devices=["cpu"], lanes=1)
    pool.start()
    try:
        worker = await pool.any_ready()
        inputs, kept = (InputFile(str(tmp_path / "t.arrow")),), str(tmp_path / "kept")
        load = LoadTable(pool.next_task_id(), inputs, str(tmp_path), PRIVATE, kept)
        loaded = await pool.run(worker.worker_id, load)
        assert isinstance(loaded, TableLoaded)
        for spoil in (cut_short, written_again, removed):
            spoil(tmp_path / "t.arrow")
            head = await pool.run(worker.worker_id, ReadHead(pool.next_task_id(), loaded.table, 3))
            assert isinstance(head, HeadRead)
            assert pa.ipc.open_stream(head.stream).read_all()["s"].to_pylist() == ["text 1"] * 3
        (copy,) = (tmp_path / "kept").iterdir()
        copy.unlink()
        with pytest.raises(ScorestreamError, match="is gone"):
            await pool.run(worker.worker_id, ReadHead(pool.next_task_id(), loaded.table, 3))
        assert (await pool.any_ready()).pid == worker.pid
    finally:
        await pool.close()


def test_tables_of_older_stores_are_read() -> None:
    """Their files are told by size and time, as they were then."""
    old = (
        b'{"fragments":[{"path":"/a.arrow","format":"arrow","part":0,"rows":3,"bytes":24}],'
        b'"files":[{"path":"/a.arrow","size":10,"mtime_ns":5}],"sources":[{"path":"/a.arrow","size":10,"mtime_ns":5}],'
        b'"schema":"","rows":3,"format":"arrow","in_place":true,"notes":[]}'
    )
    table = msgspec.json.decode(old, type=TableData)
    assert table.files == (SourceFile("/a.arrow", 10, 5),)
    assert (table.kept, table.saved_etag, etag(table.sources), needed_names(table)) == ("", "", "", set())


def test_kept_versions_and_files_of_homes_move_with_the_data_directory(tmp_path: Path) -> None:
    """A copy of a home has other inodes; its files are told by size and time from then on."""
    old, new = "/old/data", tmp_path / "data"
    home = SourceFile(f"{old}/sessions/s1/home/t.arrow", 1, 2, 3, 4)
    user = SourceFile("/user/t.arrow", 1, 2, 3, 4)
    data = TableData(
        (), (home, user), (home, user), b"", 0, FileFormat.ARROW, in_place=True, kept=f"{old}/kept"
    )
    with sa.create_engine("sqlite://").begin() as connection:
        METADATA.create_all(connection)
        session = {"id": "s1", "name": "s", "owner": "o", "state": "ACTIVE", "weight": 1}
        connection.execute(sa.insert(SESSIONS).values(**session, create_time=0.0, last_active_time=0.0))
        row = {"uid": "u", "session_id": "s1", "table_id": "t", "data": msgspec.json.encode(data)}
        connection.execute(
            sa.insert(TABLES).values(
                **row, source_paths=b"[]", size_bytes=1, stored_bytes=0, create_time=0.0, dropped=False
            )
        )
        assert relocate(connection, new) == 1
        assert relocate(connection, new) == 0
        moved = msgspec.json.decode(connection.execute(sa.select(TABLES.c.data)).scalar_one(), type=TableData)
    assert moved.kept == str(new / "kept")
    assert moved.files == (SourceFile(f"{new}/sessions/s1/home/t.arrow", 1, 2), user)
