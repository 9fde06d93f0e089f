"""How many calls each principal has at a time, and no more than it may."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from scorestream_server.domain.limits import Limits, exhausted

RETRY_SECONDS = 1.0


class Traffic:
    """Counts calls and streams by principal; used on the event loop only."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._calls: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()

    @contextlib.contextmanager
    def counted(self, principal: str, *, stream: bool) -> Iterator[None]:
        """Count a call while the block runs.

        Raises:
            ScorestreamError: RESOURCE_EXHAUSTED, where the principal has as many as it may.
        """
        counts, most = (self._streams, self._limits.streams) if stream else (self._calls, self._limits.calls)
        if counts[principal] >= most:
            raise _too_many_streams(most) if stream else _too_many_calls(most)
        counts[principal] += 1
        try:
            yield
        finally:
            counts[principal] -= 1
            if not counts[principal]:
                del counts[principal]


def _too_many_calls(most: int) -> Exception:
    what = f"You have {most:,} calls in progress, as many as one user may."
    return exhausted("TOO_MANY_CALLS", "calls", most, what, "Make fewer at a time.", RETRY_SECONDS)


def _too_many_streams(most: int) -> Exception:
    what = f"You have {most:,} streams open (subscriptions, and results being read), as many as one user may."
    advice = "Close some, or follow many jobs in one stream (WatchSessions)."
    return exhausted("TOO_MANY_STREAMS", "streams", most, what, advice, RETRY_SECONDS)
