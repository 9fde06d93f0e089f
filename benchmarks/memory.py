"""How much memory a job needs, whatever the table's size: server and workers together, at their peak.

    python benchmarks/memory.py [--runs 3] [--json FILE]

One job over 5 and over 20 million rows x 28 float32 columns, Parquet to Parquet, 100 trees x depth 6. Every 20 ms
the resident memory of the server and of all its workers is read and summed; what is shown is the highest sum. A
page that two processes share counts twice (RSS), so the figure is an upper bound.
"""

import statistics
import tempfile
import threading
from pathlib import Path
from typing import Self

import psutil

import scorestream
from harness import arguments, rows_file, save, show, xgboost_file

INTERVAL_SECONDS = 0.02


class PeakMemory:
    """Watches a process and its children while the block runs; `bytes` is the highest sum seen."""

    def __init__(self, server: psutil.Process) -> None:
        self._server = server
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.bytes = 0

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        processes = [self._server, *self._server.children(recursive=True)]
        while not self._over.wait(INTERVAL_SECONDS):
            self.bytes = max(self.bytes, sum(process.memory_info().rss for process in processes))


def server_of_this_process() -> psutil.Process:
    """Return the private server that this program started."""
    return next(c for c in psutil.Process().children() if "scorestream_server" in c.cmdline())


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", runs=3)
    model_path = xgboost_file(100, 6)
    table: list[tuple[object, ...]] = []
    results: list[dict[str, object]] = []
    for rows in (5_000_000, 20_000_000):
        source = rows_file(rows)
        peaks = []
        for _ in range(options.runs):
            with tempfile.TemporaryDirectory() as folder, scorestream.local() as client:
                session = client.create_session("memory")
                model = client.register_model("model", path=model_path)
                with PeakMemory(server_of_this_process()) as peak:
                    data = session.load_table(source, name="rows")
                    session.score(model, data, out_path=Path(folder) / "out.parquet").wait()
                peaks.append(peak.bytes / (1 << 20))
        table.append((f"{rows:,}", statistics.median(peaks), max(peaks)))
        results.append({"rows": rows, "peak_mib": peaks})
    show(
        f"Peak resident memory of server and workers, MiB, {options.runs} runs",
        ("rows", "median", "highest"),
        table,
    )
    save(options.json, results)


if __name__ == "__main__":
    main()
