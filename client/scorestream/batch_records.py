"""What is known of batches of services, as plain values: their states, and what became of each record."""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scorestream.errors import InvalidArgumentError
from scorestream.records import State


class BatchState(enum.StrEnum):
    """Where a batch is in its life, by the names of ML Server's clients.

    It compares equal to these names whatever the case, so that ``state == "Complete"`` is true of a complete batch. As
    a member of a set or the key of a dictionary it is the name as written here.
    """

    READY = "ready"
    PENDING = "pending"
    IN_PROGRESS = "inProgress"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELED = "canceled"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return NotImplemented
        return _plain(self.value) == _plain(str.__str__(other))

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __call__(self) -> "BatchState":
        """Return itself, for programs that call ``batch.state()``."""
        return self

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in {BatchState.COMPLETE, BatchState.FAILED, BatchState.CANCELED}


_VERSION = re.compile(r"v?(?P<number>[1-9][0-9]{0,8})(?:\.0+)*")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")


def _plain(name: str) -> str:
    """Return a state's name in one spelling."""
    return name.casefold().replace("cancelled", "canceled")


_STATES = {
    State.PENDING: BatchState.PENDING,
    State.RUNNING: BatchState.IN_PROGRESS,
    State.CANCELLING: BatchState.IN_PROGRESS,
    State.SUCCEEDED: BatchState.COMPLETE,
    State.SUCCEEDED_WITH_WARNINGS: BatchState.COMPLETE,
    State.FAILED: BatchState.FAILED,
    State.TIMED_OUT: BatchState.FAILED,
    State.CANCELLED: BatchState.CANCELED,
}


def batch_state(state: State) -> BatchState:
    """Return what a batch is while its job is in a state."""
    return _STATES[state]


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of one record.

    Attributes:
        index: which record, from 0.
        success: whether it was scored.
        error: why not; empty where it was.
        outputs: values by name; empty where it was not scored.
        artifacts: names of the files that were made for it.
        console_output: what its scoring printed; scoring prints nothing here, so it is empty.
    """

    index: int
    success: bool
    error: str
    outputs: Mapping[str, Any] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    console_output: str = ""

    def output(self, name: str) -> Any:
        """Return one of the outputs.

        Raises:
            InvalidArgumentError: there is none of that name.
        """
        if name not in self.outputs:
            there = ", ".join(self.outputs) or "none"
            raise InvalidArgumentError(
                f"Record {self.index} has no output {name!r}; there are: {there}."
                + (f" It failed: {self.error}" if self.error else ""),
                reason="NO_SUCH_OUTPUT",
            )
        return self.outputs[name]


def version_reference(version: int | str) -> str:
    """Return what names a version behind a model's name: its number, or an alias as it is.

    ``1``, ``"1"``, ``"v1"``, ``"1.0"`` and ``"v1.0.0"`` are the same version. An alias begins with a letter, and is not
    one of these.

    Raises:
        InvalidArgumentError: it is neither.
    """
    match = _VERSION.fullmatch(str(version))
    if match is not None and not isinstance(version, bool):
        return match["number"]
    if isinstance(version, str) and _ALIAS.fullmatch(version):
        return version
    raise InvalidArgumentError(
        f"{version!r} is no version of a service; versions are counted 1, 2, 3, and 1.0 is another way to write 1.",
        reason="BAD_VERSION",
    )
