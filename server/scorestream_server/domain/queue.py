"""Queues: how jobs that wait share the server."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid

DEFAULT_QUEUE = "default"
"""The queue of jobs whose session and context name none."""
DEFAULT_WEIGHT = 100


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as the server's configuration file describes it.

    Attributes:
        weight: share of the server that its jobs get while other queues' wait too, relative to their weights.
        running_jobs: how many of its jobs may run at a time; 0 for any number.
        waiting_jobs: how many of its jobs may wait for their first partition; 0 for any number.
    """

    name: str
    weight: int = DEFAULT_WEIGHT
    running_jobs: int = 0
    waiting_jobs: int = 0


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """A queue, and how many jobs it has at a moment."""

    queue: Queue
    running: int
    waiting: int


def unknown_queue(field: str, name: str, queues: Sequence[str]) -> ScorestreamError:
    """Return the error for a queue that is not there."""
    near = difflib.get_close_matches(name[:100], queues, n=3)
    meant = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(sorted(queues))}"
    shown = name if len(name) <= 80 else name[:77] + "..."
    description = f"there is no queue {shown!r}; {meant}"
    return invalid("UNKNOWN_QUEUE", f"{field}: {description}", [FieldFault(field, description)], queue=shown)
