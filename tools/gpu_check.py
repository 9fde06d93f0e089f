"""Check this machine's GPU: all tests marked `gpu`, then the GPU benchmarks, and one table at the end.

    python tools/gpu_check.py [--output DIR]

Needs CuPy and what `pip install '.[server]'` installs, pytest with two plugins, and the libraries that train the tests'
models; nothing is installed or fetched here. Exit code 0: every test ran and passed, and everything was measured. What
it writes to the output folder: the tests' results as JUnit XML, the benchmarks' as JSON, and a trace of the lanes.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).parent.parent
BENCHMARKS = ("gpu_forest", "gpu_lanes")
NEEDED = {
    "cupy": "cupy-cuda13x, or cupy-cuda12x",
    "alembic": "alembic",
    "google.rpc": "googleapis-common-protos",
    "cronsim": "cronsim",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
    "grpc_status": "grpcio-status",
    "hypothesis": "hypothesis",
    "lark": "lark",
    "lightgbm": "lightgbm",
    "msgspec": "msgspec",
    "numba": "numba",
    "numpy": "numpy",
    "pandas": "pandas",
    "platformdirs": "platformdirs",
    "psutil": "psutil",
    "pyarrow": "pyarrow",
    "pynvml": "nvidia-ml-py",
    "pytest": "pytest",
    "pytest_asyncio": "pytest-asyncio",
    "pytest_timeout": "pytest-timeout",
    "rich": "rich",
    "sklearn": "scikit-learn",
    "sqlalchemy": "sqlalchemy",
    "sqlglot": "sqlglot",
    "treelite": "treelite",
    "typer": "typer",
    "xgboost": "xgboost-cpu, or xgboost",
    "xxhash": "xxhash",
    "yaml": "pyyaml",
}
"""Modules, and the packages that have them."""


def missing() -> list[str]:
    """Return the packages that are not installed."""
    found = []
    for module, package in NEEDED.items():
        try:
            if importlib.util.find_spec(module) is None:
                found.append(package)
        except ModuleNotFoundError:  # not even the package around it
            found.append(package)
    return found


def environment() -> dict[str, str]:
    """Return the environment of what is started here: this tree's code, whatever is installed."""
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    paths = [ROOT / "client", ROOT / "server", *(Path(path).resolve() for path in given)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}


def run_tests(output: Path) -> tuple[str, bool]:
    """Run the tests; return how many passed, failed and were skipped, and whether that is good."""
    report = output / "tests.xml"
    report.unlink(missing_ok=True)
    # Libraries of other versions than ours may warn of what is no fault here.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "-W",
        "default",
        f"--junitxml={report}",
        "tests/gpu",
    ]
    code = subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode
    if not report.exists():
        return f"pytest ended with code {code}", False
    # Our own pytest wrote it a moment ago.
    suites = ET.parse(report).getroot().iter("testsuite")  # noqa: S314
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in suites:
        for name in counts:
            counts[name] += int(suite.get(name, 0))
    broken = counts["failures"] + counts["errors"]
    passed = counts["tests"] - broken - counts["skipped"]
    told = f"{passed} passed, {broken} failed, {counts['skipped']} skipped"
    return told, code == 0 and passed > 0 and not counts["skipped"]


def run_benchmark(name: str, output: Path) -> list[tuple[str, str]] | None:
    """Run a benchmark; return what it measured, or None where it measured nothing."""
    report = output / f"{name}.json"
    report.unlink(missing_ok=True)
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--json", str(report)]
    if name == "gpu_lanes":
        command += ["--trace", str(output / "lanes.trace.json")]
    code = subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode
    if code or not report.exists():
        return None
    measured = json.loads(report.read_text())
    rows = [(str(result["question"]), str(result["result"])) for result in measured["results"]]
    return [(f"{name} on", measured["machine"]["card"]), *rows]


def main() -> None:
    """Check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "gpu-check", help="default: %(default)s")
    output: Path = parser.parse_args().output.resolve()
    if lacking := missing():
        sys.exit(
            f"gpu-check: {sys.executable} lacks {'; '.join(lacking)}. Install them, or name another Python with: "
            "make gpu-check PYTHON=... (benchmarks/README.md says how to carry them to a machine without a network.)"
        )
    output.mkdir(parents=True, exist_ok=True)
    told, good = run_tests(output)
    rows = [("tests", told)]
    for name in BENCHMARKS:
        measured = run_benchmark(name, output)
        good = good and measured is not None
        rows += measured or [(name, "not measured")]
    width = max(len(what) for what, _ in rows)
    print(f"\n{'GPU check':{width}}  result")
    for what, result in rows:
        print(f"{what:{width}}  {result}")
    print(f"\nwritten to {output}")
    sys.exit(0 if good else "gpu-check: not all of it was checked, or not all of it is well")


if __name__ == "__main__":
    main()
