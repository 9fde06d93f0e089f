"""The worker pool with real processes: what is promised to whoever hands them tasks."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.messages import InspectModel, ModelInspected
from scorestream_server.workers.launch import WorkerSpec
from scorestream_server.workers.local import LocalPool
from scorestream_server.workers.pool import MAX_ATTEMPTS, WorkerLost, run_anywhere


@pytest_asyncio.fixture
async def pool() -> AsyncIterator[LocalPool]:
    made = LocalPool(devices=["cpu"], lanes=1)
    made.start()
    yield made
    await made.close()


async def test_a_task_is_done_by_whichever_worker_lives(pool: LocalPool, tmp_path: Path) -> None:
    """Tasks are answered, faults are the task's own, and the death of a worker is made good by the next."""
    code = tmp_path / "code.sql"
    code.write_text("a + 1 AS b")
    task = InspectModel(pool.next_task_id(), str(code))
    schema = (await run_anywhere(pool, task, ModelInspected)).schema
    assert [output.name for output in schema.outputs] == ["b"]

    code.write_text("a +")
    with pytest.raises(ScorestreamError) as caught:
        await run_anywhere(pool, InspectModel(pool.next_task_id(), str(code)), ModelInspected)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT

    first = await pool.any_ready()
    os.kill(first.pid, signal.SIGKILL)
    with pytest.raises(WorkerLost, match="SIGKILL"):
        await pool.run(first.worker_id, InspectModel(pool.next_task_id(), str(code)))
    code.write_text("a + 2 AS c")
    again = InspectModel(pool.next_task_id(), str(code))
    schema = (await run_anywhere(pool, again, ModelInspected)).schema
    assert [output.name for output in schema.outputs] == ["c"]
    second = await pool.any_ready()
    assert second.pid != first.pid
    with pytest.raises(WorkerLost):
        await pool.run(first.worker_id, InspectModel(pool.next_task_id(), str(code)))


async def test_workers_that_cannot_start_are_an_error_and_no_hang() -> None:
    """Whoever waits for a worker is told when none comes up."""
    pool = LocalPool(devices=["abacus"], lanes=1)
    pool.start()
    with pytest.raises(ScorestreamError, match="before they were ready") as caught:
        await pool.any_ready()
    assert caught.value.code is ErrorCode.UNAVAILABLE
    await pool.close()


async def test_each_worker_has_the_device_it_was_given() -> None:
    """One name a worker; one that cannot be opened does not keep the others from their work."""
    pool = LocalPool(devices=["cpu", "cuda:0"], lanes=1)
    pool.start()
    assert (await pool.any_ready()).device == "cpu"
    assert [worker.device for worker in pool.workers()] == ["cpu"]
    pool._failed_starts[1] = MAX_ATTEMPTS
    first = await pool.any_ready()
    pool.kill(first.worker_id)
    with pytest.raises(WorkerLost):
        await pool.run(first.worker_id, InspectModel(pool.next_task_id(), "never read"))
    assert (await pool.any_ready()).device == "cpu"
    await pool.close()


async def talkative(spec: WorkerSpec, descriptor: int) -> asyncio.subprocess.Process:
    """Start a worker that announces 2 GiB and never sends them."""
    del spec
    code = (
        "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.sendall(b'\\x7f' * 4); s.recv(1)"
    )
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(descriptor)),
        pass_fds=(descriptor,),
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


async def test_a_worker_that_talks_too_much_is_stopped_with_the_reason() -> None:
    """Its message is not read, and whoever waits for a worker is told why there is none."""
    pool = LocalPool(devices=["cpu"], lanes=1, launch=talkative)
    pool.start()
    with pytest.raises(
        ScorestreamError, match=r"was stopped because it announced a message of 2,139,062,143 bytes"
    ):
        await pool.any_ready()
    await pool.close()
