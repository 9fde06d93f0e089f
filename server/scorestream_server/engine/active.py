"""A job while it is not final, as the engine drives it."""

import asyncio
import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scorestream_server.domain.context import DEFAULT_CONTEXT
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.job import Failure, Job, State
from scorestream_server.domain.messages import OpenJob, PartitionDone
from scorestream_server.domain.model import Model
from scorestream_server.domain.table import Partition, PartitionFile, Table, TableData
from scorestream_server.scheduler import ReadyJob, may_take

SMALLEST_WORK = 1 << 24
LARGEST_WORK = 1 << 26
"""Tree visits (rows times the model's cost) of a partition: at some 500 million a second and lane, from 33 ms, below
which the commit (7 ms of processor time, measured) would weigh too much, to 130 ms, above which a short job would
wait too long for a lane."""
LARGEST_PARTITION = 1 << 18
PARTITIONS_WANTED = 16
"""A job is cut into about this many where its size allows, so that rows show early and lanes share it."""


def partition_rows(rows: int, cost: float) -> int:
    """Return how many rows a partition should have, for a table of `rows` and a model of this cost a row."""
    most = min(LARGEST_WORK / cost, LARGEST_PARTITION)
    wanted = min(PARTITIONS_WANTED, int(rows * cost / SMALLEST_WORK))
    return max(1, min(math.ceil(rows / max(1, wanted)), int(most)))


@dataclass(frozen=True, slots=True)
class InFlight:
    """A partition that a worker has."""

    worker_id: int
    task_id: int
    alone: bool


@dataclass(eq=False)
class ActiveJob:
    """The engine's view of one job; changed on the event loop only.

    Attributes:
        job: as the store has it, or will once what is on its way there is written.
        stored: as the store has it; a step behind it at most.
        begun: as it was when it began to run, while that is not written.
        opening: what a worker has to know before its first partition of the job.
        pending: heap of the indexes of partitions to hand out, lowest first.
        lost: how often a partition was there when its worker died, by index.
        opened: workers that know the job.
        committing: partitions on their way to the store.
        publishing: the step that writes the output or the final state, once begun.
        table_made: the output table, to be put into the store with the final state.
        ending: the final state that it is going to, once nothing is in flight; None while it goes on.
        lanes: lanes that have worked on it.
        finished: set when the job is final.
        attempts: where its partitions are written by workers that run as another user; None: where they stay.
        reloading: its table's rows are being brought back into the cache; nothing is handed out meanwhile.
        reloads: how often that was done for it.
        row_failure: the first partition known to have a row that cannot be scored, and why the job fails of it.
        own_workers: it runs on the server's own workers, as do all of the default context.
    """

    job: Job
    order: int
    session_name: str
    weight: int
    opening: OpenJob
    model: Model
    partitions: Sequence[Partition]
    waiting_since: float
    pending: list[int] = field(default_factory=list)
    lost: dict[int, int] = field(default_factory=dict)
    in_flight: dict[int, InFlight] = field(default_factory=dict)
    committed: dict[int, PartitionFile] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)
    committing: int = 0
    publishing: asyncio.Task[None] | None = None
    table_made: Table | None = None
    ending: State | None = None
    failure: Failure | None = None
    lanes: set[int] = field(default_factory=set)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    begun: Job | None = None
    attempts: Path | None = None
    reloading: asyncio.Task[None] | None = None
    reloads: int = 0
    row_failure: tuple[int, ScorestreamError] | None = None
    own_workers: bool = field(init=False)
    stored: Job = field(init=False)

    def __post_init__(self) -> None:
        self.stored = self.job
        self.own_workers = self.job.spec.context == DEFAULT_CONTEXT

    @property
    def table(self) -> TableData:
        """The table that the job reads."""
        return self.opening.table

    def deadline(self) -> tuple[float, str]:
        """Return when the job times out, seconds since 1970, and by which of its limits; never is infinity."""
        spec, job = self.job.spec, self.job
        if self.ending is not None:
            return math.inf, ""
        if job.start_time is None:
            return (job.create_time + spec.queue_timeout if spec.queue_timeout else math.inf), "queue_timeout"
        limits = {"timeout": spec.timeout or math.inf, "task_timeout": spec.task_timeout or math.inf}
        name = min(limits, key=lambda name: limits[name])
        return job.start_time + limits[name], name

    def take_begun(self) -> Job | None:
        """Return what `begun` is, for whoever writes it."""
        begun, self.begun = self.begun, None
        return begun

    @property
    def may_have_rows(self) -> bool:
        """Whether any partition is committed, or may be before anybody hears of it."""
        return bool(self.committed) or self.ending is not None

    @property
    def wants_lane(self) -> bool:
        """Whether there is something to hand out."""
        if not self.pending or self.ending is not None or self.reloading is not None:
            return False
        return self.row_failure is None or self.pending[0] < self.row_failure[0]

    def ready(self, worker_id: int | None) -> ReadyJob:
        """Return what the scheduler needs to know of a job that wants a lane.

        Args:
            worker_id: the worker that it must have; None: any of the server's own.
        """
        partition = self.partitions[self.pending[0]]
        return ReadyJob(
            self.job.id,
            self.job.session_id,
            self.job.spec.priority,
            self.weight,
            self.order,
            partition.rows * self.model.schema.row_cost(explained=self.job.spec.explain > 0),
            may_take(len(self.pending), len(self.in_flight), self.job.spec.parallel_count),
            self.waiting_since,
            alone=self.lost.get(partition.index, 0) > 0,
            owner=self.job.owner,
            started=self.job.state is not State.PENDING,
            queue=self.job.spec.queue,
            worker_id=worker_id,
        )

    def take(self, worker_id: int, task_id: int, now: float, *, alone: bool) -> Partition:
        """Move the next partition from pending to in flight."""
        index = heapq.heappop(self.pending)
        self.in_flight[index] = InFlight(worker_id, task_id, alone)
        self.waiting_since = now
        return self.partitions[index]

    def give_back(self, index: int) -> int:
        """Put a partition whose worker died back, and return how often that has happened to it."""
        self.lost[index] = self.lost.get(index, 0) + 1
        heapq.heappush(self.pending, index)
        return self.lost[index]

    def put_back(self, index: int) -> None:
        """Put a partition back that nothing is wrong with."""
        heapq.heappush(self.pending, index)

    def count(self, index: int, file: PartitionFile, device: str, done: PartitionDone) -> list[str]:
        """Count a partition as done; return what its worker has to tell of it that is new."""
        self.committed[index] = file
        self.lanes.add(done.lane)
        notes = [note for note in done.notes if note not in self.job.warnings]
        devices = [name for name in self.job.device.split(",") if name]
        if device and device not in devices:
            devices.append(device)
        self.job = replace(
            self.job,
            rows_done=self.job.rows_done + self.partitions[index].rows,
            rows_scored=self.job.rows_scored + file.rows,
            row_errors=self.job.row_errors + file.errors,
            stored_bytes=self.job.stored_bytes + file.bytes,
            partitions_done=self.job.partitions_done + 1,
            device_seconds=self.job.device_seconds + done.seconds,
            cpu_seconds=self.job.cpu_seconds + done.cpu_seconds,
            bytes_in=self.job.bytes_in + done.bytes_in,
            peak_memory=max(self.job.peak_memory, done.memory),
            device=",".join(devices),
            warnings=(*self.job.warnings, *notes),
        )
        return notes

    def take_back(self, index: int) -> None:
        """Count a partition as not done after all, because it could not be committed."""
        rest = {place: file for place, file in self.committed.items() if place != index}
        self.restore(rest, self.lost)

    def restore(self, committed: Mapping[int, PartitionFile], lost: Mapping[int, int]) -> None:
        """Take up the job where the store says it was."""
        self.committed = dict(committed)
        self.lost = {index: count for index, count in lost.items() if count}
        self.pending = [index for index in range(len(self.partitions)) if index not in committed]
        self.job = replace(
            self.job,
            rows_done=sum(self.partitions[index].rows for index in committed),
            rows_scored=sum(file.rows for file in committed.values()),
            row_errors=sum(file.errors for file in committed.values()),
            stored_bytes=sum(file.bytes for file in committed.values()),
            partitions_done=len(committed),
        )

    def missing(self) -> int:
        """Return how many scores are NULL or NaN in what is committed."""
        return sum(file.missing for file in self.committed.values())

    def files(self) -> Iterable[PartitionFile]:
        """Return the committed partitions in row order."""
        return (self.committed[index] for index in sorted(self.committed))
