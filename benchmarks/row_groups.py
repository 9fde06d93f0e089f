"""What it costs that a Parquet file has one row group: first rows, total time, peak memory.

    python benchmarks/row_groups.py [--rows 5000000] [--runs 5] [--json FILE]

The same number of rows in row groups of 1 Mi rows, which fit a worker's memory, and in one row group, which does not.
Times are from `load_table`: to the first batch of `results()`, and to the end of `wait`. 100 trees x depth 6,
Parquet to Parquet; each run is a fresh server, the files in turn. Memory is measured as in `memory.py`.
"""

import statistics
import tempfile
import time
from pathlib import Path

import scorestream
from harness import GROUP_ROWS, arguments, rows_file, save, show, xgboost_file
from memory import PeakMemory, server_of_this_process


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", rows=5_000_000, runs=5)
    model_path = xgboost_file(100, 6)
    cases = [("1 Mi rows each", GROUP_ROWS), ("one", options.rows)]
    measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name, _ in cases}
    for _ in range(options.runs):
        for name, group_rows in cases:
            measured[name].append(_run(rows_file(options.rows, group_rows), model_path))
    table: list[tuple[object, ...]] = []
    results: list[dict[str, object]] = []
    for name, runs in measured.items():
        first, total, peak = zip(*runs, strict=True)
        table.append((name, statistics.median(first), statistics.median(total), max(peak)))
        results.append(
            {"row_groups": name, "rows": options.rows, "first": first, "total": total, "peak_mib": peak}
        )
    show(
        f"{options.rows:,} rows x 28 float32, 100 trees x depth 6, {options.runs} runs",
        ("row groups", "first rows, s", "total, s", "peak MiB"),
        table,
    )
    save(options.json, results)


def _run(source: Path, model_path: Path) -> tuple[float, float, float]:
    """Return seconds to the first rows and to the end, and the peak of memory in MiB."""
    with tempfile.TemporaryDirectory() as folder, scorestream.local() as client:
        session = client.create_session("row-groups")
        model = client.register_model("model", path=model_path)
        with PeakMemory(server_of_this_process()) as peak:
            start = time.perf_counter()
            data = session.load_table(source, name="rows")
            job = session.score(model, data, out_path=Path(folder) / "out.parquet")
            next(iter(job.results()))
            first = time.perf_counter() - start
            job.wait()
            total = time.perf_counter() - start
    return first, total, peak.bytes / (1 << 20)


if __name__ == "__main__":
    main()
