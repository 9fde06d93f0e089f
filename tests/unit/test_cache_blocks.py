"""Blocks of cached files: checked before they are read, mended from copies, or named."""

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.table import FileFormat, TableData
from scorestream_server.tables.blocks import BLOCK_LOST, with_copies
from scorestream_server.tables.checksums import CACHE_FULL
from scorestream_server.tables.kept import steadily
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table
from scorestream_server.tables.upload import UploadWriter

ROWS = 280_000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "rows.csv"
    text = pa.array(["a text that makes lines longer"] * ROWS)
    rows = pa.table({"a": np.arange(ROWS), "b": np.arange(ROWS) / 2, "c": text})
    pa.csv.write_csv(rows, path)
    return path


@pytest.fixture
def cached(source: Path, tmp_path: Path) -> TableData:
    """A converted table of several blocks with a copy."""
    for name in ("one/uid", "two"):
        (tmp_path / name).mkdir(parents=True)
    return with_copies(load_table([source], tmp_path / "one" / "uid"), [tmp_path / "two" / "uid"])


def values(reader: TableReader, table: TableData) -> list[float]:
    """Read a table partition by partition."""
    found: list[float] = []
    for partition in plan_partitions(table, 50_000):
        for batch in reader.read(table, partition, ["b"], scratch=None):
            found += batch.column(0).to_pylist()
    return found


EXPECTED = (np.arange(ROWS) / 2).tolist()


def flip(path: Path, at: int) -> None:
    """Change one bit as a disk does, which tells nobody."""
    seen = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 16]))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def files_of(table: TableData) -> tuple[Path, Path]:
    (one,) = table.cached
    return Path(one.path), Path(one.copies[0])


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_file_that_is_damaged_while_it_is_read_is_mended_and_read_again(
    cached: TableData, how: str
) -> None:
    """All of the partition; without a copy it is lost, as if it had been damaged before."""
    path, copy = files_of(cached)
    reader, (partition,) = TableReader(), plan_partitions(cached, ROWS)
    tries = 0

    def rows() -> list[float]:
        nonlocal tries
        tries += 1
        found: list[float] = []
        for batch in reader.read(cached, partition, ["b"], scratch=None):
            if not found:
                if tries > 2:
                    copy.unlink()
                if tries != 2:
                    path.unlink() if how == "gone" else os.truncate(path, 100_000)
            found += batch.column(0).to_pylist()
        return found

    assert steadily(cached, cached.files, rows) == EXPECTED
    assert tries == 2
    with pytest.raises(ScorestreamError) as caught:
        steadily(cached, cached.files, rows)
    assert (caught.value.reason, tries) == (BLOCK_LOST, 4)


def test_blocks_are_the_whole_file_and_the_copy_is_the_same_bytes(cached: TableData) -> None:
    """A block a record batch, and the footer; no byte between them."""
    (one,) = cached.cached
    assert len(one.blocks) == len(cached.fragments) + 1 > 3
    ends = [block.offset + block.bytes for block in one.blocks]
    assert [block.offset for block in one.blocks] == [0, *ends[:-1]]
    path, copy = files_of(cached)
    assert ends[-1] == path.stat().st_size == cached.files[0].size
    assert path.read_bytes() == copy.read_bytes()
    assert path.stat().st_mtime_ns == copy.stat().st_mtime_ns
    assert values(TableReader(), cached) == EXPECTED


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_damage_is_read_from_the_copy_and_mended(
    data: st.DataObject, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A flipped bit, a cut, a file that is gone: the rows are the same, and so is the file afterwards."""
    folder = tmp_path_factory.mktemp("damage")
    for name in ("one/uid", "two"):
        (folder / name).mkdir(parents=True)
    table = with_copies(load_table([source], folder / "one" / "uid"), [folder / "two" / "uid"])
    path, copy = files_of(table)
    whole = copy.read_bytes()
    reader = TableReader()
    if data.draw(st.booleans()):  # the process has the file open and has seen some of it
        list(reader.read(table, plan_partitions(table, 50_000)[0], ["b"], scratch=None))
        path.rename(path.with_suffix(".old"))
        path.write_bytes(whole)
        os.utime(path, ns=(table.files[0].mtime_ns,) * 2)
    match data.draw(st.sampled_from(["flip", "cut", "gone", "longer", "touched"])):
        case "flip":
            flip(path, data.draw(st.integers(0, len(whole) - 1)))
        case "cut":
            os.truncate(path, data.draw(st.integers(0, len(whole) - 1)))
        case "gone":
            path.unlink()
        case "longer":
            path.write_bytes(whole + b"x")
        case _:
            path.touch()
    assert values(reader, table) == EXPECTED
    assert path.read_bytes() == whole
    assert path.stat().st_mtime_ns == table.files[0].mtime_ns
    (note,) = reader.cached_files.take_notes()
    assert "It was restored from its copy." in note
    assert str(path) in note
    assert reader.cached_files.take_notes() == []
    assert [found.name for found in path.parent.iterdir() if found.suffix == ".tmp"] == []


def test_damage_in_both_is_mended_where_each_block_is_whole_once(cached: TableData) -> None:
    path, copy = files_of(cached)
    whole = path.read_bytes()
    blocks = cached.cached[0].blocks
    flip(path, blocks[0].offset + 1000)
    flip(copy, blocks[1].offset + 1000)
    assert values(TableReader(), cached) == EXPECTED
    assert path.read_bytes() == whole


def test_a_block_that_is_nowhere_is_named(cached: TableData) -> None:
    """Rows of other blocks are read all the same."""
    path, copy = files_of(cached)
    block = cached.cached[0].blocks[1]
    for file in (path, copy):
        flip(file, block.offset + 1000)
    reader = TableReader()
    parts = plan_partitions(cached, 50_000)
    first = [row for batch in reader.read(cached, parts[0], ["b"], scratch=None) for row in batch.column(0)]
    assert len(first) == parts[0].rows
    with pytest.raises(ScorestreamError) as caught:
        values(TableReader(), cached)
    assert (caught.value.code, caught.value.reason) == (ErrorCode.DATA_LOSS, BLOCK_LOST)
    assert caught.value.message == (
        f"Block 1 of the cached file {str(path)!r} is damaged, and none of its copies has that. Load the table again."
    )
    alone = replace(cached, cached=(replace(cached.cached[0], copies=()),))
    with pytest.raises(ScorestreamError, match="is damaged, and it has no copy"):
        values(TableReader(), alone)
    path.unlink()
    with pytest.raises(ScorestreamError, match="is gone, and it has no copy"):
        values(TableReader(), alone)


def test_a_directory_that_is_gone_is_not_made_anew(cached: TableData, tmp_path: Path) -> None:
    """It may be a disk that is not mounted: rows come from the copy, and nothing is written in its place."""
    (tmp_path / "one").rename(tmp_path / "away")
    reader = TableReader()
    assert values(reader, cached) == EXPECTED
    assert not (tmp_path / "one").exists()
    notes = reader.cached_files.take_notes()
    assert "It was read from its copy" in notes[0]
    (tmp_path / "away").rename(tmp_path / "one")
    assert values(reader, cached) == EXPECTED


def test_a_block_is_checked_once_a_process_and_file(cached: TableData) -> None:
    """What it saw whole it trusts, until the name stands for another file; a new process looks again."""
    reader = TableReader()
    values(reader, cached)
    path, copy = files_of(cached)
    last = cached.cached[0].blocks[-2]
    flip(path, last.offset + last.bytes - 1)
    list(reader.read(cached, plan_partitions(cached, 50_000)[-1], ["a"], scratch=None))
    assert reader.cached_files.take_notes() == []
    assert values(TableReader(), cached) == EXPECTED
    assert path.read_bytes() == copy.read_bytes()
    path.write_bytes(b"\0" * path.stat().st_size)
    os.utime(path, ns=(cached.files[0].mtime_ns + 1,) * 2)
    assert values(reader, cached) == EXPECTED
    assert len(reader.cached_files.take_notes()) == 1


def test_uploads_have_blocks_too_and_no_more_room_than_there_is(tmp_path: Path) -> None:
    rows = pa.table({"a": np.arange(1000.0)})
    batches = rows.to_batches()
    with UploadWriter(tmp_path / "u.arrow", max_rows=10_000, max_bytes=1 << 20) as writer:
        writer.schema(rows.schema.serialize().to_pybytes())
        writer.batch(batches[0].serialize().to_pybytes())
        table = writer.finish()
    assert len(table.cached[0].blocks) == 2
    with UploadWriter(tmp_path / "v.arrow", max_rows=10_000, max_bytes=1 << 20, room=5000) as writer:
        writer.schema(rows.schema.serialize().to_pybytes())
        with pytest.raises(ScorestreamError) as caught:
            writer.batch(batches[0].serialize().to_pybytes())
    assert caught.value.reason == CACHE_FULL
    assert [path.name for path in tmp_path.iterdir()] == ["u.arrow"]


def test_a_conversion_takes_no_more_room_than_there_is(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ScorestreamError) as caught:
        load_table([source], tmp_path, room=100_000)
    assert caught.value.reason == CACHE_FULL
    assert list(tmp_path.iterdir()) == []


def test_tables_of_older_stores_are_read_as_they_are() -> None:
    """What a store of before the cache holds decodes, and has no blocks to check."""
    old = b'{"fragments":[],"files":[],"sources":[],"schema":"","rows":0,"format":"arrow","in_place":true,"notes":[]}'
    table = msgspec.json.decode(old, type=TableData)
    assert table.format is FileFormat.ARROW
    assert (table.cached, table.recipe, table.evicted) == ((), None, False)
    assert msgspec.json.decode(msgspec.json.encode(table), type=TableData) == table


def test_a_table_with_everything_survives_the_store(cached: TableData) -> None:
    for codec in (msgspec.json, msgspec.msgpack):
        assert codec.decode(codec.encode(cached), type=TableData) == cached
