"""Makes a thread of a worker hang for ever at a step that a test names.

Python imports this at its start where this folder is on the PYTHONPATH. ``HANG_AT`` is a pattern of what Python tells
its audit hooks (an event and what it is about, before it happens); ``HANG`` is ``loop`` or ``wait``; ``HANG_ONCE``,
where it is set, is a file that says that it was done, so that it is done once.
"""

import os
import re
import sys
import threading
from typing import Any


def _install(pattern: str, how: str, once: str) -> None:
    wanted = re.compile(pattern)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not wanted.search(f"{event} {arguments[0]}"):
            return
        if once:
            try:
                os.close(os.open(once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
        while how == "loop":
            pass
        threading.Event().wait()

    sys.addaudithook(hook)


if "HANG_AT" in os.environ and "scorestream_server.workers.process" in sys.orig_argv:
    _install(os.environ["HANG_AT"], os.environ["HANG"], os.environ.get("HANG_ONCE", ""))
