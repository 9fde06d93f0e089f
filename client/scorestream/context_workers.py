"""The workers of contexts as the server tells of them."""

from dataclasses import dataclass
from enum import StrEnum

from scorestream.v1 import context_service_pb2, worker_pb2


class WorkerState(StrEnum):
    """The life of a worker; a state that this client does not know is UNSPECIFIED."""

    UNSPECIFIED = "UNSPECIFIED"
    STARTING = "STARTING"
    IDLE = "IDLE"
    IN_USE = "IN_USE"
    ENDING = "ENDING"


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker process of a context, as it was at a moment.

    Attributes:
        pid: its process on the server's machine; 0 before there is one.
        device: ``cpu`` or ``cuda:N``.
        sessions: open sessions that have it; all of the default context's have all of its workers.
        sessions_given: those that it was given in its life; 0 of the default context's.
        state_seconds: how long it has been in its state; None of the default context's.
    """

    pid: int
    device: str
    lanes: int
    state: WorkerState
    sessions: int
    sessions_given: int
    state_seconds: float | None


@dataclass(frozen=True, slots=True)
class ContextWorkers:
    """The workers of a context, as they were at a moment.

    Attributes:
        workers: the oldest first.
        waiting_sessions: sessions that wait for one.
        message: why the last start failed, where none has come up since; empty: none has failed.
    """

    workers: tuple[WorkerInfo, ...]
    waiting_sessions: int
    message: str


def context_workers(answer: context_service_pb2.ListWorkersResponse) -> ContextWorkers:
    """Return the workers of a context that an answer tells of."""
    return ContextWorkers(tuple(map(_worker, answer.workers)), answer.waiting_sessions, answer.message)


def _worker(message: worker_pb2.Worker) -> WorkerInfo:
    known = message.state in worker_pb2.WorkerState.values()
    name = (
        worker_pb2.WorkerState.Name(message.state).removeprefix("WORKER_STATE_") if known else "UNSPECIFIED"
    )
    timed = message.HasField("state_duration")
    return WorkerInfo(
        message.pid,
        message.device,
        message.lanes,
        WorkerState(name),
        message.sessions,
        message.sessions_given,
        message.state_duration.ToTimedelta().total_seconds() if timed else None,
    )
