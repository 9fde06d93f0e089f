"""One card shared by many sessions, and what its lanes do with it.

    python benchmarks/gpu_lanes.py [--rows 12800000] [--runs 3] [--trace FILE] [--json FILE]

1. *Sessions*: the same rows as jobs of 1, 8, 64 and 256 sessions, all submitted at once; rows a second of all together,
   from the first `score` to the end of the last `wait`, 100 trees x depth 6, Parquet in, no output.
2. *Short beside long*: first rows of a 10,000-row job beside a 5-million-row job (as in `many_sessions.py`).
3. *Lanes*: as many as a worker has score partitions of 262,144 rows from memory to memory. From events before and
   behind every copy and kernel: the share of time in which nothing ran on the card, in which copies, kernels and both
   ran; and the time that the host took to put a partition on its stream. `--trace` writes what they saw as a Chrome
   trace. The events themselves cost a few microseconds each, so nothing here is a throughput.
"""

import json
import statistics
import time
from pathlib import Path
from typing import cast

import scorestream
from gpu_card import host_columns, lanes_seconds, open_card, open_device
from gpu_trace import Interval, Traced, busy, chrome_trace, is_copy
from harness import arguments, rows_file, save, show, xgboost_file
from many_sessions import beside_a_long_job
from scorestream_server.config import available_cores, lanes_of_worker
from scorestream_server.device.cuda_calls import CudaCalls
from scorestream_server.scoring.forest import load_forest
from scorestream_server.scoring.load import detect_kind

SESSIONS = (1, 8, 64, 256)
PARTITION_ROWS = 1 << 18
PARTITIONS = 64


def throughput(
    client: scorestream.Client, model: scorestream.Model, sessions: int, rows: int, runs: int
) -> float:
    """Return the rows a second of so many sessions together."""
    source = rows_file(rows // sessions)
    opened = [client.create_session(f"lanes-{number}") for number in range(sessions)]
    tables = [session.load_table(source, name="rows") for session in opened]

    def seconds() -> float:
        start = time.perf_counter()
        jobs = [session.score(model, table) for session, table in zip(opened, tables, strict=True)]
        client.wait_all(jobs)
        return time.perf_counter() - start

    seconds()
    taken = statistics.median(seconds() for _ in range(runs))
    for session in opened:
        session.terminate()
    return rows // sessions * sessions / taken


def traced_lanes(calls: CudaCalls, model: Path) -> list[Interval]:
    """Score partitions on all lanes, and return what the card did."""
    traced = Traced(calls)
    lanes = lanes_of_worker("cuda:0", available_cores(), 1)
    device = open_device(cast("CudaCalls", traced), lanes)
    prepared = device.prepare_forest(load_forest(model, detect_kind(model))[0])
    columns = host_columns(8 * PARTITION_ROWS)
    lanes_seconds(device, prepared, columns, lanes, PARTITION_ROWS, PARTITIONS, traced.begin)
    return traced.intervals()


def shares(intervals: list[Interval]) -> list[dict[str, object]]:
    """Return what the lanes' intervals say."""
    span = max(one.end for one in intervals) - min(one.start for one in intervals)
    both = busy(intervals)
    copies = busy(one for one in intervals if is_copy(one))
    kernels = busy(one for one in intervals if not is_copy(one))
    found = {
        "nothing on the card": 1 - both / span,
        "copies": copies / span,
        "kernels": kernels / span,
        "copies and kernels at once": (copies + kernels - both) / span,
    }
    host = sum(one.host_seconds for one in intervals) / PARTITIONS
    return [
        *(
            {"question": f"share of time, {what}", "result": f"{share:.1%}", "share": share}
            for what, share in found.items()
        ),
        {
            "question": f"host's time to put {PARTITION_ROWS:,} rows on a stream, ms",
            "result": f"{host * 1e3:.3f}",
            "seconds": host,
        },
    ]


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", rows=12_800_000, runs=3, trace="")
    calls = open_card()
    path = xgboost_file(100, 6)
    intervals = traced_lanes(calls, path)
    if options.trace:
        Path(options.trace).write_text(json.dumps(chrome_trace(intervals, calls.card)))
    with scorestream.local(device="cuda:0") as client:
        model = client.register_model("100x6", path=path)
        rates = {count: throughput(client, model, count, options.rows, options.runs) for count in SESSIONS}
        short = beside_a_long_job(client, model)
    results: list[dict[str, object]] = [
        {
            "question": f"{count} sessions, M rows/s (and of 1 session's)",
            "result": f"{rate / 1e6:,.1f} ({rate / rates[1]:.2f})",
            "rows_a_second": rate,
        }
        for count, rate in rates.items()
    ]
    waits = f"median {short['median_ms']:.0f}, p95 {short['p95_ms']:.0f}"
    results.append({**short, "result": waits})
    results += shares(intervals)
    show(
        f"Sessions and lanes on {calls.card}, {options.rows:,} rows",
        ("what", "result"),
        [(result["question"], result["result"]) for result in results],
    )
    save(options.json, results, card=calls.card)


if __name__ == "__main__":
    main()
