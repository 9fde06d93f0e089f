"""What the benchmarks share: rows and models made once, medians, tables, and results as JSON."""

import argparse
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

DATA = Path(__file__).parent / ".data"
FEATURES = 28
CONSOLE = Console(width=110)


def arguments(description: str, **defaults: Any) -> argparse.Namespace:
    """Parse ``--json FILE`` and one flag for each default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the results here, too")
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args()


GROUP_ROWS = 1 << 20


def rows_file(rows: int, group_rows: int = GROUP_ROWS) -> Path:
    """Return a Parquet file of `rows` rows of 28 standard normal float32 columns; made the first time."""
    path = DATA / (
        f"rows-{rows}.parquet" if group_rows == GROUP_ROWS else f"rows-{rows}-by-{group_rows}.parquet"
    )
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        rng = np.random.default_rng(7)
        schema = pa.schema([(f"f{i}", pa.float32()) for i in range(FEATURES)])
        temporary = path.with_suffix(".tmp")
        with pq.ParquetWriter(temporary, schema) as writer:
            for start in range(0, rows, group_rows):
                count = min(group_rows, rows - start)
                columns = [pa.array(rng.standard_normal(count, dtype=np.float32)) for _ in range(FEATURES)]
                writer.write_batch(
                    pa.RecordBatch.from_arrays(columns, schema=schema), row_group_size=group_rows
                )
        temporary.rename(path)
    return path


def training_rows(count: int = 40_000) -> tuple[Any, Any]:
    """Return features and a target that takes deep trees to learn."""
    rng = np.random.default_rng(8)
    features = rng.standard_normal((count, FEATURES), dtype=np.float32)
    target = np.sin(3 * features[:, 0]) * features[:, 1] + features[:, 2] * features[:, 3]
    return features, target + 0.3 * rng.standard_normal(count, dtype=np.float32)


def xgboost_file(trees: int, depth: int) -> Path:
    """Return an XGBoost model of this size; trained the first time."""
    import xgboost  # noqa: PLC0415  # not every benchmark needs it

    path = DATA / f"xgboost-{trees}x{depth}.ubj"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        names = [f"f{i}" for i in range(FEATURES)]
        data = xgboost.DMatrix(*training_rows(), feature_names=names)
        xgboost.train({"max_depth": depth, "eta": 0.1, "min_child_weight": 0}, data, trees).save_model(path)
    return path


def lightgbm_file(trees: int, leaves: int) -> Path:
    """Return a LightGBM model of this size; trained the first time."""
    import lightgbm  # noqa: PLC0415  # not every benchmark needs it

    path = DATA / f"lightgbm-{trees}x{leaves}.txt"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        names = [f"f{i}" for i in range(FEATURES)]
        data = lightgbm.Dataset(*training_rows(), feature_name=names)
        parameters = {"num_leaves": leaves, "learning_rate": 0.1, "min_data_in_leaf": 2, "verbose": -1}
        lightgbm.train(parameters, data, trees).save_model(path)
    return path


def median_of(runs: int, measure: Callable[[], float]) -> float:
    """Return the median of several measurements."""
    return statistics.median(measure() for _ in range(runs))


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, the first column to the left, the others to the right."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in row))
    CONSOLE.print(table)


def save(path: Path | None, results: Sequence[dict[str, object]], **more: str) -> None:
    """Write results with the machine's processor, the date and whatever more there is, where a path is given."""
    if path is not None:
        about = {
            "date": datetime.now(tz=UTC).date().isoformat(),
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            **more,
        }
        path.write_text(json.dumps({"machine": about, "results": list(results)}, indent=1) + "\n")


def _processor() -> str:
    lines = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout.splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model name")]
    return names[0] if names else platform.processor()
