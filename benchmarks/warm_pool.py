"""How soon the first partition of a session starts, by what its context keeps ready.

    python benchmarks/warm_pool.py [--runs 20] [--rows 10000] [--json FILE]

Each run makes a session, names a table of the server's machine, and submits a job at once: score code, or a forest of
100 trees x depth 6.

* *warm*: its context keeps workers ready (`server_min_available=1`), and each serves one session
  (`server_reuse_limit=1`), so that every run meets a worker that never had a job.
* *used*: its context has one worker, which served the sessions before.
* *own*: its context starts a process for each session, with the session.
* *default*: it has the server's own workers.

Times are from before the call that submits the job: until its first partition was sent to a worker (the job's start
time; client and server have one clock), and until that partition was in the store. For *own* they count from before
the session was made, which is when its process starts.
"""

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import scorestream
from harness import arguments, rows_file, save, show, xgboost_file
from scorestream import EventType
from scorestream.context_workers import WorkerState

CONTEXTS: Mapping[str, Mapping[str, Any]] = {
    "warm": {"reuse_server_processes": True, "server_min_available": 1, "server_reuse_limit": 1},
    "used": {"reuse_server_processes": True, "server_min_available": 1, "server_max_available": 1},
    "own": {},
    "default": {},
}


def until_quiet(client: scorestream.Client, context: str) -> None:
    """Wait until a context has the worker ready that it keeps, and nothing starts or ends any more."""
    least = CONTEXTS[context].get("server_min_available", 0)
    while True:
        states = [worker.state for worker in client.contexts.workers(context).workers]
        if context == "default" or states == [WorkerState.IDLE] * least:
            return
        time.sleep(0.05)


def one(client: scorestream.Client, model: scorestream.Model, rows: int, context: str) -> tuple[float, float]:
    """Return the seconds until the first partition of a new session was sent to a worker, and was in the store."""
    until_quiet(client, context)
    before = time.time()
    with client.create_session(context, context=context) as session:
        table = session.load_table(rows_file(rows), name="rows")
        if context != "own":
            before = time.time()
        job = session.score(model, table)
        job.wait()
        first = next(event for event in job.watch() if event.type is EventType.PARTITION_COMMITTED)
        started = job.info.started
        assert started is not None
        return started.timestamp() - before, first.time.timestamp() - before


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f}"


def _worst(values: Sequence[float]) -> str:
    return f"{max(values):.0f}"


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", runs=20, rows=10_000)
    results: list[dict[str, Any]] = []
    with scorestream.local(device="cpu") as client:
        models = [
            client.register_model("code", source="f0 * 0.5 + f1 * 0.2 AS p"),
            client.register_model("forest", path=xgboost_file(100, 6)),
        ]
        for name, settings in CONTEXTS.items():
            if name != "default":
                client.contexts.create(name, **settings)
        for name, model in itertools.product(CONTEXTS, models):
            one(client, model, options.rows, name)
            times = [one(client, model, options.rows, name) for _ in range(options.runs)]
            results.append(
                {
                    "context": name,
                    "model": model.name,
                    "started_ms": [round(started * 1e3, 1) for started, _ in times],
                    "committed_ms": [round(committed * 1e3, 1) for _, committed in times],
                }
            )
    show(
        f"First partition of a session, {options.rows:,} rows, ms",
        ("context", "model", "sent: median", "sent: worst", "in the store: median", "in the store: worst"),
        [
            (
                result["context"],
                result["model"],
                _median(result["started_ms"]),
                _worst(result["started_ms"]),
                _median(result["committed_ms"]),
                _worst(result["committed_ms"]),
            )
            for result in results
        ],
    )
    save(options.json, results)


if __name__ == "__main__":
    main()
