"""Whether a worker still moves: decided from its answers to pings, tick by tick.

Ticks are counted and not seconds, so that a machine that slept, or a server that was stopped, finds nobody late. What
a tick may cost is in `Patience`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

LONGEST_TICK = 5.0
TICKS = 10
"""At least so many ticks pass before a task is given up."""
SILENT_TICKS = 6
"""A worker that neither answers nor computes for so many ticks is stopped: no call of Arrow, of a parser or of a
compiler looks like that, however long it keeps the worker from answering."""
IDLE_SHARE = 0.01
"""Of a tick: threads that wait for the interpreter's lock take less processor time, and whoever has any to take, more."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a worker.

    Attributes:
        tick: seconds from one look to the next.
        stall_ticks: looks after which a task that takes no step is given up, and a worker that computes all the time
            and does not answer.
        silent_ticks: looks after which a worker is given up that neither answers nor computes.
    """

    tick: float
    stall_ticks: int
    silent_ticks: int = SILENT_TICKS

    @classmethod
    def of(cls, stall_seconds: float) -> "Patience":
        """Return the patience that gives a task so many seconds without a step."""
        tick = min(LONGEST_TICK, stall_seconds / TICKS)
        return cls(tick, round(stall_seconds / tick))

    def with_a_start(self) -> "Patience":
        """Return the patience with a worker that starts: it compiles as long as it takes, and answers only then."""
        return Patience(self.tick, sys.maxsize, round(SILENT_TICKS * LONGEST_TICK / self.tick))

    @property
    def stall_seconds(self) -> float:
        """Seconds that a task may take without a step."""
        return self.stall_ticks * self.tick

    @property
    def silent_seconds(self) -> float:
        """Seconds that a worker may neither answer nor compute."""
        return self.silent_ticks * self.tick


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a worker is to be stopped, as what it did; and the tasks that took no step."""

    what_it_did: str
    tasks: tuple[int, ...] = ()


@dataclass
class Vigil:
    """What is known of how one worker moves."""

    steps: dict[int, int] = field(default_factory=dict)
    quiet: dict[int, int] = field(default_factory=dict)
    unanswered: int = 0
    idle: int = 0
    computed: float = 0.0

    def answered(self, steps: Mapping[int, int]) -> None:
        """Take an answer: how many steps each task has taken that was begun."""
        self.unanswered = self.idle = 0
        self.quiet = {
            task: self.quiet.get(task, 0) if self.steps.get(task) == count else 0
            for task, count in steps.items()
        }
        self.steps = dict(steps)

    def tick(self, computed: float, patience: Patience) -> Finding | None:
        """Count a tick; return why the worker is to be stopped, where it is.

        Args:
            computed: seconds of processor time that the worker has used since its start.
            patience: how long to wait.
        """
        if not self.unanswered:  # else nothing is known of its tasks
            self.quiet = {task: ticks + 1 for task, ticks in self.quiet.items()}
        self.unanswered += 1
        idle = computed - self.computed < IDLE_SHARE * patience.tick
        self.idle = self.idle + 1 if idle else 0
        self.computed = computed
        if min(self.unanswered - 1, self.idle) >= patience.silent_ticks:
            return Finding(f"neither answered nor computed for {patience.silent_seconds:g} seconds")
        late = tuple(task for task, ticks in self.quiet.items() if ticks > patience.stall_ticks)
        if late:
            return Finding(f"made no progress with a task for {patience.stall_seconds:g} seconds", late)
        if self.unanswered > patience.stall_ticks:
            alone = tuple(self.quiet) if len(self.quiet) == 1 else ()  # beside others it cannot be told which
            return Finding(f"did not answer for {patience.stall_seconds:g} seconds", alone)
        return None
