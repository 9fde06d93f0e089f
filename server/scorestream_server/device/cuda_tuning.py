"""Which walking kernel, and how many threads a block: measured once on real rows, then remembered."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scorestream_server.device.cuda_forest import CudaForest
from scorestream_server.device.cuda_launch import largest_staged_block

_BLOCKS = (64, 128, 256)
_ROW_BLOCKS = (64, 256)
_FEW_ROWS = 1 << 14
"""A block a row keeps a card busy with few rows, and never pays for more than these."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A way to launch the sum of leaves: ``kernel`` is staged, global or row."""

    kernel: str
    block: int


def size_class(rows: int) -> int:
    """Return the class of sizes that a chunk belongs to: within one, the best shape hardly changes."""
    return rows.bit_length() // 2


def shapes(forest: CudaForest, rows: int, shared_bytes: int) -> list[Shape]:
    """Return the shapes that fit a forest, a chunk and a card."""
    most = largest_staged_block(forest, shared_bytes, max(_BLOCKS))
    found = [Shape("staged", block) for block in _BLOCKS if block <= most]
    if most and not found:
        found.append(Shape("staged", most))
    found += [Shape("global", block) for block in (_BLOCKS if not most else _BLOCKS[-1:])]
    if rows <= _FEW_ROWS:
        needed = forest.columns * forest.cell.itemsize
        found += [Shape("row", block) for block in _ROW_BLOCKS if block * 8 + needed <= shared_bytes]
    return found


class Shapes:
    """The shapes found best, by model, card and size; kept in a file, so that each is measured once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, Shape] = {}
        # A file that is not there or not ours costs a measurement, nothing more.
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            self._known = {key: Shape(**value) for key, value in json.loads(path.read_text()).items()}

    def best(
        self, model: str, card: str, rows: int, fitting: Sequence[Shape], measure: Callable[[Shape], float]
    ) -> Shape:
        """Return the fastest shape for a chunk of so many rows.

        Args:
            model: digest of the forest.
            card: the card's name.
            rows: the chunk's rows.
            fitting: what may be chosen from; at least one.
            measure: runs a shape on the chunk and returns how long it took.
        """
        key = f"{model} {card} {size_class(rows)}"
        with self._lock:
            known = self._known.get(key)
        if known is not None and known in fitting:
            return known
        chosen = min(fitting, key=measure) if len(fitting) > 1 else fitting[0]
        with self._lock:
            self._known[key] = chosen
            self._save()
        return chosen

    def _save(self) -> None:
        # The workers of several cards keep theirs in the same file; the last one to measure wins.
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):  # it is measured again next time
            temporary.write_text(json.dumps({key: asdict(shape) for key, shape in self._known.items()}))
            temporary.replace(self._path)
