"""How long a new user waits: `scorestream score` of 30,000 rows, on a fresh install and the second time.

    python benchmarks/cold_start.py [--runs 3] [--json FILE]

The first run finds no compiled kernels (its kernel cache is an empty folder), the second one those of the first.
Both are whole commands: start of the interpreter, private server, worker, model, CSV, job, Parquet, stop.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import arguments, save, show

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", runs=3)
    seconds: dict[str, list[float]] = {"first run, no compiled kernels": [], "second run": []}
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"NUMBA_CACHE_DIR": str(Path(folder) / "numba")}
            for times in seconds.values():
                command = [
                    *(str(Path(sys.executable).with_name("scorestream")), "score"),
                    *(str(EXAMPLES / "credit_model.ubj"), str(EXAMPLES / "uci_credit_card.csv")),
                    *("-o", str(Path(folder) / "scores.parquet"), "--replace"),
                ]
                start = time.perf_counter()
                subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
                times.append(time.perf_counter() - start)
    show(
        f"scorestream score, 30,000 rows of CSV, seconds, median of {options.runs}",
        ("", "median", "highest"),
        [(name, statistics.median(times), max(times)) for name, times in seconds.items()],
    )
    save(options.json, [{"case": name, "seconds": times} for name, times in seconds.items()])


if __name__ == "__main__":
    main()
