"""A server as `python -m scorestream_server` runs it, that tells what lives in it when it gets SIGUSR1.

It tells on standard output, a line of JSON each time, behind the line with its address.
"""

import asyncio
import gc
import json
import os
import signal

from scorestream_server import __main__ as program
from scorestream_server.config import Config
from scorestream_server.feed import _Follower
from scorestream_server.store.owner import Ownership


def _tell() -> None:
    gc.collect()
    followers = sum(isinstance(thing, _Follower) for thing in gc.get_objects())
    told = {"tasks": len(asyncio.all_tasks()), "followers": followers, "pid": os.getpid()}
    print(json.dumps(told), flush=True)  # noqa: T201


_serve = program._serve


async def _serve_and_tell(
    config: Config, ownership: Ownership, locks: tuple[int, ...], output_umask: int
) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _tell)
    await _serve(config, ownership, locks, output_umask)


if __name__ == "__main__":
    program._serve = _serve_and_tell
    program.main()
