"""What tables cost: loaded in place, shared by many sessions, converted into the cache, and scanned.

    python benchmarks/tables.py [--gigabytes 20] [--sessions 200] [--runs 5] [--json FILE]

In place: an Arrow file of that size (28 float32 columns, sparse: its zeros take no room on the disk, and are read and
scored as any other numbers) is loaded, then scored with 100 trees of depth 6. Memory is what server and workers have
resident at their peak, shared pages counted once (PSS) and split into what is theirs (anonymous) and pages of mapped
files, which the system takes back when it needs them.

Sessions: one table of 1 GB, loaded in place and scored in one session, and in as many as asked for.

Conversion and scan: see `tables_inputs.py`.
"""

import io
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

import scorestream
from harness import DATA, FEATURES, arguments, save, show, xgboost_file
from memory import INTERVAL_SECONDS, server_of_this_process
from tables_inputs import inputs

BATCH_ROWS = 1 << 20
SHARED_BYTES = 1 << 30
MIB = 1 << 20


class _Sparse(io.RawIOBase):
    """A file in which long writes, which are all zeros here, become holes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, data: "memoryview | bytes") -> int:  # type: ignore[override]  # what Arrow passes
        size = len(data)
        if size >= BATCH_ROWS:
            self._file.seek(size, io.SEEK_CUR)
        else:
            self._file.write(data)
        return size

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._file.truncate()
            self._file.close()
        super().close()


def sparse_table(size: int) -> Path:
    """Return an uncompressed Arrow file of about this many bytes, all zeros; made the first time."""
    path = DATA / f"zeros-{size}.arrow"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        schema = pa.schema([(f"f{i}", pa.float32()) for i in range(FEATURES)])
        zeros = pa.array(np.zeros(BATCH_ROWS, np.float32))
        batch = pa.RecordBatch.from_arrays([zeros] * FEATURES, schema=schema)
        temporary = path.with_suffix(".tmp")
        with pa.PythonFile(_Sparse(temporary), "w") as sink, pa.ipc.new_file(sink, schema) as writer:
            for _ in range(-(-size // batch.nbytes)):
                writer.write_batch(batch)
        temporary.rename(path)
    return path


class Resident:
    """Watches server and workers while the block runs: the highest sums of PSS, and of what is anonymous, in bytes."""

    def __init__(self) -> None:
        server = server_of_this_process()
        self._processes = [server, *server.children(recursive=True)]
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.total = self.anonymous = 0

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()
        self.look()

    def look(self) -> None:
        """Read once."""
        total = anonymous = 0
        for process in self._processes:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
            figures = {name: int(value.split()[0]) << 10 for name, value in (one.split(":") for one in lines)}
            total += figures["Pss"]
            anonymous += figures["Pss_Anon"]
        self.total, self.anonymous = max(self.total, total), max(self.anonymous, anonymous)

    def _watch(self) -> None:
        while not self._over.wait(10 * INTERVAL_SECONDS):
            self.look()


def in_place(gigabytes: int, runs: int, model_path: Path) -> dict[str, object]:
    """Load a large Arrow file in place `runs` times, and score it once."""
    source = sparse_table(gigabytes * 10**9)
    with tempfile.TemporaryDirectory() as folder, scorestream.local() as client:
        model = client.register_model("model", path=model_path)
        session = client.create_session("in_place")
        session.load_table(sparse_table(10**6), name="first")  # what only the first load ever costs
        times = []
        for run in range(runs):
            began = time.perf_counter()
            table = session.load_table(source, name=f"rows_{run}")
            times.append(time.perf_counter() - began)
        with Resident() as peak:
            began = time.perf_counter()
            session.score(model, table, out_path=Path(folder) / "out.parquet").wait()
            seconds = time.perf_counter() - began
        rows = table.rows
    show(
        f"{gigabytes} GB of Arrow in place: {rows:,} rows",
        ("load, ms (median)", "score, M rows/s", "peak anonymous, MiB", "peak with mapped pages, MiB"),
        [
            (
                f"{1000 * statistics.median(times):.1f}",
                rows / seconds / 1e6,
                peak.anonymous / MIB,
                peak.total / MIB,
            )
        ],
    )
    return {
        "question": "in_place",
        "bytes": source.stat().st_size,
        "rows": rows,
        "load_seconds": times,
        "score_seconds": seconds,
        "peak_anonymous_bytes": peak.anonymous,
        "peak_pss_bytes": peak.total,
    }


def shared(sessions: int, model_path: Path) -> dict[str, object]:
    """Load and score one table in one session, and in many; return the memory after each."""
    source = sparse_table(SHARED_BYTES)
    found: dict[int, tuple[int, int]] = {}
    with scorestream.local() as client:
        model = client.register_model("model", path=model_path)
        opened = []
        for number in range(sessions):
            session = client.create_session(f"reader_{number}")
            opened.append(session)
            table = session.load_table(source, name="rows")
            session.score(model, table, where="f0 > 1").wait()
            if number + 1 in {1, sessions}:
                now = Resident()
                now.look()
                found[number + 1] = now.anonymous, now.total
        for session in opened:
            session.terminate()
    show(
        "One table of 1 GB in place, each session has loaded and scored it",
        ("sessions", "anonymous, MiB", "with mapped pages, MiB"),
        [(count, anonymous / MIB, total / MIB) for count, (anonymous, total) in found.items()],
    )
    return {
        "question": "shared",
        "memory": {str(count): {"anonymous": one, "pss": both} for count, (one, both) in found.items()},
    }


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", gigabytes=20, sessions=200, runs=5)
    model_path = xgboost_file(100, 6)
    results = [
        in_place(options.gigabytes, options.runs, model_path),
        shared(options.sessions, model_path),
        *inputs(options.runs),
    ]
    save(options.json, results)


if __name__ == "__main__":
    main()
