"""`kill -9` of the server or of workers at random moments: nothing acknowledged is lost, and nothing is left behind."""

import contextlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import scorestream
from faults.left_behind import unknown_files
from faults.random_kills import (
    FORMATS,
    PATIENCE,
    ROWS_AT_ONCE,
    SOURCES,
    Customer,
    Follower,
    Progress,
    Serving,
    content,
    rows,
)
from served import workers_of

LONG_KILLS = int(os.environ.get("RANDOM_KILLS", "200"))
SEED = int(os.environ.get("RANDOM_KILLS_SEED", "0"))
CUSTOMERS = 3
ROUNDS = (("worker", "worker"), ("worker", "worker", "server"), ("worker", "worker", "all"))
"""Who dies in a round, in any order; `all` are the server and its workers at once. A partition that loses its worker
three times fails its job, so workers die twice at most."""
SETTLE_SECONDS = 10.0


class Killer:
    """Kills, and has the server started again."""

    def __init__(self, serving: Serving, progress: Progress, seed: int) -> None:
        self._serving = serving
        self._progress = progress
        self._source = random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.during: Counter[str] = Counter()

    @property
    def kills(self) -> int:
        """How many there were."""
        return self.killed.total()

    def strike(self, aim: str, customers: Sequence[Customer], shifts: Sequence[Future[None]]) -> None:
        """Kill once, at a moment of the customers' work if there is one left; and once more at the next start, maybe."""

        def idle() -> bool:
            return all(shift.done() for shift in shifts)

        moment = self._source.choice(("change", "change", "answer"))
        before = {process.pid for process in workers_of(self._serving.process)}
        if moment == "change" and aim != "all":
            self._serving.countdown.set(**{aim: self._source.randint(1, 60)})

            def hit() -> bool:
                if aim == "server":
                    return not self._serving.alive
                return bool(before - {process.pid for process in workers_of(self._serving.process)})

            self._progress.wait(sys.maxsize, lambda: hit() or idle())
            self._serving.countdown.set()
            struck = hit()
        else:
            self._progress.wait(self._source.randint(1, 40), idle)
            struck = False
        if not struck:
            self._kill(aim)
        self.killed[aim if struck else f"{aim} between"] += 1
        self.during.update({customer.doing for customer in customers})
        if not self._serving.alive:
            self._restart()

    def _kill(self, aim: str) -> None:
        victims = [] if aim == "worker" else [self._serving.process]
        workers = workers_of(self._serving.process)
        victims += workers[:1] if aim == "worker" else workers if aim == "all" else []
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        for victim in victims[: aim != "worker"]:
            victim.wait(30)

    def _restart(self) -> None:
        if self._source.random() < 0.25:
            self._serving.countdown.set(server=self._source.randint(1, 40))
        deaths = self._serving.deaths_at_start
        self._serving.again()
        self._serving.countdown.set()
        self.killed["server at its start"] += self._serving.deaths_at_start - deaths


@contextlib.contextmanager
def customers_of(serving: Serving, progress: Progress) -> Iterator[list[Customer]]:
    """Have customers, who know what an undisturbed run gives."""
    customers = [Customer(serving, f"customer{place}", SEED + place, progress) for place in range(CUSTOMERS)]
    session = serving.client.create_session("calm")
    session.load_table(serving.rows["parquet"], "rows")
    model = serving.client.register_model("calm", source=SOURCES[0])
    files = {}
    for name, ending in FORMATS.items():
        path = serving.out / f"calm {name}{ending}"
        job = session.score(model, "rows", keep=["id"], partition_rows=ROWS_AT_ONCE, out_path=path).wait()
        files[ending] = content(path)
    result = pa.Table.from_batches(job.results())
    assert result["score"].to_pylist() == [2 * x for x in rows()["x"].to_pylist()]
    try:
        for customer in customers:
            customer.calm, customer.calm_files = result, files
        yield customers
    finally:
        for customer in customers:
            customer.client.close()


def check_nothing_is_left(serving: Serving, customers: Sequence[Customer]) -> None:
    """No process of an earlier server lives, and no file is there that nobody knows; both may take a moment to go."""
    outputs = {f"calm {name}{ending}" for name, ending in FORMATS.items()}
    for customer in customers:
        outputs |= customer.outputs()
    until = time.monotonic() + SETTLE_SECONDS
    while True:
        own = {serving.process.pid, *(process.pid for process in serving.process.children())}
        left = {
            "processes": serving.processes() - own,
            "files": unknown_files(serving.data),
            "outputs": {path.name for path in serving.out.iterdir()} ^ outputs,
        }
        if not any(left.values()):
            return
        assert time.monotonic() < until, left


@pytest.mark.parametrize(
    ("kills", "workers"),
    [
        pytest.param(4, 1, marks=pytest.mark.timeout(300), id="short"),
        pytest.param(LONG_KILLS, 2, marks=[pytest.mark.long, pytest.mark.timeout(1200)], id="long"),
    ],
)
def test_kills_at_random_moments_lose_and_leave_nothing(
    tmp_path: Path, kills: int, workers: int, figures: Callable[[object], None]
) -> None:
    """Work, one or two kills in the middle of it, and when it is done, everything is as if there had been none."""
    progress, started = Progress(), time.monotonic()
    table = rows()
    pq.write_table(table, tmp_path / "rows.parquet")
    pacsv.write_csv(table, tmp_path / "rows.csv")
    source = random.Random(SEED)
    with (
        Serving(tmp_path, workers) as serving,
        customers_of(serving, progress) as customers,
        scorestream.connect(serving.client.address, patience=PATIENCE) as watching,
        Follower(watching, progress) as follower,
        ThreadPoolExecutor(CUSTOMERS) as threads,
    ):
        killer, last, rounds = Killer(serving, progress, SEED), 0, 0
        while killer.kills < kills:
            rounds += 1
            shifts: list[Future[None]] = [threads.submit(customer.shift) for customer in customers]
            aims = source.choice(ROUNDS)
            for aim in source.sample(aims, len(aims)):
                killer.strike(aim, customers, shifts)
            for shift in shifts:
                shift.result(2 * PATIENCE)
            last = follower.check(last)
            for customer in customers:
                customer.check()
            check_nothing_is_left(serving, customers)
        assert follower.check(0) == last
        assert follower.numbers == list(range(1, last + 1))
    took = time.monotonic() - started
    did = sum((customer.did for customer in customers), Counter[str]())
    figures(
        f"random kills: {killer.kills} in {rounds} rounds and {took:.0f} s, seed {SEED}: {_listed(killer.killed)}"
    )
    figures(f"random kills: in the middle of: {_listed(killer.during)}")
    figures(f"random kills: customers did: {_listed(did)}")


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())
