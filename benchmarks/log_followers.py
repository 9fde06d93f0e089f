"""How soon the followers of one log see a line.

    python benchmarks/log_followers.py [--followers 1000] [--jobs 20] [--json FILE]

Followers of one session's log, each a stream of its own, spread over ten connections of one client process on the same
machine. Then jobs run in the session one after another, a quarter of a second apart, and write their lines; from the
server's time stamp on a line to its arrival at each follower.
"""

import asyncio
import statistics
import time

import pyarrow as pa

import scorestream
import scorestream.aio
from harness import arguments, save, show

CONNECTIONS = 10
PAUSE_SECONDS = 0.25


async def arrivals(address: str, token: str, followers: int, jobs: int) -> tuple[list[float], float]:
    """Return the delay of every line at every follower, in seconds, and how long a job took in the median."""
    clients = [await scorestream.aio.connect(address, token=token) for _ in range(CONNECTIONS)]
    session = await clients[0].create_session("followed")
    await session.load_table(pa.table({"a": [float(number) for number in range(100)]}), name="rows")
    await (await session.score("plain", "rows")).wait()  # the worker is warm from here on
    warm = [line async for line in session.log()][-1].position
    waiting, begun, delays = followers, asyncio.Event(), []
    took = []

    async def follow(number: int) -> int:
        nonlocal waiting
        found = await clients[number % CONNECTIONS].get_session(session.id)
        lines = 0
        async for line in found.log(follow=True):
            now = time.time()
            if line.position == warm:
                waiting -= 1
                if not waiting:
                    begun.set()
            if line.job_id and line.position > warm:
                delays.append(now - line.time.timestamp())
                lines += 1
        return lines

    tasks = [asyncio.create_task(follow(number)) for number in range(followers)]
    await begun.wait()
    for _ in range(jobs):
        await asyncio.sleep(PAUSE_SECONDS)
        start = time.perf_counter()
        await (await session.score("plain", "rows")).wait()
        took.append(time.perf_counter() - start)
    await asyncio.sleep(1)
    await session.terminate()
    counts = set(await asyncio.gather(*tasks))
    assert len(counts) == 1, "a follower missed lines"
    for client in clients:
        await client.close()
    return delays, statistics.median(took)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", followers=1000, jobs=20)
    with scorestream.local(device="cpu") as client:
        client.register_model("plain", source="a AS b")
        delays, job_seconds = asyncio.run(
            arrivals(client.address, client.token, options.followers, options.jobs)
        )
    result = {
        "question": f"a line to {options.followers} followers, ms",
        "median_ms": statistics.median(delays) * 1e3,
        "p99_ms": statistics.quantiles(delays, n=100)[98] * 1e3,
        "highest_ms": max(delays) * 1e3,
        "lines": len(delays),
        "job_median_ms": job_seconds * 1e3,
    }
    show(
        "Followers of one log, server and followers on two cores",
        ("question", "median", "p99", "highest", "lines"),
        [
            (
                result["question"],
                result["median_ms"],
                result["p99_ms"],
                result["highest_ms"],
                result["lines"],
            )
        ],
    )
    save(options.json, [result])


if __name__ == "__main__":
    main()
