"""What is known of worker processes and their tasks at their end, in words."""

import os
import signal
from pathlib import Path

from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError
from scorestream_server.domain.messages import TaskFailed
from scorestream_server.workers.vigil import Patience


def error_of(report: TaskFailed) -> ScorestreamError:
    """Return what a worker says was wrong with a task."""
    faults = tuple(FieldFault(name, description) for name, description in report.faults)
    return ScorestreamError(ErrorCode(report.code), report.reason, report.message, faults, report.metadata)


def computed(pid: int) -> float:
    """Return the seconds of processor time that a process has used; 0 where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def ending(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    # The kernel's way out where a machine has no memory left, and a C++ library's where its process has none.
    perhaps = ", perhaps for want of memory" if -code in {signal.SIGKILL, signal.SIGABRT} else ""
    return f"was ended by signal {name}{perhaps}"


def stalled_error(patience: Patience) -> ScorestreamError:
    """Return what is told of a task that did not move."""
    return ScorestreamError(
        ErrorCode.DEADLINE_EXCEEDED,
        "TASK_STALLED",
        f"Nothing moved for {patience.stall_seconds:g} seconds, so this was given up, and its worker process with it. "
        "The file may be damaged, or its disk may hang; where it is only large, have the server started with more "
        "--stall-seconds.",
    )
