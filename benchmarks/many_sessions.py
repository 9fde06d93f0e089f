"""Many sessions at once: throughput, the wait of a short job beside a long one, and how fast events arrive.

    python benchmarks/many_sessions.py [--runs 3] [--sessions 100] [--json FILE]

1. *Throughput*: 100 sessions with a job of 50,000 rows each, all submitted at once, against one job over the same
   5 million rows, Parquet in place, no output file in either; 100 trees x depth 6, of which such a job is some
   10 ms of work, and 500 trees x depth 8.
2. *Short beside long*: while a job over 5 million rows runs again and again, jobs of 10,000 rows are submitted one
   after another in another session; how long from `score` to the first rows at the client.
3. *Events*: 100 subscribers of one running job; from the server's time stamp on an event to its arrival at each.
"""

import asyncio
import statistics
import threading
import time
from pathlib import Path

import scorestream
import scorestream.aio
from harness import arguments, rows_file, save, show, xgboost_file

SHORT_JOBS = 40
SUBSCRIBERS = 100


def throughput(
    client: scorestream.Client, model: scorestream.Model, sessions: int, runs: int
) -> dict[str, object]:
    """Compare many small jobs at once with one large one over as many rows."""
    small, large = rows_file(50_000), rows_file(50_000 * sessions)
    one_session = client.create_session("one")
    whole = one_session.load_table(large, name="rows")
    opened = [client.create_session(f"many-{number}") for number in range(sessions)]
    parts = [session.load_table(small, name="rows") for session in opened]

    def one() -> float:
        start = time.perf_counter()
        one_session.score(model, whole).wait()
        return time.perf_counter() - start

    def many() -> float:
        start = time.perf_counter()
        jobs = [session.score(model, part) for session, part in zip(opened, parts, strict=True)]
        client.wait_all(jobs)
        return time.perf_counter() - start

    one()
    many()
    times = [(one(), many()) for _ in range(runs)]
    for session in (one_session, *opened):
        session.terminate()
    return {
        "question": f"{sessions} sessions x 50,000 rows, {model.name}, rows/s relative to one job",
        "one_job_seconds": [pair[0] for pair in times],
        "many_jobs_seconds": [pair[1] for pair in times],
        "ratio": statistics.median(first / second for first, second in times),
    }


def beside_a_long_job(client: scorestream.Client, model: scorestream.Model) -> dict[str, object]:
    """Measure how soon a short job shows rows while a long one runs."""
    busy, calm = client.create_session("long"), client.create_session("short")
    long_rows = busy.load_table(rows_file(5_000_000), name="rows")
    short_rows = calm.load_table(rows_file(10_000), name="rows")
    over = threading.Event()

    def keep_busy() -> None:
        while not over.is_set():
            busy.score(model, long_rows).wait()

    waits = []
    thread = threading.Thread(target=keep_busy)
    thread.start()
    for _ in range(SHORT_JOBS):
        start = time.perf_counter()
        job = calm.score(model, short_rows)
        next(iter(job.results()))
        waits.append(time.perf_counter() - start)
    over.set()
    thread.join()
    busy.terminate()
    calm.terminate()
    return {
        "question": "first rows of a 10,000-row job beside a 5-million-row job, ms",
        "median_ms": statistics.median(waits) * 1e3,
        "p95_ms": statistics.quantiles(waits, n=20)[18] * 1e3,
    }


async def arrivals(address: str, token: str, model_name: str, source: Path) -> list[float]:
    """Return the delay of every event at every subscriber, in seconds."""
    delays: list[float] = []
    async with await scorestream.aio.connect(address, token=token) as client:
        session = await client.create_session("watched")
        rows = await session.load_table(source, name="rows")
        watching = [asyncio.Event() for _ in range(SUBSCRIBERS)]

        async def subscribe(number: int) -> None:
            async for event in client.watch(sessions=[session]):
                watching[number].set()
                if event.job_id:
                    delays.append(time.time() - event.time.timestamp())
                if event.state is not None and event.state.final:
                    return

        tasks = [asyncio.create_task(subscribe(number)) for number in range(SUBSCRIBERS)]
        for started in watching:
            await started.wait()
        await session.score(model_name, rows)
        await asyncio.gather(*tasks)
        await session.terminate()
    return delays


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", runs=3, sessions=100)
    with scorestream.local() as client:
        model = client.register_model("100x6", path=xgboost_file(100, 6))
        larger = client.register_model("500x8", path=xgboost_file(500, 8))
        rates = [throughput(client, scored, options.sessions, options.runs) for scored in (model, larger)]
        second = beside_a_long_job(client, model)
        delays = asyncio.run(arrivals(client.address, client.token, model.id, rows_file(5_000_000)))
    third = {
        "question": f"event to {SUBSCRIBERS} subscribers, ms",
        "median_ms": statistics.median(delays) * 1e3,
        "p99_ms": statistics.quantiles(delays, n=100)[98] * 1e3,
        "events": len(delays),
    }
    results = [*rates, second, third]
    show(
        "Many sessions, two cores",
        ("question", "result"),
        [
            *((rate["question"], f"{rate['ratio']:.2f}") for rate in rates),
            (second["question"], f"median {second['median_ms']:.0f}, p95 {second['p95_ms']:.0f}"),
            (third["question"], f"median {third['median_ms']:.0f}, p99 {third['p99_ms']:.0f}"),
        ],
    )
    save(options.json, results)


if __name__ == "__main__":
    main()
