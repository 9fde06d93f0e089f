"""Row C3: a context's settings govern worker processes, driven through the public client and the command line."""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import scorestream
from nightly import expected_scores
from scorestream import State
from scorestream.context_workers import WorkerState

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
PATIENCE = 60.0


@pytest.fixture
def named(local: scorestream.Client, prefix: str) -> Iterator[str]:
    """A name for a context; what is made of it goes again."""
    name = prefix.strip("_")
    yield name
    for session in local.sessions(prefix=prefix):
        session.terminate(cancel=True)
    local.contexts.delete(name)


def gone(pid: int) -> bool:
    """Wait until a process has ended, and say so."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(PATIENCE)
    return not psutil.pid_exists(pid)


def workers(client: scorestream.Client, context: str, state: WorkerState, count: int) -> list[int]:
    """Wait until a context has so many workers in a state, and return their processes."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = client.contexts.workers(context)
        pids = [worker.pid for worker in found.workers if worker.state is state]
        if len(pids) == count:
            return pids
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def none_left(client: scorestream.Client, context: str) -> None:
    """Wait until a context has no worker; a process is gone before the server has heard of it."""
    for state in WorkerState:
        workers(client, context, state, 0)


def score(session: scorestream.Session, model: scorestream.Model, rows: Path) -> scorestream.Job:
    return session.score(model, session.load_table(rows, name="rows", replace=True), keep=["customer_id"])


def test_c3_without_reuse_a_session_has_a_process_of_its_own_that_ends_with_it(
    local: scorestream.Client,
    run: Run,
    ask: Ask,
    named: str,
    prefix: str,
    model: scorestream.Model,
    customers: Any,
    customers_file: Path,
) -> None:
    """It starts with the session, carries the context's prefix, and the job says what it waits for meanwhile."""
    local.contexts.create(named, device="cpu", job_name_prefix="nightly-")
    assert local.contexts.workers(named).workers == ()
    table = customers_file
    with local.create_session(f"{prefix}cold", context=named) as session:
        job = score(session, model, table)
        done = job.wait()
        assert done.state is State.SUCCEEDED
        assert job.to_table()["p_var1"].to_numpy() == pytest.approx(expected_scores(customers), abs=1e-12)
        waits = [event for event in job.watch() if "waits for a worker of context" in event.message]
        assert waits
        assert f"context {named}: starting, " in waits[0].message
        assert waits[0].state is State.PENDING

        (worker,) = local.contexts.workers(named).workers
        assert (worker.state, worker.sessions, worker.sessions_given) == (WorkerState.IN_USE, 1, 1)
        assert worker.device == "cpu"
        assert psutil.Process(worker.pid).cmdline()[0].startswith("nightly-")
        (shown,) = ask("context", "show", named)["workers"]
        assert (shown["pid"], shown["state"], shown["sessions"]) == (worker.pid, "IN_USE", 1)
        text = run("context", "show", named, "--server", local.address).stdout
        assert str(worker.pid) in text
        assert "in use" in text
        assert json.loads(run("session", "list", "-o", "json", "--server", local.address).stdout)

        # Its death costs nothing but another start.
        psutil.Process(worker.pid).kill()
        assert gone(worker.pid)
        assert score(session, model, table).wait().state is State.SUCCEEDED
        (second,) = local.contexts.workers(named).workers
        assert second.pid != worker.pid
    assert gone(second.pid)
    none_left(local, named)


def test_c3_workers_that_are_reused_are_ready_grow_and_end_by_the_settings(
    local: scorestream.Client,
    named: str,
    prefix: str,
    model: scorestream.Model,
    customers_file: Path,
) -> None:
    """One is ready before anybody asks, growth is ahead of need, and the second session of a worker is its last."""
    local.contexts.create(
        named,
        reuse_server_processes=True,
        server_min_available=1,
        server_max_available=2,
        server_reuse_limit=2,
        server_pool_scale_threshold=100,
    )
    (first,) = workers(local, named, WorkerState.IDLE, 1)
    one = local.create_session(f"{prefix}1", context=named)
    job = score(one, model, customers_file)
    assert job.wait().state is State.SUCCEEDED
    assert not [event for event in job.watch() if "waits for a worker" in event.message]
    assert workers(local, named, WorkerState.IN_USE, 1) == [first]
    (second,) = workers(local, named, WorkerState.IDLE, 1)

    two = local.create_session(f"{prefix}2", context=named)
    assert sorted(workers(local, named, WorkerState.IN_USE, 2)) == sorted([first, second])
    three = local.create_session(f"{prefix}3", context=named)  # no third worker: it shares
    assert score(three, model, customers_file).wait().state is State.SUCCEEDED
    found = {worker.pid: worker for worker in local.contexts.workers(named).workers}
    assert sorted(worker.sessions for worker in found.values()) == [1, 2]
    full = next(pid for pid, worker in found.items() if worker.sessions_given == 2)
    for session in (one, two, three):
        session.terminate()
    assert gone(full)
    assert {*workers(local, named, WorkerState.IDLE, 1)} == {first, second} - {full}

    # Without sessions for long enough, those beyond what is to be ready end.
    local.contexts.update(named, server_min_available=0, server_inactive_timeout=0.2)
    workers(local, named, WorkerState.IDLE, 0)


def test_c3_a_worker_that_does_not_come_up_fails_the_job_with_the_reason(
    local: scorestream.Client,
    run: Run,
    named: str,
    prefix: str,
    model: scorestream.Model,
    customers_file: Path,
) -> None:
    """The time for a start is honoured, each failed start is told, and nobody waits for ever."""
    local.contexts.create(named, server_launch_timeout=0.001)
    session = local.create_session(f"{prefix}never", context=named)
    job = score(session, model, customers_file)
    with pytest.raises(scorestream.JobFailedError, match=r"3 starts failed.*not ready within 0\.001 s"):
        job.wait()
    failure = job.info.failure
    assert failure is not None
    assert (failure.code, failure.reason) == ("UNAVAILABLE", "NO_WORKER")
    assert [event for event in job.watch() if "failed starts: 1, the last because" in event.message]
    text = run("context", "show", named, "--server", local.address).stdout
    assert "It has no workers now" in text or "was not ready within 0.001 s" in text

    # With time enough the next job of the session has a worker.
    local.contexts.update(named, server_launch_timeout=60)
    assert score(session, model, customers_file).wait().state is State.SUCCEEDED


def test_c3_the_default_contexts_workers_are_the_servers_own(
    local: scorestream.Client, session: scorestream.Session
) -> None:
    """All of its sessions have all of them."""
    del session
    found = local.contexts.workers("default").workers
    assert [worker.device for worker in found] == ["cpu"]
    assert all(worker.sessions >= 1 for worker in found)


def test_c3_a_session_that_is_ended_by_force_leaves_no_process(
    local: scorestream.Client, named: str, prefix: str, model: scorestream.Model, customers_file: Path
) -> None:
    """Its worker ends with it, whatever it was doing, and no other is started for it."""
    local.contexts.create(named)
    session = local.create_session(f"{prefix}doomed", context=named)
    (pid,) = workers(local, named, WorkerState.IN_USE, 1)
    job = score(session, model, customers_file)
    session.terminate(force=True)
    assert gone(pid)
    assert local.get_job(job.id).state is State.CANCELLED
    none_left(local, named)
