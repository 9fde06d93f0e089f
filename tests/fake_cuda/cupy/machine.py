"""The cards of the stand-in for CuPy, and what a test does to them through files in ``$FAKE_CUDA``.

``cuda:N.break``    the card breaks at a launch, once: the number in the file says at which from now on
``cuda:N.full``     that launch finds no memory, once
``cuda:N.busy``     the card cannot be opened while the file is there
``cuda:N.taken``    so many bytes of its memory are held by others
``broken``          written here: each rule of CUDA that was broken

Kernels built for the host are kept in ``$FAKE_CUDA_KERNELS``.
"""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cuda_double import Broken, Card
from cuda_host.harness import KernelError
from cuda_machine import MEMORY
from scorestream_server.device.base import DeviceFault
from scorestream_server.device.cuda_calls import OutOfDeviceMemory

FOLDER = Path(os.environ.get("FAKE_CUDA", "."))
KERNELS = Path(os.environ.get("FAKE_CUDA_KERNELS", "."))
SHARED_BYTES = 96 << 10

NO_MEMORY, UNAVAILABLE, NO_SUCH_DEVICE, ILLEGAL_ADDRESS = 2, 46, 101, 700

_cards: dict[int, Card] = {}
_due: Counter[str] = Counter()
"""Launches until a card's fault, by the name of its file."""
_lock = threading.Lock()
_thread = threading.local()


def card(ordinal: int) -> Card:
    """Return a card by its number; the server says in ``CUDA_VISIBLE_DEVICES`` how many there are."""
    if ordinal >= len(os.environ["CUDA_VISIBLE_DEVICES"].split(",")):
        raise IndexError(ordinal)
    with _lock:
        if ordinal not in _cards:
            made = _cards[ordinal] = Card(MEMORY, KERNELS, SHARED_BYTES, f"cuda:{ordinal}")
            with contextlib.suppress(FileNotFoundError):
                taken = int((FOLDER / f"{made.name}.taken").read_text())
                made.attach()
                made.allocate(taken)
        return _cards[ordinal]


def make_current(ordinal: int) -> None:
    """Attach the calling thread to a card."""
    card(ordinal).attach()
    _thread.ordinal = ordinal


def current() -> Card:
    """Return the calling thread's card: the first one where it never chose, which CUDA would open for it."""
    return card(getattr(_thread, "ordinal", 0))


def before_launch(of: Card) -> None:
    """Do to a card what a test asked for."""
    if _is_due(f"{of.name}.break"):
        of.broken = True
    if _is_due(f"{of.name}.full"):
        raise OutOfDeviceMemory


@contextlib.contextmanager
def told(error: type[Exception]) -> Iterator[None]:
    """Turn what a card says into CuPy's error, and write down what was against the rules."""
    try:
        yield
    except OutOfDeviceMemory:
        raise error(NO_MEMORY) from None
    except DeviceFault:
        raise error(ILLEGAL_ADDRESS) from None
    except (Broken, KernelError, TypeError, ValueError) as fault:
        with (FOLDER / "broken").open("a") as file:
            file.write(f"{fault!r}\n")
        raise


def _is_due(name: str) -> bool:
    with _lock:
        with contextlib.suppress(FileNotFoundError):
            path = FOLDER / name
            _due[name] = int(path.read_text())
            path.unlink()
        if not _due[name]:
            return False
        _due[name] -= 1
        return not _due[name]
