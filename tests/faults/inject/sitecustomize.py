"""Kills a worker, its server, or both, at a step that a test names, once.

Python imports this at its start where this folder is on the PYTHONPATH. ``KILL_AT`` is a pattern of what Python
tells its audit hooks (an event and what it is about, before it happens), and ``KILL_IN`` the module of the process
that is to do that; ``KILL`` is ``itself`` or ``both``, where a worker takes its server with it; ``KILLED`` is a file
that says that it was done.
"""

import os
import re
import signal
import sys
from typing import Any

_KEPT = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "shutil.rmtree"}


def _install(pattern: str, both: bool, killed: str) -> None:
    wanted = re.compile(pattern)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _KEPT or not wanted.match(f"{event} {' '.join(map(str, arguments[:2]))}"):
            return
        try:
            os.close(os.open(killed, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        if both:
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if os.environ.get("KILL_IN") in sys.orig_argv:
    _install(os.environ["KILL_AT"], os.environ["KILL"] == "both", os.environ["KILLED"])
