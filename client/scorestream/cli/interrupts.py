"""Ctrl-C while a job is followed.

A KeyboardInterrupt is raised wherever the program is. Within gRPC that may leave a lock taken which every later call of
the channel needs; the program would then wait for ever. So the signal is taken here, and nothing is raised.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from scorestream.cli import INTERRUPTED
from scorestream.cli.shell import say

if TYPE_CHECKING:
    from scorestream.job import Job


@contextmanager
def cancelling(job: "Job") -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C within the block cancel a job, which whoever follows it then sees end; the second one raises.

    Yields:
        Whether that happened.
    """
    from scorestream.errors import ScorestreamError  # noqa: PLC0415 - keeps --help quick

    asked = False

    def cancel() -> None:
        say("Interrupted; cancelling the job ...")
        with suppress(ScorestreamError):  # whoever follows the job meets the same trouble, and reports it
            job.cancel()

    def interrupted(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)
        threading.Thread(target=cancel, daemon=True).start()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def leaving(words: str) -> Iterator[None]:
    """Let Ctrl-C within the block print a sentence and end the program at once."""

    def interrupted(*_: object) -> None:
        os.write(2, f"\n{words}\n".encode())  # standard error itself may be in the middle of a line
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
