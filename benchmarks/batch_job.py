"""A whole batch job, Parquet to Parquet, against the script that a user would write instead.

    python benchmarks/batch_job.py [--rows 5000000] [--runs 5] [--json FILE]

Ours is a running server that is told to score a file: the time is from `load_table` to the end of `wait`,
with the job, its events, its commits and the published output. The script reads with pyarrow, predicts with
the model's own library on all cores, and writes with pyarrow; its imports and the loading of the model are
not counted. Both run in turn, and the ratio is that of the medians.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import scorestream
from harness import arguments, lightgbm_file, rows_file, save, show, xgboost_file

SCRIPT = """
import sys, time
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
library, model_path, source, target = sys.argv[1:]
if library == "xgboost":
    import xgboost
    model = xgboost.Booster(model_file=model_path)
    predict = model.inplace_predict
else:
    import lightgbm
    model = lightgbm.Booster(model_file=model_path)
    predict = model.predict
for line in sys.stdin:
    start = time.perf_counter()
    table = pq.read_table(source)
    rows = np.empty((table.num_rows, table.num_columns), np.float32)
    for index, column in enumerate(table.columns):
        rows[:, index] = column.to_numpy()
    scores = predict(rows)
    pq.write_table(pa.table({"score": scores}), target)
    print(time.perf_counter() - start, flush=True)
"""


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", rows=5_000_000, runs=5)
    source = rows_file(options.rows)
    cases = [
        ("XGBoost 100 x depth 6", "xgboost", xgboost_file(100, 6)),
        ("XGBoost 500 x depth 8", "xgboost", xgboost_file(500, 8)),
        ("LightGBM 300 x 63 leaves", "lightgbm", lightgbm_file(300, 63)),
    ]
    table, results = [], []
    with tempfile.TemporaryDirectory() as folder, scorestream.local() as client:
        session = client.create_session("benchmark")
        for name, library, path in cases:
            model = client.register_model(path.stem, path=path)
            target = Path(folder) / "script.parquet"
            command = [sys.executable, "-c", SCRIPT, library, str(path), str(source), str(target)]
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as script:
                assert script.stdin is not None
                assert script.stdout is not None
                ours, theirs = [], []
                for _ in range(options.runs):
                    start = time.perf_counter()
                    rows = session.load_table(source, name="rows", replace=True)
                    session.score(model, rows, out_path=Path(folder) / "ours.parquet", replace=True).wait()
                    ours.append(time.perf_counter() - start)
                    script.stdin.write("go\n")
                    script.stdin.flush()
                    theirs.append(float(script.stdout.readline()))
                script.stdin.close()
            mine, peer = statistics.median(ours), statistics.median(theirs)
            ratio = peer / mine
            table.append((name, options.rows / mine / 1e6, options.rows / peer / 1e6, ratio))
            results.append(
                {
                    "case": name,
                    "rows": options.rows,
                    "seconds": ours,
                    "script_seconds": theirs,
                    "ratio": ratio,
                }
            )
    show(
        f"{options.rows:,} rows x 28 float32, Parquet to Parquet, all cores, median of {options.runs}",
        ("model", "scorestream M rows/s", "script M rows/s", "ratio"),
        table,
    )
    save(options.json, results)


if __name__ == "__main__":
    main()
