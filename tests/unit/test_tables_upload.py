"""Uploads are checked to the last offset, stored whole, or leave nothing."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.tables import columns as columns_module
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.upload import UploadWriter

TABLE = pa.table(
    {"x": np.arange(1000, dtype=np.float32), "s": [None if n % 7 == 0 else f"t{n}" for n in range(1000)]}
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def writer(folder: Path, rows: int = 10**6, size: int = 10**8) -> UploadWriter:
    return UploadWriter(folder / "up.arrow", max_rows=rows, max_bytes=size)


def send(folder: Path, table: pa.Table, **limits: int) -> None:
    with writer(folder, **limits) as upload:
        upload.schema(table.schema.serialize().to_pybytes())
        for batch in table.to_batches(max_chunksize=300):
            upload.batch(batch.serialize().to_pybytes())


def refused(folder: Path, table: pa.Table, **limits: int) -> ScorestreamError:
    with pytest.raises(ScorestreamError) as caught:
        send(folder, table, **limits)
    assert names(folder) == []
    return caught.value


def test_an_upload_becomes_a_table_when_it_is_finished(tmp_path: Path) -> None:
    with writer(tmp_path) as upload:
        upload.schema(TABLE.schema.serialize().to_pybytes())
        counts = [
            upload.batch(batch.serialize().to_pybytes()) for batch in TABLE.to_batches(max_chunksize=300)
        ]
        assert counts == [300, 600, 900, 1000]
        assert names(tmp_path) != ["up.arrow"]
        table = upload.finish()
    assert names(tmp_path) == ["up.arrow"]
    assert TableReader().head(table, 2000) == TABLE


def test_unusual_but_plain_types_are_normalised(tmp_path: Path) -> None:
    sent = pa.table(
        {
            "v": pa.array(["a", None, "long enough to be outside of the view"], pa.string_view()),
            "l": pa.array(["a", None, "c"], pa.large_string()),
            "h": pa.array([1, None, 2], pa.float16()),
            "d": pa.array([1, None, 2], pa.decimal128(5, 1)),
            "n": pa.nulls(3),
        }
    )
    with writer(tmp_path) as upload:
        schema = upload.schema(sent.schema.serialize().to_pybytes())
        upload.batch(sent.to_batches()[0].serialize().to_pybytes())
        rows = TableReader().head(upload.finish(), 10)
    assert [str(kind) for kind in schema.types] == ["string", "string", "float", "double", "double"]
    assert rows.column("v").to_pylist() == sent.column("v").to_pylist()
    assert rows.column("d").to_pylist() == [1.0, None, 2.0]
    assert rows.column("n").null_count == 3


def test_an_upload_without_rows_is_an_empty_table(tmp_path: Path) -> None:
    with writer(tmp_path) as upload:
        upload.schema(TABLE.schema.serialize().to_pybytes())
        assert upload.finish().rows == 0


def test_types_that_cannot_be_uploaded_are_all_named(tmp_path: Path) -> None:
    table = pa.table({"d": pa.array(["a"]).dictionary_encode(), "x": [1], "l": [[1]]})
    error = refused(tmp_path, table)
    assert error.reason == "UNSUPPORTED_TYPE"
    assert [fault.field for fault in error.faults] == ["l", "d"]
    assert (
        refused(tmp_path, pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"])).reason == "BAD_COLUMN_NAMES"
    )
    assert refused(tmp_path, pa.table({})).reason == "BAD_COLUMN_NAMES"


def test_limits_hold(tmp_path: Path) -> None:
    assert refused(tmp_path, TABLE, rows=999).reason == "UPLOAD_TOO_LARGE"
    assert refused(tmp_path, TABLE, size=5000).reason == "UPLOAD_TOO_LARGE"
    send(tmp_path, TABLE, rows=1000)
    assert names(tmp_path) == []


def test_a_small_message_cannot_make_a_large_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns_module, "MAX_BATCH_BYTES", 1 << 20)
    value, count = "y" * 100_000, 10_000
    seed = pa.array([value, "z"], pa.string_view())
    views = np.frombuffer(seed.buffers()[1], np.uint8)[:16]
    bomb = pa.Array.from_buffers(
        pa.string_view(), count, [None, pa.py_buffer(np.tile(views, count).tobytes()), *seed.buffers()[2:]]
    )
    batch = pa.record_batch({"v": bomb})
    with writer(tmp_path) as upload:
        upload.schema(batch.schema.serialize().to_pybytes())
        message = batch.serialize().to_pybytes()
        assert len(message) < 300_000
        before = pa.total_allocated_bytes()
        with pytest.raises(ScorestreamError) as caught:
            upload.batch(message)
        assert pa.total_allocated_bytes() - before < 10 << 20
    assert caught.value.reason == "UPLOAD_TOO_LARGE"
    nulls = pa.record_batch({"n": pa.nulls(1)}).serialize().to_pybytes()
    huge = nulls.replace((1).to_bytes(8, "little"), (1 << 40).to_bytes(8, "little"))
    with writer(tmp_path) as upload:
        upload.schema(pa.schema([("n", pa.null())]).serialize().to_pybytes())
        with pytest.raises(ScorestreamError):
            upload.batch(huge)
    assert names(tmp_path) == []


def test_compressed_rows_are_refused(tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TABLE.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        stream.write_table(TABLE)
    messages = pa.ipc.MessageReader.open_stream(sink.getvalue())
    schema, batch = (message.serialize().to_pybytes() for message in messages)
    with writer(tmp_path) as upload:
        upload.schema(schema)
        with pytest.raises(ScorestreamError) as caught:
            upload.batch(batch)
    assert caught.value.reason == "COMPRESSED_BATCH"


def test_order_is_kept(tmp_path: Path) -> None:
    schema = TABLE.schema.serialize().to_pybytes()
    with writer(tmp_path) as upload:
        for call in (lambda: upload.batch(b""), upload.finish):
            with pytest.raises(ScorestreamError) as caught:
                call()
            assert caught.value.reason == "UPLOAD_ORDER"
        upload.schema(schema)
        with pytest.raises(ScorestreamError) as caught:
            upload.schema(schema)
        assert caught.value.reason == "UPLOAD_ORDER"
        with pytest.raises(ScorestreamError) as caught:
            upload.batch(schema)
        assert caught.value.reason == "CORRUPT_DATA"
    assert names(tmp_path) == []


def test_mutated_messages_are_refused_or_valid_but_never_crash(tmp_path: Path) -> None:
    schema = TABLE.schema.serialize().to_pybytes()
    whole = TABLE.to_batches()[0].serialize().to_pybytes()
    dice = random.Random(11)
    refusals = 0
    for _ in range(400):
        data, head = bytearray(whole), bytearray(schema)
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(400 if dice.random() < 0.7 else len(data))] = dice.choice(
                [0, 127, 255, dice.randrange(256)]
            )
        if dice.random() < 0.3:
            head[dice.randrange(len(head))] = dice.randrange(256)
        if dice.random() < 0.2:
            del data[dice.randrange(len(data)) :]
        with writer(tmp_path) as upload:
            try:
                upload.schema(bytes(head))
                upload.batch(bytes(data))
                TableReader().head(upload.finish(), 2000)
            except ScorestreamError:
                refusals += 1
        (tmp_path / "up.arrow").unlink(missing_ok=True)
        assert names(tmp_path) == []
    assert refusals > 50
