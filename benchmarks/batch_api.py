"""A batch of records sent to a service, against the model's own library in the client's process.

    python benchmarks/batch_api.py [--rows 1000000] [--runs 5] [--json FILE]

Ours is a running server, reached over loopback: the time is from `service.batch(frame)` to the last row in the client, so
that checking, sending, scoring on all cores and fetching are in it. The library predicts the same rows from memory that
is laid out as it likes best, on all cores; nothing is sent. Both run in turn, and the ratio is that of the medians (aim:
at least 0.7 of the library's rows a second).
"""

import statistics
import time
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

import scorestream
from harness import arguments, lightgbm_file, rows_file, save, show, xgboost_file


def predictor(library: str, path: str) -> Any:
    """Return what predicts rows with the library's own model."""
    if library == "xgboost":
        import xgboost  # noqa: PLC0415 - both libraries in a process share their threads badly at the start

        return xgboost.Booster(model_file=path).inplace_predict
    import lightgbm  # noqa: PLC0415 - as above

    return lightgbm.Booster(model_file=path).predict


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", rows=1_000_000, runs=5)
    frame: pd.DataFrame = pq.read_table(rows_file(options.rows)).to_pandas()
    values = np.ascontiguousarray(frame.to_numpy())
    cases = [
        ("XGBoost 100 x depth 6", "xgboost", xgboost_file(100, 6)),
        ("XGBoost 500 x depth 8", "xgboost", xgboost_file(500, 8)),
        ("LightGBM 300 x 63 leaves", "lightgbm", lightgbm_file(300, 63)),
    ]
    table: list[tuple[object, ...]] = []
    results: list[dict[str, object]] = []
    with scorestream.local() as client:
        for name, library, path in cases:
            client.register_model(path.stem, path=path)
            service = client.get_service(path.stem)
            predict = predictor(library, str(path))
            ours, sent, theirs = [], [], []
            for _ in range(options.runs):
                start = time.perf_counter()
                batch = service.batch(frame).start()
                started = time.perf_counter()
                result = batch.wait()
                ours.append(time.perf_counter() - start)
                sent.append(started - start)
                assert result.completed_item_count == options.rows
                client.get_session(batch.job.session_id).terminate()
                start = time.perf_counter()
                scores = predict(values)
                theirs.append(time.perf_counter() - start)
                assert len(scores) == options.rows
            mine, peer = statistics.median(ours), statistics.median(theirs)
            table.append(
                (
                    name,
                    options.rows / mine / 1e6,
                    options.rows / peer / 1e6,
                    peer / mine,
                    statistics.median(sent),
                )
            )
            results.append(
                {
                    "case": name,
                    "rows": options.rows,
                    "seconds": ours,
                    "seconds_until_sent": sent,
                    "library_seconds": theirs,
                    "ratio": peer / mine,
                }
            )
    show(
        f"{options.rows:,} records x {len(frame.columns)} float32 over loopback, all cores, median of {options.runs}",
        ("model", "batch M rows/s", "library M rows/s", "ratio", "s until sent"),
        table,
    )
    save(options.json, results)


if __name__ == "__main__":
    main()
