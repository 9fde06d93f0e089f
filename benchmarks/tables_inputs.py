"""What loading costs beside the same by hand: CSV to the cache, and a scan of Parquet with a selective `where`.

    python benchmarks/tables_inputs.py [--runs 7] [--json FILE]

Both sides run in this process, in turn, on the same warm files, and write to files that are not there before. Bytes read
are those of this process's read calls (rchar of /proc/self/io), whether or not a disk had to be asked. The aims: CSV at
least as fast as by hand, the scan within 10 % of it, and no row group read that cannot match.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from harness import DATA, arguments, save, show
from scorestream_server.domain.table import LoadOptions
from scorestream_server.tables.sources import load_table
from scorestream_server.workers.opened import conditions

CSV_ROWS = 1_500_000
SCAN_ROWS = 20_000_000
SCAN_GROUP_ROWS = 200_000
WHERE = "id >= 9100000 AND id < 10300000 AND f0 > 0"
WHERE_BY_HAND = (pc.field("id") >= 9_100_000) & (pc.field("id") < 10_300_000) & (pc.field("f0") > 0)
COLUMNS = ("id", "f0", "f1", "f2", "s")

Result = dict[str, object]


def csv_file() -> Path:
    """Return a CSV file of ten columns, of which one is text; made the first time."""
    path = DATA / f"inputs-{CSV_ROWS}.csv"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        pacsv.write_csv(_rows(np.random.default_rng(3), 0, CSV_ROWS), path)
    return path


def scan_file() -> Path:
    """Return a Parquet file with many row groups, in the order of its ids; made the first time."""
    path = DATA / f"inputs-{SCAN_ROWS}.parquet"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        random = np.random.default_rng(4)
        first = _rows(random, 0, SCAN_GROUP_ROWS)
        with pq.ParquetWriter(path.with_suffix(".tmp"), first.schema) as writer:
            for start in range(0, SCAN_ROWS, SCAN_GROUP_ROWS):
                writer.write_table(_rows(random, start, SCAN_GROUP_ROWS), row_group_size=SCAN_GROUP_ROWS)
        path.with_suffix(".tmp").rename(path)
    return path


def _rows(random: np.random.Generator, start: int, count: int) -> pa.Table:
    numbers = {f"f{i}": random.standard_normal(count).astype(np.float32).round(4) for i in range(8)}
    ids = np.arange(start, start + count)
    return pa.table({**numbers, "id": ids, "s": [f"text {number % 1000}" for number in ids]})


def _csv_by_hand(source: Path, folder: Path) -> None:
    with (
        pacsv.open_csv(source) as reader,
        pa.OSFile(str(folder / "by_hand.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, reader.schema) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)


def _scan_by_hand(source: Path, folder: Path) -> None:
    batches = ds.dataset(source).scanner(columns=list(COLUMNS), filter=WHERE_BY_HAND).to_reader()
    with (
        pa.OSFile(str(folder / "by_hand.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, batches.schema) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)


def csv_to_cache(runs: int) -> list[Result]:
    """Measure the load of a CSV file."""
    source = csv_file()
    return _compared(
        "CSV to cache",
        runs,
        source,
        lambda folder: _csv_by_hand(source, folder),
        lambda folder: load_table([source], folder),
    )


def parquet_scan(runs: int) -> list[Result]:
    """Measure the load of those rows of a Parquet file for which a condition is true."""
    source = scan_file()
    options = LoadOptions(columns=COLUMNS, where=WHERE)
    return _compared(
        "Parquet scan to cache",
        runs,
        source,
        lambda folder: _scan_by_hand(source, folder),
        lambda folder: load_table([source], folder, options, compile_where=conditions),
    )


def _compared(
    what: str, runs: int, source: Path, by_hand: Callable[[Path], object], ours: Callable[[Path], object]
) -> list[Result]:
    found: dict[str, list[tuple[float, float, int]]] = {"by hand": [], "load_table": []}
    for _ in range(runs + 1):  # the first of each is thrown away: imports, compiled conditions, page cache
        for name, work in (("by hand", by_hand), ("load_table", ours)):
            folder = Path(tempfile.mkdtemp(dir=DATA))
            before, start, processor = _bytes_read(), time.perf_counter(), time.process_time()
            work(folder)
            seconds = time.perf_counter() - start
            found[name].append((seconds, time.process_time() - processor, _bytes_read() - before))
            shutil.rmtree(folder)
    base = statistics.median(one[0] for one in found["by hand"][1:])
    results: list[Result] = []
    for name, measured in found.items():
        took, processor_seconds, read = zip(*measured[1:], strict=True)
        results.append(
            {
                "what": what,
                "side": name,
                "seconds": statistics.median(took),
                "of_by_hand": statistics.median(took) / base,
                "processor_seconds": statistics.median(processor_seconds),
                "bytes_read": int(statistics.median(read)),
                "file_bytes": source.stat().st_size,
                "all_seconds": took,
            }
        )
    return results


def _bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


def inputs(runs: int) -> list[Result]:
    """Measure both, and print."""
    results = [*csv_to_cache(runs), *parquet_scan(runs)]
    rows = [
        (
            f"{one['what']}, {one['side']}",
            one["seconds"],
            one["of_by_hand"],
            one["processor_seconds"],
            f"{int(str(one['bytes_read'])) / 1e6:,.1f}",
            f"{int(str(one['file_bytes'])) / 1e6:,.1f}",
        )
        for one in results
    ]
    show(
        f"Medians of {runs} runs in turn, {len(os.sched_getaffinity(0))} cores",
        ("what", "seconds", "of by hand", "processor s", "MB read", "MB in file"),
        rows,
    )
    return results


def main() -> None:
    """Measure, print and save."""
    options = arguments(__doc__ or "", runs=7)
    save(options.json, inputs(options.runs))


if __name__ == "__main__":
    main()
