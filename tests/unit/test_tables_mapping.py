"""What a process holds of a mapped table: no more than what it reads at that moment."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scorestream_server.domain.table import TableData
from scorestream_server.tables.plan import plan_partitions
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table

ROWS = 1 << 20
BATCHES = 4
MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An Arrow file of 18 MiB in four batches: two columns of numbers, one of texts."""
    path = tmp_path / "large.arrow"
    schema = pa.schema([("a", pa.float64()), ("b", pa.float32()), ("s", pa.string())])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for number in range(BATCHES):
            first = number * ROWS // BATCHES
            numbers = np.arange(first, first + ROWS // BATCHES)
            texts = pa.array([f"{one % 1000}" for one in numbers[:1000]] * (len(numbers) // 1000 + 1))
            columns = [numbers.astype(np.float64), numbers.astype(np.float32), texts[: len(numbers)]]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return path


def held(path: Path) -> int:
    """Return how many bytes of a file this process has in its maps."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            inside = words[-1] == str(path)
        elif inside and words[0] == "Rss:":
            found += int(words[1]) << 10
    return found


def read(reader: TableReader, table: TableData) -> float:
    """Read a table partition by partition and return the most that was held of its file, in MiB; values are compared."""
    most, at = 0, 0
    for partition in plan_partitions(table, ROWS // 16):
        for batch in reader.read(table, partition, ["a", "b", "s"], scratch=None):
            expected = np.arange(at, at + batch.num_rows)
            np.testing.assert_array_equal(batch["a"], expected)
            np.testing.assert_array_equal(batch["b"], expected.astype(np.float32))
            at += batch.num_rows
        most = max(most, held(Path(table.files[0].path)))
    assert at == ROWS
    return most / MIB


def test_a_table_that_was_read_takes_no_memory_of_the_process(path: Path, tmp_path: Path) -> None:
    """The file has 18 MiB; after each of 16 partitions less than a partition's share of it is held, again and again."""
    table = load_table([path], tmp_path)
    assert table.in_place
    reader = TableReader()
    assert read(reader, table) < path.stat().st_size / 8 / MIB
    assert read(reader, table) < path.stat().st_size / 8 / MIB


def test_rows_that_somebody_still_has_stay_what_they_are(path: Path, tmp_path: Path) -> None:
    """Their pages come back from the file."""
    table = load_table([path], tmp_path)
    kept = [
        batch
        for partition in plan_partitions(table, ROWS // 4)
        for batch in TableReader().read(table, partition, ["a"], scratch=None)
    ]
    assert np.concatenate([batch["a"].to_numpy() for batch in kept]).tolist() == list(range(ROWS))
