"""What the random kills are made of: a server that is killed and started again, customers, and what they were told."""

import contextlib
import json
import mmap
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil
import pyarrow as pa

import scorestream
from scorestream import Event, State
from served import served

COUNTDOWN = Path(__file__).parent / "countdown"
MANIFEST = "_manifest.json"
PATIENCE = 60.0
ROWS = 6_000
ROWS_AT_ONCE = 500
SOURCES = ("x * 2 AS score", "2 * x AS score", "x + x AS score")
"""Score codes that give the same, in files of their own."""
FORMATS = {"parquet": ".parquet", "arrow": ".arrow", "csv": ".csv", "data set": ""}


class Countdown:
    """The numbers that `countdown/sitecustomize.py` counts down, here and in the processes that it kills."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        self.path = path
        with path.open("r+b") as opened:
            self._numbers = memoryview(mmap.mmap(opened.fileno(), 0)).cast("i")

    def set(self, *, server: int = 0, worker: int = 0) -> None:
        """Have the process that makes the so-manieth change of a file from now on killed; 0: none."""
        self._numbers[0], self._numbers[1] = server, worker


class Serving:
    """Servers on one data directory and one port, one after the other; ended with the block."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.data, self.out = folder / "data", folder / "out"
        self.rows = {ending: folder / f"rows.{ending}" for ending in ("parquet", "csv")}
        self.countdown = Countdown(folder / "countdown")
        self.deaths_at_start = 0
        self._flags = ("--device", "cpu", "--workers", str(workers), "--data-root", str(folder))
        self._port = "0"
        self._stack = contextlib.ExitStack()
        self._environment = {
            "PYTHONPATH": os.pathsep.join([str(COUNTDOWN), os.environ.get("PYTHONPATH", "")]),
            "COUNTDOWN": str(self.countdown.path),
            "COUNTDOWN_BELOW": str(folder),
        }
        self.out.mkdir()
        self.client, self.process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def alive(self) -> bool:
        """Whether there is a server now."""
        return bool(self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE)

    def again(self) -> None:
        """Start the next server, in the place of one that was killed; where that is killed at its start, one more."""
        self._stack.close()
        self.client, self.process = self._start()

    def processes(self) -> set[int]:
        """Return all processes that were started for this, by whichever server."""
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("COUNTDOWN") == str(self.countdown.path):
                    found.add(process.pid)
        return found

    def _start(self) -> tuple[scorestream.Client, psutil.Process]:
        while True:
            server = served(self.data, *self._flags, "--port", self._port, environment=self._environment)
            try:
                client, process = self._stack.enter_context(server)
            except json.JSONDecodeError:  # it ended before it said anything
                self.deaths_at_start += 1
                self.countdown.set()
                continue
            self._port = client.address.rpartition(":")[2]
            return client, process


@dataclass
class Told:
    """A job as its customer was told that it is: final from when on it never changes."""

    job: scorestream.Job
    output: Path | None
    table: str
    state: State


@dataclass
class Home:
    """A session as its customer was told that it is."""

    session: scorestream.Session
    tables: set[str] = field(default_factory=set)
    jobs: list[Told] = field(default_factory=list)
    ended: bool = False


class Progress:
    """How many calls were acknowledged, and events seen, by all customers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def step(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait(self, steps: int, given_up: Callable[[], bool]) -> None:
        """Wait until there were so many more, or it is no use to wait."""
        with self._changed:
            enough = self._count + steps
            while self._count < enough and not given_up():
                self._changed.wait(0.05)


class Customer:
    """Somebody who does the everyday things, and knows what he was told.

    Nothing but a call that must not be made twice ever fails for him: whoever else answers is a fault.
    """

    def __init__(self, serving: Serving, name: str, seed: int, progress: Progress) -> None:
        self._serving = serving
        self._name = name
        self._source = random.Random(seed)
        self._progress = progress
        self._made = 0
        self.client = scorestream.connect(serving.client.address, patience=PATIENCE)
        self.doing = ""
        self.did: Counter[str] = Counter()
        self.homes: list[Home] = []
        self.models: set[str] = set()
        self.calm: pa.Table | None = None
        self.calm_files: dict[str, dict[str, bytes]] = {}

    def shift(self) -> None:
        """Do a few things of every kind."""
        home = self._open()
        table = self._load(home)
        model = self._register()
        told = [self._submit(home, model, table) for _ in range(self._source.choice((1, 2, 2)))]
        for one in told:
            self._follow(home, one)
        if self._source.random() < 0.4:
            self._drop(home, table)
        if self._source.random() < 0.4:
            self._remove(model)
        if self._source.random() < 0.6:
            self._end(self._source.choice([home for home in self.homes if not home.ended]))

    @contextlib.contextmanager
    def _does(self, what: str) -> Iterator[None]:
        self.doing = what
        self.did[what] += 1
        yield
        self._progress.step()

    def _new(self, what: str) -> str:
        self._made += 1
        return f"{self._name}-{what}-{self._made}"

    def _open(self) -> Home:
        there = [home for home in self.homes if not home.ended]
        if there and self._source.random() < 0.4:
            return self._source.choice(there)
        with self._does("create session"):
            home = Home(self.client.create_session(self._new("session")))
            self.homes.append(home)
            return home

    def _load(self, home: Home) -> str:
        name = self._new("table").replace("-", "_")
        how = self._source.choice(("parquet", "csv", "upload"))
        with self._does("upload" if how == "upload" else f"load {how}"):
            table = home.session.load_table(self._serving.rows.get(how, rows()), name)
            assert table.rows == ROWS
            home.tables.add(name)
        return name

    def _register(self) -> str:
        with self._does("register"):
            model = self.client.register_model(self._new("model"), source=self._source.choice(SOURCES))
            self.models.add(model.id)
        return str(model.id)

    def _submit(self, home: Home, model: str, table: str) -> Told:
        how = self._source.choice(("", "table", *FORMATS))
        output = self._serving.out / f"{self._new('out')}{FORMATS[how]}" if how in FORMATS else None
        made = self._new("scored").replace("-", "_") if how == "table" else ""
        with self._does("submit"):
            job = home.session.score(
                model, table, keep=["id"], partition_rows=ROWS_AT_ONCE, out_path=output or "", out=made
            )
            told = Told(job, output, made, job.state)
            home.jobs.append(told)
        return told

    def _follow(self, home: Home, told: Told) -> None:
        """See a job to its end in one of several ways, and what it gave."""
        how = self._source.choice(("watch", "read", "wait", "cancel"))
        with self._does(how):
            match how:
                case "watch":
                    numbers = [self._seen(event) for event in told.job.watch()]
                    assert numbers == [event.number for event in told.job.watch()]
                case "read":
                    self._check_rows(pa.Table.from_batches(told.job.results(), told.job.schema))
                case "cancel":
                    told.job.cancel()
                    with contextlib.suppress(scorestream.JobCancelledError):
                        told.job.wait(PATIENCE)
            if how != "cancel":
                told.job.wait(PATIENCE)
        self._settled(home, told)
        if told.state is State.CANCELLED and self._source.random() < 0.8:
            with self._does("resume"):
                resumed = Told(told.job.resume(), told.output, told.table, State.PENDING)
                home.jobs.append(resumed)
                resumed.job.wait(PATIENCE)
            self._settled(home, resumed)

    def _settled(self, home: Home, told: Told) -> None:
        """Note how a job has ended."""
        told.state = told.job.refresh().state
        assert told.state in {State.SUCCEEDED, State.CANCELLED}, told.job.failure
        if told.state is State.SUCCEEDED:
            if told.table:
                home.tables.add(told.table)
            from_row = self._source.randrange(ROWS)
            self._check_rows(
                pa.Table.from_batches(told.job.results(from_row), told.job.schema), from_row=from_row
            )

    def _seen(self, event: Event) -> int:
        self._progress.step()
        return event.number

    def _drop(self, home: Home, name: str) -> None:
        with self._does("drop table"):
            try:
                home.session.table(name).drop()
            except scorestream.UnavailableError:  # nobody knows whether it was done
                if name in {table.name for table in home.session.tables()}:
                    return
            home.tables.discard(name)

    def _remove(self, model: str) -> None:
        with self._does("remove model"):
            try:
                self.client.get_model(model).remove()
            except scorestream.UnavailableError:
                if model in {found.id for found in self.client.models(self._name)}:
                    return
            self.models.discard(model)

    def _end(self, home: Home) -> None:
        with self._does("end session"):
            assert home.session.terminate(cancel=True).state is scorestream.SessionState.ENDED
            home.ended = True

    def _check_rows(self, found: pa.Table, *, from_row: int = 0) -> None:
        assert self.calm is not None
        assert found.combine_chunks() == self.calm.slice(from_row).combine_chunks()

    def check(self) -> None:
        """Everything that this customer was told is so, in what there is now; nothing else is there."""
        sessions = {one.id: one.state for one in self.client.sessions(self._name, include_ended=True)}
        states = scorestream.SessionState
        assert sessions == {
            home.session.id: states.ENDED if home.ended else states.ACTIVE for home in self.homes
        }
        assert {model.id for model in self.client.models(self._name)} == self.models
        for home in self.homes:
            if home.ended:
                continue
            assert {table.name: table.rows for table in home.session.tables()} == dict.fromkeys(
                home.tables, ROWS
            )
            jobs = {job.id: job for job in home.session.jobs()}
            assert {name: job.state for name, job in jobs.items()} == {
                told.job.id: told.state for told in home.jobs
            }
            for told in home.jobs:
                result = pa.Table.from_batches(told.job.results(), told.job.schema)
                if told.state is State.SUCCEEDED:
                    self._check_rows(result)
                else:
                    assert result.num_rows == jobs[told.job.id].rows_scored
        for name, output in self._outputs().items():
            assert content(output) == self.calm_files[output.suffix], name

    def outputs(self) -> set[str]:
        """Return the names of the files and folders that must be there."""
        return set(self._outputs())

    def _outputs(self) -> dict[str, Path]:
        return {
            told.output.name: told.output
            for home in self.homes
            for told in home.jobs
            if told.output is not None and told.state is State.SUCCEEDED
        }


def rows() -> pa.Table:
    """Return the rows that every job scores."""
    numbers = range(ROWS)
    return pa.table({"id": pa.array(numbers, pa.int64()), "x": pa.array([n / 4 for n in numbers])})


def content(path: Path) -> dict[str, bytes]:
    """Return the bytes of an output, file by file; of a manifest without which job wrote it, and when."""
    files = [path] if path.is_file() else path.iterdir()
    found = {"" if file == path else file.name: file.read_bytes() for file in files}
    if MANIFEST in found:
        manifest = json.loads(found[MANIFEST])
        for batch in manifest["batches"]:
            del batch["job"], batch["time"]
        found[MANIFEST] = json.dumps(manifest).encode()
    return found


class Follower:
    """Watches all events of all sessions, over every kill, while the block runs."""

    def __init__(self, client: scorestream.Client, progress: Progress) -> None:
        self.numbers: list[int] = []
        self._client = client
        self._progress = progress
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        with contextlib.suppress(scorestream.ScorestreamError):
            self._client.create_session("the end")  # one more event, for it to see that it is
        self._thread.join(PATIENCE)

    def check(self, after: int) -> int:
        """It has seen every event that there is behind a number, once, in order; return the last one's number."""
        there = [event.number for event in self._client.watch(after=after, until_final=True)]
        until = time.monotonic() + PATIENCE
        while there and (not self.numbers or self.numbers[-1] < there[-1]) and time.monotonic() < until:
            self._progress.wait(1, lambda: False)
        assert [number for number in self.numbers if number > after] == there
        return there[-1] if there else after

    def _follow(self) -> None:
        for event in self._client.watch():
            self.numbers.append(event.number)
            self._progress.step()
            if self._end.is_set():
                return
