"""Kills a server, or one of its workers, at its so-manieth change of a file, which a test may ask for at any time.

Python imports this at its start where this folder is on the PYTHONPATH. ``COUNTDOWN`` is a file of two numbers that
are counted down, one by the server and one by its workers; who comes to nought is killed. See `Countdown` in
`random_kills.py`. What counts are the changes below ``COUNTDOWN_BELOW`` that Python tells its audit hooks of, and the
files that are opened there; removals within a folder that is removed are relative to it, and count as well.
"""

import mmap
import os
import signal
import sys
from typing import Any

_KEPT = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "shutil.rmtree"}
_PLACES = {"scorestream_server": 0, "scorestream_server.workers.process": 1}


def _install(place: int, file: str, below: str) -> None:
    with open(file, "r+b") as opened:  # noqa: PTH123 - nothing more is imported than must be
        numbers = memoryview(mmap.mmap(opened.fileno(), 0)).cast("i")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _KEPT or numbers[place] <= 0:
            return
        path = str(arguments[0])
        if not path.startswith(below) and (event[:3] != "os." or path[:1] == "/"):
            return
        numbers[place] -= 1
        if numbers[place] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


for _program, _place in _PLACES.items():
    if _program in sys.orig_argv and "COUNTDOWN" in os.environ:
        _install(_place, os.environ["COUNTDOWN"], os.environ["COUNTDOWN_BELOW"])
