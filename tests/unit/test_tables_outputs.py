"""Results of partitions, and outputs: complete and right under their final names, or not there."""

import json
import os
import re
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.table import Destination, PartitionFile, Published
from scorestream_server.tables import dataset_output
from scorestream_server.tables import publish as publish_module
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.publish import check_output
from scorestream_server.tables.results import (
    attempt_path,
    commit_partition,
    read_results,
    verify_partition,
    write_partition,
)

ROWS = 10_000
TABLE = pa.table(
    {
        "score": pa.array(np.random.default_rng(1).standard_normal(ROWS, dtype=np.float32)),
        "label": pa.array([None if n % 5 == 0 else f"é{n % 3}" for n in range(ROWS)]),
    }
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def files(work: Path) -> list[PartitionFile]:
    """The table as committed partitions, one of them empty."""
    made = []
    for at, (start, rows) in enumerate(((0, 3000), (3000, 0), (3000, 6999), (9999, 1))):
        final = work / f"{at:06d}.arrow"
        batches = TABLE.slice(start, rows).to_batches(max_chunksize=1000)
        made.append(commit_partition(write_partition(attempt_path(final, 1), batches, TABLE.schema), final))
    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def destination(path: Path | str) -> Destination:
    return DataRoots(None).output(str(path))


def publish(files: list[PartitionFile], schema: pa.Schema, target: Destination, **options: Any) -> Published:
    """Publish as a job of its own does, which leaves a note only where it succeeds."""
    journal = Path(target.path).parent.parent / "notes" / f"{uuid.uuid4()}.json"
    try:
        return publish_module.publish(files, schema, target, journal, **options)
    except BaseException:
        assert not journal.exists()
        raise


def reason(call: Callable[..., object], *args: object, **options: object) -> str:
    with pytest.raises(ScorestreamError) as caught:
        call(*args, **options)
    return caught.value.reason


def test_a_partition_has_a_temporary_name_until_it_is_committed(work: Path) -> None:
    final = work / "000001.arrow"
    temporary = attempt_path(final, 2)
    made = write_partition(temporary, TABLE.to_batches(), TABLE.schema)
    assert names(work) == ["000001.arrow.2.tmp"]
    data = temporary.read_bytes()
    assert (made.path, made.rows, made.bytes, made.crc32) == (
        str(temporary),
        ROWS,
        len(data),
        zlib.crc32(data),
    )
    done = commit_partition(made, final)
    assert names(work) == ["000001.arrow"]
    assert verify_partition(done)
    assert not verify_partition(made)
    final.write_bytes(data[:-1] + b"!")
    assert not verify_partition(done)


@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_what_is_no_file_of_its_own_is_never_committed(
    work: Path, make: Callable[[Path, Path], None]
) -> None:
    """A worker that a file has taken over cannot have the server read another one for it."""
    final, secret = work / "000001.arrow", work / "secret.arrow"
    made = write_partition(attempt_path(final, 1, work), TABLE.to_batches(), TABLE.schema)
    secret.write_bytes(Path(made.path).read_bytes())
    Path(made.path).unlink()
    make(secret, Path(made.path))
    with pytest.raises(OSError, match=re.escape("something else than a file for '000001.arrow'")):
        commit_partition(made, final)
    assert names(work) == ["secret.arrow"]


def test_a_failed_partition_leaves_nothing_and_can_be_tried_again(work: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from TABLE.to_batches()
        raise ValueError("lane died")

    path = attempt_path(work / "p.arrow", 1)
    with pytest.raises(ValueError, match="lane died"):
        write_partition(path, failing(), TABLE.schema)
    assert names(work) == []
    path.write_bytes(b"left by a killed worker")
    assert write_partition(path, [], TABLE.schema).rows == 0


@pytest.mark.parametrize("offset", [0, 1, 2999, 3000, 5500, 9998, 9999, 10_000, 20_000])
@pytest.mark.parametrize("max_bytes", [1, 5000, 1 << 20])
def test_results_resume_at_any_row_in_slices_of_bounded_size(
    files: list[PartitionFile], offset: int, max_bytes: int
) -> None:
    if max_bytes == 1:
        offset += 9950  # single rows: only the end, for time
    batches = list(read_results(files, offset, max_bytes))
    assert pa.Table.from_batches(batches, TABLE.schema) == TABLE.slice(offset)
    assert all(batch.num_rows > 0 for batch in batches)
    assert all(batch.nbytes <= max_bytes or batch.num_rows == 1 for batch in batches)


def test_a_damaged_result_is_told(files: list[PartitionFile]) -> None:
    Path(files[0].path).write_bytes(b"")
    assert reason(list, read_results(files)) == "RESULT_DAMAGED"
    Path(files[0].path).unlink()
    assert reason(list, read_results(files)) == "RESULT_DAMAGED"


def read_output(path: Path) -> pa.Table:
    if path.suffix == ".csv":
        options = pacsv.ConvertOptions(column_types=TABLE.schema, strings_can_be_null=True)
        return pacsv.read_csv(path, convert_options=options)
    if path.suffix in {".arrow", ".feather", ".ipc"}:
        return pa.ipc.open_file(path.read_bytes()).read_all()
    return pq.read_table(path)


@pytest.mark.parametrize("name", ["o.parquet", "o.arrow", "o.feather", "o.ipc", "o.csv", "o", "o.d/"])
def test_every_format_holds_all_rows_in_order(files: list[PartitionFile], out: Path, name: str) -> None:
    seen: list[int] = []
    made = publish(files, TABLE.schema, destination(f"{out}/{name}"), report=seen.append)
    assert read_output(out / name).equals(TABLE)
    assert seen[-1] == made.rows == ROWS
    assert made.bytes == sum(Path(path).stat().st_size for path in made.paths)
    assert names(out) == [name.rstrip("/")]


@pytest.mark.parametrize("name", ["o.parquet", "o.arrow", "o.csv", "o"])
def test_no_rows_still_make_an_output_with_its_columns(out: Path, name: str) -> None:
    made = publish([], TABLE.schema, destination(out / name))
    assert made.rows == 0
    assert read_output(out / name).column_names == ["score", "label"]


def test_a_data_set_says_what_is_in_it(
    files: list[PartitionFile], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_output, "PART_ROWS", 4000)
    made = publish(files, TABLE.schema, destination(out / "o"))
    assert [Path(path).name for path in made.paths] == [f"part-{at:05d}.parquet" for at in range(3)]
    manifest = json.loads((out / "o/_manifest.json").read_text())
    assert (manifest["rows"], manifest["bytes"]) == (ROWS, made.bytes)
    assert manifest["schema"] == [{"name": "score", "type": "float"}, {"name": "label", "type": "string"}]
    for entry, path in zip(manifest["files"], made.paths, strict=True):
        data = Path(path).read_bytes()
        assert entry["bytes"] == len(data)
        assert entry["crc32"] == f"{zlib.crc32(data):08x}"
        assert entry["rows"] == pq.read_metadata(path).num_rows
    assert (out / "o/_SUCCESS").exists()
    assert read_output(out / "o").equals(TABLE)


@pytest.mark.parametrize("name", ["o.parquet", "o.csv", "o"])
def test_an_output_that_exists_stays_unless_it_may_be_replaced(
    files: list[PartitionFile], out: Path, name: str
) -> None:
    target = destination(out / name)
    publish([], TABLE.schema, target)
    assert reason(check_output, target, replace=False) == "OUTPUT_EXISTS"
    assert reason(publish, files, TABLE.schema, target) == "OUTPUT_EXISTS"
    assert read_output(out / name).num_rows == 0
    check_output(target, replace=True)
    publish(files, TABLE.schema, target, replace=True)
    assert read_output(out / name).equals(TABLE)
    assert names(out) == [name]


@pytest.mark.parametrize("name", ["o.parquet", "o"])
def test_an_output_that_appears_meanwhile_is_not_overwritten(
    files: list[PartitionFile], out: Path, name: str
) -> None:
    def other(rows: int) -> None:
        if rows == ROWS:
            if name == "o":
                (out / name).mkdir()
                (out / name / "theirs").touch()
            else:
                (out / name).write_text("theirs")

    assert reason(publish, files, TABLE.schema, destination(out / name), report=other) == "OUTPUT_EXISTS"
    assert names(out) == [name]
    assert (out / name / "theirs").exists() if name == "o" else (out / name).read_text() == "theirs"


def test_what_this_program_did_not_write_is_not_replaced(files: list[PartitionFile], out: Path) -> None:
    (out / "photos").mkdir()
    (out / "photos/a.jpg").touch()
    (out / "photos/_manifest.json").write_text('{"writer": "someone else"}')
    (out / "file").touch()
    (out / "folder.csv").mkdir()
    (out / "link.csv").symlink_to(out / "file")
    for name in ("photos", "file", "folder.csv", "link.csv"):
        found = reason(publish, files, TABLE.schema, destination(out / name), replace=True)
        assert found == "OUTPUT_NOT_REPLACEABLE", name
    assert sorted(names(out)) == ["file", "folder.csv", "link.csv", "photos"]
    (out / "empty").mkdir()
    publish(files, TABLE.schema, destination(out / "empty"), replace=True)
    assert read_output(out / "empty").equals(TABLE)


@pytest.mark.parametrize("name", ["o.parquet", "o.arrow", "o.csv", "o"])
@pytest.mark.parametrize("trouble", ["cancel", "damage", "report", "rename"])
def test_trouble_leaves_the_old_output_and_nothing_else(
    files: list[PartitionFile], out: Path, monkeypatch: pytest.MonkeyPatch, name: str, trouble: str
) -> None:
    target = destination(out / name)
    publish(files[:1], TABLE.schema, target)

    def report(rows: int) -> None:
        if trouble == "report" and rows > 5000:
            raise ValueError("broken")

    def no_rename(_: Path, __: Path) -> Path:
        raise OSError(28, "No space left on device")

    if trouble == "damage":
        Path(files[2].path).write_bytes(b"ARROW1 but no more")
    if trouble == "rename":
        monkeypatch.setattr(Path, "replace", no_rename)
        monkeypatch.setattr(Path, "rename", no_rename)
    with pytest.raises((ScorestreamError, ValueError)) as caught:
        publish(
            files,
            TABLE.schema,
            target,
            replace=True,
            cancelled=iter([False, trouble == "cancel"] + [False] * 99).__next__,
            report=report,
        )
    if isinstance(caught.value, ScorestreamError):
        assert (
            caught.value.reason
            == {"cancel": "CANCELLED", "damage": "RESULT_DAMAGED", "rename": "DISK_FULL"}[trouble]
        )
    assert names(out) == [name]
    assert read_output(out / name).num_rows == 3000


def test_a_directory_that_cannot_take_its_name_gives_the_old_one_back(
    files: list[PartitionFile], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = destination(out / "o")
    publish(files[:1], TABLE.schema, target)
    real, calls = Path.rename, []

    def second_fails(self: Path, to: Path) -> Path:
        calls.append(to)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return real(self, to)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises((OSError, ScorestreamError)):
        publish(files, TABLE.schema, target, replace=True)
    assert len(calls) == 3
    assert names(out) == ["o"]
    assert read_output(out / "o").num_rows == 3000
