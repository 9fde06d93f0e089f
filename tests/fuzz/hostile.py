"""Damaged models and tables, sent to a server and used where it takes them."""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc

from fuzz.conftest import Victim
from fuzz.figures import Figures, resident_mib
from fuzz.traffic import Outcome, call, methods
from scorestream.v1 import (
    job_pb2,
    job_service_pb2,
    model_service_pb2,
    session_service_pb2,
    table_service_pb2,
)
from served import raw_channel, workers_of

AT_ONCE = 3
CHUNK = 1 << 20
SESSION_CASES = 100
MOST_BROKEN = 5
FINE = {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
_METHODS = {method.name: method for method in methods()}


class Door:
    """Calls for one thread, in a session of its own.

    Raises:
        BrokenPromiseError: from each call, as `traffic.call`.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.session = ""
        self.renew()

    def renew(self) -> None:
        """Go on in a new session; the old one ends with its tables and results."""
        if self.session:
            self.call(
                "TerminateSession",
                session_service_pb2.TerminateSessionRequest(name=self.session, cancel=True),
            )
        made = self.call("CreateSession", session_service_pb2.CreateSessionRequest(display_name="hostile"))
        self.session = made.answers[0].name  # type: ignore[attr-defined]

    def call(self, method: str, *requests: object) -> Outcome:
        """Call a method by its name."""
        return call(self._channel, _METHODS[method], [request.SerializeToString() for request in requests])  # type: ignore[attr-defined]

    def register(self, name: str, file_name: str, content: bytes) -> Outcome:
        """Register a model from its file's bytes."""
        request = model_service_pb2.RegisterModelRequest
        chunks = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
        footer = model_service_pb2.RegisterModelFooter(digest=hashlib.sha256(content).hexdigest())
        return self.call(
            "RegisterModel",
            request(header=model_service_pb2.RegisterModelHeader(model_id=name, file_name=file_name)),
            *(request(chunk=chunk) for chunk in chunks),
            request(footer=footer),
        )

    def remove(self, name: str) -> None:
        """Remove all versions of a model."""
        self.call("DeleteModel", model_service_pb2.DeleteModelRequest(name=f"models/{name}"))

    def upload(self, table: str, schema: bytes, batches: Sequence[bytes]) -> Outcome:
        """Upload a table from Arrow messages."""
        request = table_service_pb2.UploadTableRequest
        header = table_service_pb2.UploadTableHeader(session=self.session, table_id=table, replace=True)
        return self.call(
            "UploadTable",
            request(header=header),
            request(arrow_schema=schema),
            *(request(arrow_batch=batch) for batch in batches),
            request(footer=table_service_pb2.UploadTableFooter(batches=len(batches))),
        )

    def load(self, table: str, path: Path) -> Outcome:
        """Load a table from a file."""
        return self.call(
            "LoadTable",
            table_service_pb2.LoadTableRequest(
                session=self.session, table_id=table, paths=[str(path)], replace=True
            ),
        )

    def head(self, table: str) -> Outcome:
        """Look at a table's first rows."""
        return self.call(
            "HeadTable", table_service_pb2.HeadTableRequest(name=f"{self.session}/tables/{table}", limit=1000)
        )

    def score(self, model: str, table: str, where: str, keep: Sequence[str] = ()) -> str:
        """Score a table with a model to its end; return the code that it ended with."""
        spec = job_pb2.JobSpec(
            model=f"models/{model}", table=table, where=where, keep=keep, partition_rows=100
        )
        made = self.call("CreateJob", job_service_pb2.CreateJobRequest(session=self.session, spec=spec))
        if made.code != "OK":
            return made.code
        name = made.answers[0].name  # type: ignore[attr-defined]
        rows = self.call("ReadResults", job_service_pb2.ReadResultsRequest(name=name))
        assert rows.code == "OK", rows
        (job,) = self.call("GetJob", job_service_pb2.GetJobRequest(name=name)).answers
        return str(job.failure.code or "OK")  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Case:
    """One case as its test sees it: its own randomness, and a door to the server."""

    number: int
    source: random.Random
    door: Door


def try_all(victim: Victim, counted: Figures, attempt: Callable[[Case], str]) -> None:
    """Try a plan's cases, several at a time, and count the codes that they return; fail where one raises."""
    cases, lock = counted.plan.each(), threading.Lock()
    broken: list[str] = []
    began = resident_mib(victim.process)

    def work() -> None:
        with raw_channel(victim.client) as channel:
            door = Door(channel)
            done = 0
            while len(broken) < MOST_BROKEN:
                with lock:
                    case = next(cases, None)
                if case is None:
                    return
                started = time.monotonic()
                try:
                    code = attempt(Case(*case, door))
                    assert code in FINE, code
                except Exception as error:  # noqa: BLE001  # several are shown at once
                    broken.append(f"case {case[0]}: {type(error).__name__}: {error}")
                    continue
                with lock:
                    counted.add(code, time.monotonic() - started)
                done += 1
                if done % SESSION_CASES == 0:
                    door.renew()

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for thread in [threads.submit(work) for _ in range(AT_ONCE)]:
            thread.result()
    assert not broken, "\n\n".join(broken)
    workers = ", ".join(f"{resident_mib(worker):,.0f}" for worker in workers_of(victim.process))
    counted.memory.append(
        f"server {began:,.0f} MiB before, {resident_mib(victim.process):,.0f} MiB after; workers {workers} MiB"
    )
