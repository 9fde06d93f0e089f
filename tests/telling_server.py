"""A server as `python -m scorestream_server` runs it, that tells what lives in it when it gets SIGUSR1.

It tells on standard output, a line of JSON each time, behind the line with its address.
"""

import asyncio
import gc
import json
import os
import signal

from scorestream_server import __main__ as program
from scorestream_server.feed import _Follower


def _tell() -> None:
    gc.collect()
    followers = sum(isinstance(thing, _Follower) for thing in gc.get_objects())
    told = {"tasks": len(asyncio.all_tasks()), "followers": followers, "pid": os.getpid()}
    print(json.dumps(told), flush=True)  # noqa: T201


async def _main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _tell)
    await program._serve(program.parse())


if __name__ == "__main__":
    asyncio.run(_main())
