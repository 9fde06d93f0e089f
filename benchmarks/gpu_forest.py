"""Forests on a card: the kernels alone, lanes from memory to memory, and whole jobs, against the card's copy ceiling.

    python benchmarks/gpu_forest.py [--rows 4000000] [--runs 5] [--json FILE]

*Ceiling*: pinned memory to the card in copies of 16 MiB, in this very run, as rows of 28 float32 a second. *Kernels*:
the launches of one lane's chunk (quantise, walk, finish) on rows that lie on the card, by events; chunks of 16 MiB may
stay in its cache. *Lanes*: as many as a worker has, from ordinary memory to ordinary memory, copies to pinned memory
included. *Job*: a server's, from `score` to the end of `wait`, Parquet in, no output. Peers get rows that lie on the
card, so the kernels are what compares with them; each is checked to give our scores.
"""

import time
from pathlib import Path
from typing import Any, cast

import numpy as np

import scorestream
from gpu_card import (
    CHUNK_ROWS,
    ROW_BYTES,
    copy_ceiling,
    host_columns,
    lanes_seconds,
    open_card,
    open_device,
)
from gpu_peers import dense_rate, nvforest_rate, xgboost_rate
from gpu_trace import LastChunk
from harness import arguments, lightgbm_file, median_of, rows_file, save, show, xgboost_file
from scorestream_server.config import available_cores, lanes_of_worker
from scorestream_server.device.cuda_calls import CudaCalls
from scorestream_server.device.forest_arrays import ForestArrays
from scorestream_server.scoring.forest import load_forest
from scorestream_server.scoring.load import detect_kind

REPEATS = 50
PEER_ROWS = 1_000_000
CHECKED_ROWS = 10_000
PARTITION_ROWS = 1 << 18


def kernel_rate(calls: CudaCalls, forest: ForestArrays, columns: list[Any], runs: int) -> float:
    """Return the rows a second of a chunk's launches, one after another on one stream."""
    watched = LastChunk(calls)
    device = open_device(cast("CudaCalls", watched), 1)
    prepared, lane = device.prepare_forest(forest), device.open_lane()
    chunk = [column[:CHUNK_ROWS] for column in columns]
    lane.score_forest(prepared, chunk)  # finds the best shape
    before = watched.copies
    lane.score_forest(prepared, chunk)
    assert watched.copies == before + 1, "the lane's memory was too small for a whole chunk"
    stream, first, last = calls.stream(0), calls.event(timing=True), calls.event(timing=True)

    def seconds() -> float:
        calls.record(first, stream)
        for _ in range(REPEATS):
            for kernel, launch in watched.launches:
                calls.launch(stream, kernel, launch)
        calls.record(last, stream)
        calls.wait(last)
        return calls.milliseconds(first, last) / 1e3 / REPEATS

    seconds()
    return CHUNK_ROWS / median_of(runs, seconds)


def lanes_rate(calls: CudaCalls, forest: ForestArrays, columns: list[Any], runs: int) -> float:
    """Return the rows a second of all lanes together."""
    lanes = lanes_of_worker("cuda:0", available_cores(), 1)
    device = open_device(calls, lanes)
    prepared = device.prepare_forest(forest)
    partitions = max(1, len(columns[0]) // PARTITION_ROWS) * 16
    taken = median_of(
        runs, lambda: lanes_seconds(device, prepared, columns, lanes, PARTITION_ROWS, partitions)
    )
    return partitions * PARTITION_ROWS / taken


def job_rate(client: scorestream.Client, path: Path, rows: int, runs: int) -> float:
    """Return the rows a second of whole jobs."""
    session = client.create_session()
    model = client.register_model(path.stem, path=path)
    table = session.load_table(rows_file(rows), name="rows")
    session.score(model, table).wait()

    def seconds() -> float:
        start = time.perf_counter()
        session.score(model, table).wait()
        return time.perf_counter() - start

    taken = median_of(runs, seconds)
    session.terminate()
    return rows / taken


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", rows=4_000_000, runs=5)
    calls = open_card()
    models = [
        ("XGBoost 100 x depth 6", xgboost_file(100, 6)),
        ("XGBoost 500 x depth 8", xgboost_file(500, 8)),
        ("LightGBM 300 x 63 leaves", lightgbm_file(300, 63)),
    ]
    columns = host_columns(max(options.rows, PARTITION_ROWS))
    values = np.stack([column[:PEER_ROWS] for column in columns], axis=1)
    ceiling = copy_ceiling(calls) / ROW_BYTES
    dense = dense_rate(values, options.runs)
    rates: list[dict[str, float | str]] = []
    for _, path in models:
        forest, _ = load_forest(path, detect_kind(path))
        device = open_device(calls, 1)
        scores = device.open_lane().score_forest(
            device.prepare_forest(forest), [column[:CHECKED_ROWS] for column in columns]
        )
        peer = (path, values, np.ascontiguousarray(scores[:, 0]), options.runs)
        rates.append(
            {
                "kernels": kernel_rate(calls, forest, columns, options.runs),
                "lanes": lanes_rate(calls, forest, columns, options.runs),
                "XGBoost's GPU predictor": xgboost_rate(*peer),
                "nvForest": nvforest_rate(*peer),
            }
        )
    with scorestream.local(device="cuda:0") as client:
        for (_, path), rate in zip(models, rates, strict=True):
            rate["job"] = job_rate(client, path, options.rows, options.runs)
    results: list[dict[str, object]] = [
        {"question": "copy ceiling", "result": _rows(ceiling), "bytes_a_second": ceiling * ROW_BYTES},
        {"question": "PyTorch, dense 28-256-256-1, float32", "result": _rows(dense), "rows_a_second": dense},
    ]
    for (name, _), rate in zip(models, rates, strict=True):
        for what in ("kernels", "lanes", "job", "XGBoost's GPU predictor", "nvForest"):
            found = rate[what]
            share = f", {found / ceiling:.0%} of the ceiling" if isinstance(found, float) else ""
            results.append(
                {"question": f"{name}, {what}", "result": _rows(found) + share, "rows_a_second": found}
            )
    show(
        f"Forests on {calls.card}, 28 float32 columns, median of {options.runs}",
        ("what", "million rows a second"),
        [(result["question"], result["result"]) for result in results],
    )
    save(options.json, results, card=calls.card)


def _rows(rate: float | str) -> str:
    return f"{rate / 1e6:,.1f}" if isinstance(rate, float) else rate


if __name__ == "__main__":
    main()
