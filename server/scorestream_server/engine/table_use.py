"""Who reads tables at this moment, and when each was read last."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scorestream_server.domain.table import Table


@dataclass(eq=False)
class Reading:
    """Somebody who looks a table up and then reads it: until the name is looked up, it may be any table.

    Attributes:
        uid: the table; empty while that is not known.
    """

    uid: str = ""


class TableUse:
    """Readers of tables. A table that was dropped keeps its files while somebody has it, or may have found it just before.

    Marks may be set by threads that read the store; everything else is the event loop's.
    """

    def __init__(self) -> None:
        self._readings: set[Reading] = set()
        self._accesses: dict[str, float] = {}
        self._unwritten: set[str] = set()
        self._waited_for: dict[str, list[Reading]] = {}
        self._going: set[str] = set()

    @property
    def accesses(self) -> Mapping[str, float]:
        """When tables were last read since the server began: seconds since 1970, by uid."""
        return self._accesses

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reading]:
        """Announce that a table is about to be looked up, and read while the block runs; `found` says which it is."""
        reading = Reading()
        self._readings.add(reading)
        try:
            yield reading
        finally:
            self._readings.discard(reading)

    def found(self, reading: Reading, table: Table, now: float) -> Table:
        """Note which table a reader found, and that it is read now; return it."""
        reading.uid = table.uid
        self.touch(table.uid, now)
        return table

    def touch(self, uid: str, now: float) -> None:
        """Note that a table is read now."""
        self._accesses[uid] = now
        self._unwritten.add(uid)

    def readers(self, uid: str) -> int:
        """Return how many readers have a table."""
        return sum(reading.uid == uid for reading in list(self._readings))

    def in_use(self) -> set[str]:
        """Return the uids of the tables that readers have."""
        return {reading.uid for reading in list(self._readings) if reading.uid}

    def may_go(self, uid: str) -> bool:
        """Return whether the files of a dropped table may go: nobody has it, or may have found it just before the drop.

        Who comes later finds it by its id alone, and learns from `is_going` that it is about to be gone.
        """
        self._going.add(
            uid
        )  # before the look: who marks a table looks here behind that, and one of the two sees the other
        before = self._waited_for.setdefault(uid, list(self._readings))
        if self.readers(uid) or any(reading in self._readings and not reading.uid for reading in before):
            self._going.discard(uid)
            return False
        return True

    def is_going(self, uid: str) -> bool:
        """Return whether the files of a table go at this moment."""
        return uid in self._going

    def take_unwritten(self) -> dict[str, float]:
        """Return the accesses that the store does not know yet, for it to know them."""
        taken, self._unwritten = self._unwritten, set()
        return {uid: self._accesses[uid] for uid in taken}

    def forget(self, uid: str) -> None:
        """Forget a table whose files are gone."""
        self._accesses.pop(uid, None)
        self._unwritten.discard(uid)
        self._waited_for.pop(uid, None)
        self._going.discard(uid)
