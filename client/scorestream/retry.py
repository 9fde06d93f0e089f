"""How long a client goes on trying when no server answers."""

import random
import time
from collections.abc import Callable

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


class Patience:
    """Says after each failure how long to pause before the next attempt, or that it is enough.

    Pauses double from 50 ms to 1 s, each shortened at random by up to a half so that many clients do not
    come back at the same moment. The count begins again after every success.

    Args:
        seconds: how long to go on after the first failure.
        clock: where the time comes from; a test gives its own.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: float | None = None
        self._pause = FIRST_PAUSE

    def succeeded(self) -> None:
        """Begin again: something was answered."""
        self._until = None
        self._pause = FIRST_PAUSE

    def pause(self, asked: float | None) -> float | None:
        """Return the seconds to wait before the next attempt, or None where there should be none.

        Args:
            asked: how many seconds the server asked to wait, 0 where it did not answer; None: trying again is of
                no use.
        """
        if asked is None:
            return None
        now = self._clock()
        if self._until is None:
            self._until = now + self._seconds
        if now >= self._until:
            return None
        pause = max(self._pause, 2 * asked) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return min(pause, self._until - now)
