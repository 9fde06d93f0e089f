"""Streams opened and dropped, sessions made and ended, for minutes: the server is as it was before."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pyarrow as pa
import pytest

import scorestream
from scorestream.v1 import (
    device_service_pb2,
    device_service_pb2_grpc,
    job_service_pb2,
    job_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
    table_service_pb2,
    table_service_pb2_grpc,
)

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
WARM_UP = 0.25
"""Part of the time before the server is first looked at."""
AT_ONCE = 4
SETTLE_SECONDS = 30.0
MOST_GROWTH = 1.05
ROWS = pa.table({"a": [float(number) for number in range(20_000)]})
LINGER = 0.3
GRPC_THREADS = 4
"""gRPC's own pool has more threads or fewer as it likes; thousands of streams would leave more."""


@dataclass(frozen=True, slots=True)
class State:
    """What lives in a server at one moment."""

    tasks: int
    followers: int
    threads: int
    descriptors: int
    memory_mib: float

    def __str__(self) -> str:
        return (
            f"{self.memory_mib:,.1f} MiB, {self.tasks} tasks, {self.followers} followers, {self.threads} threads, "
            f"{self.descriptors} descriptors"
        )

    def no_more_than(self, before: "State") -> bool:
        """Whether nothing that can be counted is left over."""
        return (
            self.tasks <= before.tasks
            and self.followers <= before.followers
            and self.threads <= before.threads + GRPC_THREADS
            and self.descriptors <= before.descriptors
        )


class TellingServer:
    """A running server that can be asked what lives in it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self._process = process
        self._lines = process.stdout
        self.address: str = json.loads(self._lines.readline())["address"]

    def look(self) -> State:
        """Ask what lives in it."""
        self._process.send_signal(signal.SIGUSR1)
        told = json.loads(self._lines.readline())
        seen = psutil.Process(self._process.pid)
        memory = seen.memory_info().rss / (1 << 20)
        return State(told["tasks"], told["followers"], seen.num_threads(), seen.num_fds(), memory)

    def settled(self, enough: Callable[[State], bool]) -> State:
        """Look until enough has gone, for as long as that may take."""
        end = time.monotonic() + SETTLE_SECONDS
        while not enough(state := self.look()) and time.monotonic() < end:
            continue
        return state


@dataclass(frozen=True, slots=True)
class Connections:
    """Two connections to a server: one for raw calls, and a client of ours."""

    channel: grpc.Channel
    client: scorestream.Client


class Visitor:
    """A client with bad manners."""

    def __init__(self, address: str, number: int) -> None:
        self._address = address
        self._source = random.Random(number)
        self.did: Counter[str] = Counter()

    def stay(self, until: float) -> None:
        """Do one thing after another until the time is up, over connections that come and go."""
        things = (self._watch, self._devices, self._results, self._upload, self._register, self._session)
        while time.monotonic() < until:
            with (
                grpc.insecure_channel(self._address) as channel,
                scorestream.connect(self._address) as client,
            ):
                at = Connections(channel, client)
                for _ in range(25):
                    thing = self._source.choice(things)
                    thing(at)
                    self.did[thing.__name__.removeprefix("_")] += 1
                # The connection is closed with streams on it.
                session_service_pb2_grpc.SessionServiceStub(channel).WatchSessions(
                    session_service_pb2.WatchSessionsRequest()
                )
                self.did["connections"] += 1

    def _drop(self, stream: grpc.RpcContext, reads: int) -> None:
        """Read a few messages, if there are any, and hang up."""
        try:
            for _ in range(reads):
                next(stream)
        except (StopIteration, grpc.RpcError):
            pass  # it ended, or took too long for us
        stream.cancel()

    def _watch(self, at: Connections) -> None:
        request = session_service_pb2.WatchSessionsRequest(after=self._source.choice((0, 10**9)))
        stub = session_service_pb2_grpc.SessionServiceStub(at.channel)
        self._drop(stub.WatchSessions(request, timeout=LINGER), self._source.randrange(3))

    def _devices(self, at: Connections) -> None:
        stub = device_service_pb2_grpc.DeviceServiceStub(at.channel)
        self._drop(stub.WatchDevices(device_service_pb2.WatchDevicesRequest(), timeout=LINGER), 1)

    def _results(self, at: Connections) -> None:
        jobs = at.client.jobs(limit=20)
        if jobs:
            name = f"jobs/{self._source.choice(jobs).id}"
            stub = job_service_pb2_grpc.JobServiceStub(at.channel)
            self._drop(
                stub.ReadResults(job_service_pb2.ReadResultsRequest(name=name)), self._source.randrange(3)
            )
            self._drop(stub.WatchJob(job_service_pb2.WatchJobRequest(name=name)), self._source.randrange(3))

    def _upload(self, at: Connections) -> None:
        request = table_service_pb2.UploadTableRequest
        with at.client.create_session("soak") as session:
            header = table_service_pb2.UploadTableHeader(session=f"sessions/{session.id}", table_id="t")
            batch = ROWS.to_batches()[0].serialize().to_pybytes()
            messages = [request(header=header), request(arrow_schema=ROWS.schema.serialize().to_pybytes())]
            messages += [request(arrow_batch=batch)] * 5
            stub = table_service_pb2_grpc.TableServiceStub(at.channel)
            self._break_off(stub.UploadTable, messages)

    def _register(self, at: Connections) -> None:
        request = model_service_pb2.RegisterModelRequest
        header = model_service_pb2.RegisterModelHeader(model_id="soak", file_name="soak.sql")
        messages = [request(header=header), *[request(chunk=b"a" * 10_000)] * 5]
        self._break_off(model_service_pb2_grpc.ModelServiceStub(at.channel).RegisterModel, messages)

    def _break_off(self, method: grpc.StreamUnaryMultiCallable, messages: Sequence[object]) -> None:
        """Send some messages of many, and hang up."""
        sent, over = threading.Event(), threading.Event()

        def some() -> Iterator[object]:
            yield from messages[: self._source.randrange(1, len(messages))]
            sent.set()
            over.wait()

        call = method.future(some())
        sent.wait()
        call.cancel()
        over.set()

    def _session(self, at: Connections) -> None:
        session = at.client.create_session("soak")
        model = at.client.register_model("twice", source="a * 2 AS twice")
        table = session.load_table(ROWS, name="rows")
        job = session.score(model, table, partition_rows=1_000)
        if self._source.random() < 0.5:
            job.wait(60)
        session.terminate(cancel=True)


def soak(server: TellingServer, seconds: float) -> Counter[str]:
    """Have visitors for some seconds; return what they did."""
    until = time.monotonic() + seconds
    visitors = [Visitor(server.address, number) for number in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for stay in [threads.submit(visitor.stay, until) for visitor in visitors]:
            stay.result()
    return sum((visitor.did for visitor in visitors), Counter())


@pytest.mark.long
@pytest.mark.timeout(SOAK_SECONDS + 300)
def test_nothing_is_left_of_clients_that_came_and_went(
    tmp_path: Path, figures: Callable[[object], None]
) -> None:
    """Memory within 5 % of what it was once warm; no task, follower, thread or descriptor more."""
    program = str(Path(__file__).parents[1] / "telling_server.py")
    command = [
        sys.executable,
        program,
        "--port",
        "0",
        "--data-dir",
        str(tmp_path / "data"),
        "--device",
        "cpu",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            server = TellingServer(process)
            quiet = server.look()
            soak(server, SOAK_SECONDS * WARM_UP)
            warm = server.settled(lambda state: state.tasks <= quiet.tasks)
            did = soak(server, SOAK_SECONDS * (1 - WARM_UP))
            after = server.settled(lambda state: state.no_more_than(warm))
        finally:
            process.terminate()
            process.wait(30)
    figures(
        f"soak of {SOAK_SECONDS:,.0f} s: " + ", ".join(f"{name} {count:,}" for name, count in did.items())
    )
    figures(f"soak: at the start {quiet}; warm {warm}; after {after}")
    assert after.no_more_than(warm)
    assert after.followers == 0
    assert after.memory_mib < warm.memory_mib * MOST_GROWTH
