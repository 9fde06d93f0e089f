"""Open files and what was found in them, shared by the threads of a worker."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

_KEPT = 128


class Handles:
    """Keeps the most recently used ones; thread-safe."""

    def __init__(self) -> None:
        self._open: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what is kept under a key, made unless it is there."""
        with self._lock:
            found = self._open.get(key)
            if found is not None:
                self._open.move_to_end(key)
                return found
        made = make()  # not under the lock: a slow disk would stop every lane
        with self._lock:
            found = self._open.setdefault(key, made)
            if len(self._open) > _KEPT:
                self._open.popitem(last=False)
        return found

    def drop(self, wanted: Callable[[Any], bool]) -> None:
        """Let go of what is kept under some keys."""
        with self._lock:
            for key in [key for key in self._open if wanted(key)]:
                del self._open[key]
