"""Arrow and Parquet files: in place where possible, refused by name where damaged."""

import gc
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.table import FileFormat, TableData
from scorestream_server.tables import arrow_source
from scorestream_server.tables.conditions import Condition
from scorestream_server.tables.files import disk_errors
from scorestream_server.tables.ipc_messages import MalformedMessageError, file_claims, message_claim
from scorestream_server.tables.parquet_reading import Scratch
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table

TABLE = pa.table(
    {
        "x": pa.array(np.arange(1000, dtype=np.float32)),
        "s": pa.array([None if n % 7 == 0 else f"text {n}" for n in range(1000)]),
    }
)


def write_arrow(path: Path, table: pa.Table, compression: str | None = None, *, stream: bool = False) -> Path:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink:
        make = pa.ipc.new_stream if stream else pa.ipc.new_file
        with make(sink, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=300)
    return path


def rows(table: TableData) -> pa.Table:
    return TableReader().head(table, table.rows + 1)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    path.mkdir()
    return path


def test_plain_arrow_and_parquet_stay_in_place_and_the_rest_is_converted(tmp_path: Path, cache: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet", row_group_size=300)
    feather.write_feather(TABLE, str(tmp_path / "z.feather"), compression="zstd")
    dictionary = TABLE.set_column(1, "s", TABLE.column("s").combine_chunks().dictionary_encode())
    made = {
        write_arrow(tmp_path / "plain.arrow", TABLE): True,
        write_arrow(tmp_path / "dictionary.arrow", dictionary): True,
        tmp_path / "t.parquet": True,
        write_arrow(tmp_path / "lz4.arrow", TABLE, "lz4"): False,
        tmp_path / "z.feather": False,
        write_arrow(tmp_path / "stream.arrow", TABLE, stream=True): False,
        write_arrow(tmp_path / "lz4_stream.ipc", dictionary, "lz4", stream=True): False,
    }
    for path, in_place in made.items():
        table = load_table([path], cache)
        assert table.in_place is in_place, path
        assert (table.files == table.sources) is in_place
        assert table.sources[0].path == str(path)
        assert table.sources[0].size == path.stat().st_size
        assert table.format is (FileFormat.PARQUET if path.suffix == ".parquet" else FileFormat.ARROW)
        assert rows(table) == TABLE, path
    assert len(list(cache.iterdir())) == 4


def test_several_files_are_one_table_whatever_the_order_of_their_columns(tmp_path: Path, cache: Path) -> None:
    turned = TABLE.select(["s", "x"])
    for suffix in ("parquet", "arrow", "lz4.arrow"):
        one, two = tmp_path / f"1.{suffix}", tmp_path / f"2.{suffix}"
        for path, table in ((one, TABLE), (two, turned)):
            if suffix == "parquet":
                pq.write_table(table, path)
            else:
                write_arrow(path, table, "lz4" if "lz4" in suffix else None)
        assert rows(load_table([one, two], cache)) == pa.concat_tables([TABLE, TABLE]).combine_chunks()


def test_other_columns_are_named_with_their_file(tmp_path: Path, cache: Path) -> None:
    pq.write_table(TABLE, tmp_path / "1.parquet")
    pq.write_table(TABLE.rename_columns(["x", "t"]), tmp_path / "2.parquet")
    pq.write_table(TABLE.set_column(0, "x", pa.array(range(1000))), tmp_path / "3.parquet")
    with pytest.raises(ScorestreamError) as caught:
        load_table([tmp_path / f"{n}.parquet" for n in (1, 2, 3)], cache)
    assert caught.value.reason == "SCHEMA_MISMATCH"
    assert [(fault.field, fault.description) for fault in caught.value.faults] == [
        ("2.parquet", "column 's' is missing; column 't' is only here"),
        ("3.parquet", "column 'x' is int64, not float"),
    ]


def test_empty_tables_and_tables_of_nulls(tmp_path: Path, cache: Path) -> None:
    nothing = pa.table({"n": pa.nulls(5), "x": pa.nulls(5, pa.float32()), "s": pa.nulls(5, pa.string())})
    for at, table in enumerate((TABLE.slice(0, 0), nothing)):
        pq.write_table(table, tmp_path / f"{at}.parquet")
        for path in (tmp_path / f"{at}.parquet", write_arrow(tmp_path / f"{at}.arrow", table)):
            loaded = load_table([path], cache)
            assert loaded.rows == table.num_rows
            assert plan_partitions(loaded, 100) == () or at
            assert rows(loaded).column_names == table.column_names
            assert all(column.null_count == table.num_rows for column in rows(loaded).columns)


@pytest.mark.parametrize("names", [["a", "a"], ["a", ""], ["a", "  "]])
def test_bad_column_names_are_refused(tmp_path: Path, cache: Path, names: list[str]) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=names)
    pq.write_table(table, tmp_path / "t.parquet")
    for path in (tmp_path / "t.parquet", write_arrow(tmp_path / "t.arrow", table)):
        with pytest.raises(ScorestreamError) as caught:
            load_table([path], cache)
        assert caught.value.reason == "BAD_COLUMN_NAMES"


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "lz4.arrow", "stream.arrow"])
def test_files_cut_short_are_refused_and_leave_nothing(tmp_path: Path, cache: Path, name: str) -> None:
    path = tmp_path / name
    if name == "t.parquet":
        pq.write_table(TABLE, path)
    else:
        write_arrow(path, TABLE, "lz4" if name == "lz4.arrow" else None, stream=name == "stream.arrow")
    whole = path.read_bytes()
    for size in (0, 3, 7, 20, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:size])
        with pytest.raises(ScorestreamError) as caught:
            load_table([path], cache)
        assert caught.value.reason == "CORRUPT_DATA", size
        assert name in caught.value.message
    assert list(cache.iterdir()) == []


def test_corrupt_offsets_are_found_when_the_batch_is_read(tmp_path: Path, cache: Path) -> None:
    path = write_arrow(tmp_path / "t.arrow", TABLE.select(["s"]))
    data = bytearray(path.read_bytes())
    offsets = TABLE.column("s").slice(0, 300).combine_chunks().buffers()[1].to_pybytes()[: 301 * 4]
    at = bytes(data).find(offsets[:400])
    assert at > 0
    data[at + 40 : at + 44] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(data)
    loaded = load_table([path], cache)
    with pytest.raises(ScorestreamError) as caught:
        rows(loaded)
    assert caught.value.reason == "CORRUPT_DATA"


@pytest.mark.parametrize("form", ["arrow", "lz4", "stream", "dictionary", "parquet"])
def test_damaged_files_give_an_error_or_rows_but_never_a_crash(
    tmp_path: Path, cache: Path, form: str
) -> None:
    path = tmp_path / ("t.parquet" if form == "parquet" else "t.arrow")
    table = TABLE.slice(0, 200)
    if form == "dictionary":
        table = table.set_column(1, "s", table.column("s").combine_chunks().dictionary_encode())
    if form == "parquet":
        pq.write_table(table, path, row_group_size=50)
    else:
        write_arrow(path, table, "lz4" if form == "lz4" else None, stream=form == "stream")
    whole = path.read_bytes()
    dice = random.Random(7)
    refused = 0
    where = [Condition(pc.field("x") > 5.0, ("x",)), Condition(pc.field("s") != "b", ("s",))]
    for case in range(400 if form == "parquet" else 120):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            # Every second hit goes to the last part, where the footer is.
            at = dice.randrange(len(data)) if dice.random() < 0.5 else len(data) - 1 - dice.randrange(700)
            data[at] = dice.choice([0, 1, 127, 128, 255, dice.randrange(256)])
        path.write_bytes(data)
        try:
            loaded = load_table([path], cache)
            for part in plan_partitions(loaded, 60)[:50]:
                list(
                    TableReader().read(
                        loaded, part, ["x", "s"], where[: case % 3], scratch=Scratch("job", tmp_path)
                    )
                )
        except ScorestreamError:
            refused += 1
    assert refused > 10


def test_a_compressed_batch_that_claims_too_much_is_refused_before_it_is_decoded(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = pa.table({"x": np.zeros(4_000_000)})
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(sink, zeros.schema, options=options) as writer:
            writer.write_table(zeros)
    assert (tmp_path / "t.arrow").stat().st_size < 10_000
    monkeypatch.setattr(arrow_source, "MAX_COMPRESSED_BATCH", 31_000_000)
    with pytest.raises(ScorestreamError) as caught:
        load_table([tmp_path / "t.arrow"], cache)
    assert caught.value.reason == "BATCH_TOO_LARGE"
    assert "32,000,000" in caught.value.message


def test_claims_are_read_as_arrow_wrote_them(tmp_path: Path) -> None:
    path = write_arrow(tmp_path / "t.arrow", TABLE)
    claims = file_claims(path.read_bytes())
    assert [claim.rows for claim in claims.batches] == [300, 300, 300, 100]
    assert not any(claim.compressed for claim in claims.batches)
    batch = TABLE.to_batches()[0]
    claim = message_claim(batch.serialize())
    assert claim is not None
    assert claim.rows == 1000
    assert claim.bytes >= batch.nbytes
    assert message_claim(TABLE.schema.serialize()) is None


def test_a_batch_that_claims_more_rows_than_its_bytes_can_hold_is_malformed() -> None:
    data = pa.record_batch({"x": np.zeros(987_654, np.int32)}).serialize().to_pybytes()
    assert data.count((987_654).to_bytes(8, "little")) >= 2  # of the batch and of its column
    with pytest.raises(MalformedMessageError, match="more than its bytes can hold"):
        message_claim(
            pa.py_buffer(data.replace((987_654).to_bytes(8, "little"), (10**12).to_bytes(8, "little")))
        )


def test_a_full_disk_and_a_closed_directory_are_errors_a_person_can_act_on(tmp_path: Path) -> None:
    for error, code in (
        (OSError(28, "No space left on device"), ErrorCode.RESOURCE_EXHAUSTED),
        (
            OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),
            ErrorCode.RESOURCE_EXHAUSTED,
        ),
        (OSError(13, "Permission denied"), ErrorCode.PERMISSION_DENIED),
    ):
        with pytest.raises(ScorestreamError) as caught, disk_errors(tmp_path):
            raise error
        assert caught.value.code is code
    with (
        pytest.raises(ScorestreamError) as caught,
        disk_errors(tmp_path),
        pa.OSFile("/dev/full", "wb") as sink,
    ):
        sink.write(b"x" * (1 << 20))
    assert caught.value.reason == "DISK_FULL"


def test_garbage_of_refused_files_is_collected_in_peace(tmp_path: Path) -> None:
    """Errors about damaged files that end up in reference cycles do not crash the process that collects them."""
    path = tmp_path / "t.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    content = path.read_bytes()
    source = random.Random(1)  # damage that is the same each time
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(2):
            damaged[-source.randrange(1, 400)] = source.randrange(256)
        try:
            file_claims(bytes(damaged))
        except MalformedMessageError as error:
            error.cycle = error  # type: ignore[attr-defined]
            refused += 1
    gc.collect()
    assert refused > 20
