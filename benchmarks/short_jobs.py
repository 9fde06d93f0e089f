"""Short jobs, and sessions that only wait.

    python benchmarks/short_jobs.py [--jobs 500] [--seconds 10] [--sessions 2000] [--json FILE]

1. *One after another*: a job over 100 rows in an open session with a warm worker, from `score` to its last row at the
   client; beside it a call that only reads a session's record, which is what gRPC and the store cost at the least, and
   the library's own predict of the same rows.
2. *Many at once*: 50 sessions of one asyncio client, each with such jobs one after another; jobs a second.
3. *Open sessions*: how much the server's resident memory grows by 2,000 sessions that nobody uses, and how much
   processor time it and its workers take meanwhile.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import xgboost

import scorestream
import scorestream.aio
from harness import FEATURES, arguments, save, show, xgboost_file

ROWS = 100
WARM_UP = 50
SESSIONS_AT_ONCE = 50


def hundred_rows() -> pa.Table:
    """Return 100 rows of the benchmarks' features."""
    values = np.random.default_rng(9).standard_normal((FEATURES, ROWS), dtype=np.float32)
    return pa.table({f"f{number}": column for number, column in enumerate(values)})


def timed(runs: int, action: Callable[[], Any]) -> list[float]:
    """Return the seconds of each run."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return seconds


def one_after_another(client: scorestream.Client, jobs: int) -> dict[str, object]:
    """Measure jobs of one session."""
    session = client.create_session("short")
    table = session.load_table(hundred_rows(), name="rows")
    booster = xgboost.Booster(model_file=xgboost_file(100, 6))
    features = hundred_rows().to_pandas()

    def score() -> None:
        rows = sum(batch.num_rows for batch in session.score("100x6", table).results())
        if rows != ROWS:
            raise RuntimeError(rows)

    timed(WARM_UP, score)
    whole = timed(jobs, score)
    call = timed(jobs, session.refresh)
    peer = timed(jobs, lambda: booster.inplace_predict(features))
    session.terminate()
    return {
        "question": "100 rows, submit to last row, one after another, ms",
        "median_ms": statistics.median(whole) * 1e3,
        "p99_ms": statistics.quantiles(whole, n=100)[98] * 1e3,
        "read_a_record_ms": statistics.median(call) * 1e3,
        "xgboost_predict_ms": statistics.median(peer) * 1e3,
    }


async def many_at_once(address: str, token: str, seconds: float) -> dict[str, object]:
    """Measure jobs of many sessions."""
    done = 0
    async with await scorestream.aio.connect(address, token=token) as client:
        sessions = [await client.create_session(f"short-{number}") for number in range(SESSIONS_AT_ONCE)]
        tables = [await session.load_table(hundred_rows(), name="rows") for session in sessions]
        until = time.perf_counter() + seconds

        async def work(session: Any, table: Any) -> None:
            nonlocal done
            while time.perf_counter() < until:
                job = await session.score("100x6", table)
                async for _ in job.results():
                    pass
                done += 1

        start = time.perf_counter()
        await asyncio.gather(*map(work, sessions, tables))
        took = time.perf_counter() - start
        for session in sessions:
            await session.terminate()
    return {
        "question": f"100 rows, {SESSIONS_AT_ONCE} sessions at once, jobs a second",
        "jobs_per_second": done / took,
        "jobs": done,
    }


def open_sessions(client: scorestream.Client, count: int, seconds: float) -> dict[str, object]:
    """Measure what sessions cost that nobody uses."""
    server = next(c for c in psutil.Process().children() if "scorestream_server" in c.cmdline())

    def busy() -> float:
        times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
        return float(sum(spent.user + spent.system for spent in times))

    def idle_share() -> float:
        before = busy()
        time.sleep(seconds)
        return 100 * (busy() - before) / seconds

    for number in range(WARM_UP):
        client.create_session(f"warm-{number}")
    alone = idle_share()
    memory = server.memory_info().rss
    for number in range(count):
        client.create_session(f"idle-{number}")
    grown = server.memory_info().rss - memory
    return {
        "question": f"{count} open sessions, memory of the server for each, KB",
        "kilobytes_each": grown / count / 1e3,
        "processor_percent_without": alone,
        "processor_percent_with": idle_share(),
    }


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", jobs=500, seconds=10.0, sessions=2000)
    # On a server that did nothing before: what others left of the memory that they took would hide what sessions take.
    with scorestream.local() as client:
        third = open_sessions(client, options.sessions, options.seconds)
    with scorestream.local() as client:
        client.register_model("100x6", path=xgboost_file(100, 6))
        first = one_after_another(client, options.jobs)
        second = asyncio.run(many_at_once(client.address, client.token, options.seconds))
    show(
        "Short jobs",
        ("question", "result"),
        [
            (
                first["question"],
                (
                    f"{first['median_ms']:.1f} median, {first['p99_ms']:.1f} p99; a record is read in "
                    f"{first['read_a_record_ms']:.1f}, XGBoost predicts in {first['xgboost_predict_ms']:.1f}"
                ),
            ),
            (second["question"], f"{second['jobs_per_second']:,.0f}"),
            (
                third["question"],
                (
                    f"{third['kilobytes_each']:,.0f}; processor {third['processor_percent_without']:.1f} % without, "
                    f"{third['processor_percent_with']:.1f} % with them"
                ),
            ),
        ],
    )
    save(options.json, [first, second, third])


if __name__ == "__main__":
    main()
