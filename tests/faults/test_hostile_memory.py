"""Files that decode to far more than they are: an error of the one who sent them, and memory that stays bounded."""

import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import psutil
import pyarrow as pa
import pytest

import scorestream
from faults.hostile_files import MIB, alike, constant, delta, dictionaries, page
from scorestream import State
from scorestream.v1 import table_service_pb2, table_service_pb2_grpc
from served import served, workers_of

LIMIT = 512 * MIB
SLACK = 100 * MIB
"""What a process may take beside: code that is mapped, stacks, the lists of a request."""
KEPT = 128 * MIB
"""What a worker may keep of the memory that it frees (`workers/memory.py`)."""
TOLD = r"takes more than the 536,870,912 bytes of memory that a worker has for its tasks.*--worker-memory"


@dataclass(frozen=True)
class Machine:
    """A server that other clients use, too; knows what it and its workers took at rest."""

    client: scorestream.Client
    server: psutil.Process
    folder: Path
    at_rest: int
    workers_at_rest: int

    def peaks(self) -> tuple[int, int]:
        """Return the most bytes of memory that the server, and a worker that lives, ever had beyond rest."""
        workers = max((peak(worker) for worker in workers_of(self.server)), default=0)
        return peak(self.server) - self.at_rest, workers - self.workers_at_rest

    def bounded(self) -> None:
        server, worker = self.peaks()
        assert server < SLACK
        assert worker < LIMIT + SLACK + KEPT

    def goes_on(self) -> None:
        """Score something: the server is there, and so is a worker."""
        session = self.client.create_session("next")
        table = session.load_table(pa.table({"a": [1.0, 2.0]}), name="rows")
        job = session.score("double", table)
        assert pa.Table.from_batches(job.results())["b"].to_pylist() == [2.0, 4.0]


def peak(process: psutil.Process) -> int:
    """Return the most bytes of memory that a process ever had; 0 where it is gone."""
    try:
        found = re.search(
            r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE
        )
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    folder = tmp_path / "files"
    folder.mkdir()
    flags = ("--device", "cpu", "--worker-memory", "512MiB", "--data-root", str(folder))
    with served(tmp_path / "data", *flags) as (client, server):
        client.register_model("double", source="a * 2 AS b")
        (worker,) = workers_of(server)
        yield Machine(client, server, folder, peak(server), peak(worker))


def test_a_constant_of_381_mib_in_a_small_file_is_scored(machine: Machine) -> None:
    """It is decoded by and by."""
    constant(machine.folder / "constant.parquet")
    assert (machine.folder / "constant.parquet").stat().st_size < 300_000
    session = machine.client.create_session("faults")
    table = session.load_table(machine.folder / "constant.parquet", name="constant")
    job = session.score("double", table).wait()
    assert job.state is State.SUCCEEDED
    assert sum(batch.num_rows for batch in job.results()) == 50_000_000
    machine.bounded()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(delta, id="footer does not tell"),
        pytest.param(page, marks=pytest.mark.long, id="one page"),
    ],
)
def test_a_worker_out_of_memory_fails_the_job_that_took_it_and_no_other(
    machine: Machine, make: Callable[[Path], None]
) -> None:
    """The error names file, row group, limit and what to do; a job that runs beside it gives every row."""
    path = machine.folder / "letters.parquet"
    make(path)
    assert path.stat().st_size < 200_000
    other = machine.client.create_session("other")
    rows = other.load_table(pa.table({"id": np.arange(100_000), "a": np.arange(100_000.0)}), name="rows")
    session = machine.client.create_session("faults")
    letters = session.load_table(path, name="letters")
    calm = other.score("double", rows, keep=["id"], partition_rows=1_000)
    job = session.score(machine.client.register_model("length", source="LENGTH(letter) AS long"), letters)
    with pytest.raises(scorestream.JobFailedError, match=TOLD) as caught:
        job.wait()
    assert caught.value.reason == "OUT_OF_MEMORY"
    assert str(path) in str(caught.value)
    assert "row group 0" in str(caught.value)
    if make is delta:
        assert "largest column by the footer is 'letter'" in str(caught.value)
    assert calm.wait().state is State.SUCCEEDED
    assert pa.Table.from_batches(calm.results())["id"].to_pylist() == list(range(100_000))
    machine.bounded()
    machine.goes_on()


def test_the_first_rows_of_a_table_are_read_in_a_worker(machine: Machine) -> None:
    """The server itself decodes nothing; first rows that are too many for a message are refused."""
    page(machine.folder / "page.parquet")
    session = machine.client.create_session("faults")
    table = session.load_table(machine.folder / "page.parquet", name="letters")
    with pytest.raises(scorestream.ResourceExhaustedError, match=TOLD):
        table.head(1000)
    long = session.load_table(pa.table({"letter": ["x" * MIB] * 100}), name="long")
    with pytest.raises(scorestream.ResourceExhaustedError, match="Ask for fewer rows") as caught:
        long.head(100)
    assert caught.value.reason == "HEAD_TOO_LARGE"
    assert long.head(3).num_rows == 3
    machine.bounded()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("names.csv", lambda: b"," * (400 * MIB), "CSV_BROKEN_LINE"),
        ("value.csv", lambda: b"a,b\n1," + b"x" * (400 * MIB), "CSV_BROKEN_LINE"),
        ("value.csv.gz", lambda: gzip.compress(b"a,b\n1," + b"x" * (400 * MIB), 1), "CSV_BROKEN_LINE"),
        ("wide.csv", lambda: b",".join(b"c%d" % n for n in range(200_000)) + b"\n", "TOO_MANY_COLUMNS"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_csv_file_of_endless_lines_is_refused_before_it_is_read(
    machine: Machine, name: str, content: Callable[[], bytes], reason: str
) -> None:
    """Whether in its names, its values, or compressed: no line is longer than what is parsed at once."""
    (machine.folder / name).write_bytes(content())
    session = machine.client.create_session("faults")
    with pytest.raises(scorestream.InvalidArgumentError) as caught:
        session.load_table(machine.folder / name, name="lines")
    assert caught.value.reason == reason
    server, worker = machine.peaks()
    assert server < SLACK
    assert worker < SLACK + KEPT


def test_compressed_dictionaries_are_an_error(machine: Machine) -> None:
    """Arrow decodes all of a file's dictionaries before its first row: 1.2 GB here."""
    dictionaries(machine.folder / "dictionaries.arrow")
    assert (machine.folder / "dictionaries.arrow").stat().st_size < 300_000
    session = machine.client.create_session("faults")
    with pytest.raises(scorestream.ResourceExhaustedError, match=TOLD) as caught:
        session.load_table(machine.folder / "dictionaries.arrow", name="dictionaries")
    assert "dictionaries.arrow" in str(caught.value)
    machine.bounded()
    machine.goes_on()


def test_a_model_that_takes_all_memory_is_an_error(machine: Machine) -> None:
    """60 MB of JSON that parses to 2 GB; and one that is nested without end."""
    (machine.folder / "lists.json").write_text('{"learner":[' + "[]," * 20_000_000 + "[]]}")
    with pytest.raises(scorestream.ResourceExhaustedError, match=TOLD) as caught:
        machine.client.register_model("lists", path=machine.folder / "lists.json")
    assert "The model file 'lists.json'" in str(caught.value)
    (machine.folder / "deep.json").write_text('{"learner":' + "[" * 1_000_000)
    with pytest.raises(scorestream.InvalidArgumentError):
        machine.client.register_model("deep", path=machine.folder / "deep.json")
    machine.bounded()
    machine.goes_on()


def test_an_upload_of_texts_that_share_their_bytes_is_bounded_in_the_server(machine: Machine) -> None:
    """A message of 4 MiB stands for 400 MiB, which the server writes piece by piece."""
    batch = pa.record_batch({"letter": alike(100, 4 * MIB)})
    session = machine.client.create_session("faults")
    request = table_service_pb2.UploadTableRequest
    header = table_service_pb2.UploadTableHeader(session=f"sessions/{session.id}", table_id="letters")
    messages = [
        request(header=header),
        request(arrow_schema=batch.schema.serialize().to_pybytes()),
        request(arrow_batch=batch.serialize().to_pybytes()),
        request(footer=table_service_pb2.UploadTableFooter(batches=1)),
    ]
    with grpc.insecure_channel(machine.client.address) as channel:
        table = table_service_pb2_grpc.TableServiceStub(channel).UploadTable(iter(messages))
    assert table.rows == 100
    assert table.size_bytes > 400 * MIB
    machine.bounded()
