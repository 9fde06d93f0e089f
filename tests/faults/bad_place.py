"""A server on a disk that can be made bad, and what must hold of it then and afterwards."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

import scorestream
from faults.bad_disk import BadDisk
from faults.left_behind import unknown_files
from scorestream import State

ROWS = 20_000
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Place:
    """A server on a disk that can be made bad, and a session with a table of one's own.

    Attributes:
        csv: a file with the table's rows.
        number: of this place, for names and contents that were never there before.
        out: a folder for outputs.
    """

    client: scorestream.Client
    server: psutil.Process
    disk: BadDisk
    data: Path
    csv: Path
    number: int
    out: Path
    session: scorestream.Session

    @property
    def calls(self) -> dict[str, Callable[[], object]]:
        """Calls that write, by name."""
        name = f"new_{self.number}"
        return {
            "upload": lambda: self.session.load_table(rows(), name),
            "load": lambda: self.session.load_table(self.csv, f"{name}_csv"),
            "register": lambda: self.client.register_model(name, source=f"x + {self.number} AS y"),
            "submit": self.submit,
            "session": lambda: self.client.create_session(name),
            "put": lambda: self.session.files.upload(b"x" * 100_000, f"{name}.bin"),
        }

    def there(self) -> list[set[str]]:
        """Return what there is of that which the calls make."""
        return [
            {session.id for session in self.client.sessions()},
            {model.id for model in self.client.models()},
            {table.name for table in self.session.tables()},
            {job.id for job in self.session.jobs()},
            {file.path for file in self.session.files.list()},
        ]

    def submit(self, **options: object) -> scorestream.Job:
        """Start a job of many partitions."""
        wanted = {"keep": ["id"], "partition_rows": ROWS_AT_ONCE, **options}
        return self.session.score("double", "rows", **wanted)  # type: ignore[arg-type]

    def left(self) -> set[str]:
        """Return what lies in the data directory and beside outputs that nobody knows."""
        return unknown_files(self.data) | {path.name for path in self.out.iterdir() if path.name[0] == "."}

    def goes_on(self) -> None:
        """Everything works, the server is the one that it was, and nothing is left of what failed."""
        self.disk.heal()
        for call in self.calls.values():
            with contextlib.suppress(scorestream.AlreadyExistsError):  # made before
                call()
        job = self.submit(out_path=self.out / "afterwards.parquet").wait(60)
        assert job.rows_scored == ROWS
        assert self.server.is_running()
        self.session.terminate()
        assert self.left() == set()


def rows() -> pa.Table:
    return pa.table({"id": pa.array(range(ROWS), pa.int64()), "x": [number / 4 for number in range(ROWS)]})


def check_whole(found: pa.Table) -> None:
    assert found["id"].to_pylist() == list(range(ROWS))
    assert found["score"].to_pylist() == [number / 2 for number in range(ROWS)]


def check_failed(job: scorestream.Job, reason: str, code: str = "RESOURCE_EXHAUSTED") -> None:
    """A job ends with this reason, and what it has committed is readable."""
    with pytest.raises(scorestream.JobFailedError) as caught:
        job.wait(60)
    assert (caught.value.reason, caught.value.code) == (reason, code), caught.value
    assert "Errno" not in str(caught.value)
    assert job.state is State.FAILED
    assert pa.Table.from_batches(job.results(), job.schema).num_rows == job.rows_scored


def check_resumed(place: Place, job: scorestream.Job) -> scorestream.Job:
    """What failed goes on from what it has committed, and gives everything."""
    place.disk.heal()
    resumed = job.resume()
    assert resumed.info.partitions_done == job.info.partitions_done
    resumed.wait(60)
    check_whole(pa.Table.from_batches(resumed.results()))
    return resumed
