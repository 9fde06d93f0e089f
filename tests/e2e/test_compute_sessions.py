"""Sessions and jobs as users of the Compute API know them: rows A8, A10, C5, C6 and C15 of the list of features."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

import scorestream
from scorestream import SessionState, State
from scorestream.statistics import Severity
from scorestream.v1 import session_service_pb2, session_service_pb2_grpc
from served import raw_channel

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]

PAUSE_SECONDS = 0.05
LINES = pa.table({"a": [1.0, 2.0, None]})


@pytest.fixture
def half(local: scorestream.Client) -> scorestream.Model:
    return local.register_model("half", source="a / 2 AS halved")


def open_names(local: scorestream.Client, prefix: str) -> set[str]:
    return {found.name for found in local.sessions(prefix)}


def until_gone(local: scorestream.Client, session: scorestream.Session) -> None:
    """Wait until a session has ended; only a list can tell, for whoever asks or follows keeps it open."""
    while session.name in open_names(local, session.name):
        time.sleep(PAUSE_SECONDS)


def test_a8_the_timeout_is_settable_at_any_time(local: scorestream.Client, ask: Ask, prefix: str) -> None:
    """By client and command; negative is the default, 0 never; what is idle for longer ends and says when and why."""
    session = local.create_session(f"{prefix}a8", inactive_timeout=0)
    assert session.info.inactive_timeout == 0
    assert session.update(inactive_timeout=1800).info.inactive_timeout == 1800
    shown = ask("session", "update", session.id, "--inactive-timeout", "0.5")
    assert shown["inactive_timeout"] == 0.5
    until_gone(local, session)
    (found,) = local.sessions(session.name, include_ended=True)
    assert found.info.end_reason == "nothing happened in it for 0.5 seconds"
    why = re.escape(found.info.end_reason)
    with pytest.raises(scorestream.FailedPreconditionError, match=why) as refused:
        session.load_table(LINES, name="late")
    assert refused.value.reason == "SESSION_ENDED"
    with pytest.raises(scorestream.FailedPreconditionError, match="ended or began to end at 20"):
        session.update(inactive_timeout=1)


def test_a8_a_lease_keeps_a_session_open_and_lets_go_with_its_client(
    local: scorestream.Client, prefix: str
) -> None:
    """However idle; when the client leaves the block the session's time begins, and a killed client's too."""

    def idle(name: str) -> scorestream.Session:
        return local.create_session(f"{prefix}{name}", inactive_timeout=0.2)

    session = idle("leased")
    with session.keep_alive(ttl=2) as lease:
        until_gone(local, idle("as long"))
        until_gone(local, idle("and again"))
        assert session.name in open_names(local, prefix)
        assert lease.error is None
    until_gone(local, session)
    killed = local.create_session(f"{prefix}killed", inactive_timeout=0)
    command = [sys.executable, "-c", "from scorestream.cli import main; main()", "session", "keep-alive"]
    with subprocess.Popen(
        [*command, killed.id, "--server", local.address], stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stderr is not None
        assert "is kept open" in client.stderr.readline()
        killed.update(inactive_timeout=0.2)
        until_gone(local, idle("as long"))
        assert killed.name in open_names(local, prefix)
        client.kill()
    until_gone(local, killed)


def test_a8_a_lease_on_what_is_over_says_so(local: scorestream.Client, prefix: str, run: Run) -> None:
    """An ended session cannot be kept open; a lease on one that is ended meanwhile knows why it is lost."""
    session = local.create_session(f"{prefix}over")
    session.terminate()
    with (
        pytest.raises(scorestream.FailedPreconditionError, match="terminated by a client"),
        session.keep_alive(),
    ):
        pass
    told = run("session", "keep-alive", session.id, "--server", local.address, check=2).stderr
    assert "ended or began to end at" in told
    with pytest.raises(scorestream.InvalidArgumentError, match="ttl"), session.keep_alive(ttl=0.01):
        pass


def test_a10_a_job_tells_what_it_took(
    local: scorestream.Client, ask: Ask, run: Run, session: scorestream.Session, half: scorestream.Model
) -> None:
    """Severity, reason, status, elapsed, queue, device and processor time, bytes in and out, peak memory."""
    rows = 200_000
    table = session.load_table(pa.table({"a": [float(n) for n in range(rows)]}), name="many")
    job = session.score(half, table).wait()
    took = job.statistics
    assert (took.severity, took.reason, took.status_code) == (Severity.NORMAL, "", "OK")
    assert job.info.ended is not None
    assert took.elapsed == pytest.approx((job.info.ended - job.info.created).total_seconds(), abs=1e-3)
    assert 0 <= took.queue_time <= took.elapsed
    assert took.device_time > 0
    assert took.cpu_time > 0
    assert took.bytes_in == rows * 8
    assert took.bytes_out > rows * 8
    assert took.peak_memory > 10 << 20
    assert ask("job", "status", job.id)["statistics"]["bytes_in"] == rows * 8
    shown = run("job", "status", job.id, "--server", local.address).stdout
    assert "1.5 MiB in" in shown
    assert "peak memory" in shown
    failed = session.score(half, table, queue_timeout=1e-6)
    with pytest.raises(scorestream.JobTimedOutError):
        failed.wait()
    took = failed.statistics
    assert (took.severity, took.status_code) == (Severity.ERROR, "DEADLINE_EXCEEDED")
    assert took.reason


def test_c5_a_session_tells_its_statistics_and_labels(
    local: scorestream.Client, ask: Ask, run: Run, prefix: str, half: scorestream.Model
) -> None:
    """State, owner, statistics, timeout and labels; sessions are found by labels; all of it outlives the session."""
    name = f"{prefix}c5"
    made = ask("session", "create", name, "--label", f"batch={prefix}", "--label", "team=risk")
    session = local.get_session(made["id"])
    assert session.labels == {"batch": prefix, "team": "risk"}
    local.create_session(f"{prefix}unlabelled")
    assert [found.name for found in local.sessions(labels={"batch": prefix})] == [name]
    assert ask("session", "list", "--label", f"batch={prefix}", "--label", "team=fraud") == []
    table = session.load_table(LINES, name="three")
    session.score(half, table).wait()
    session.score(half, table, where="a > 1").wait()
    took = session.statistics()
    assert (took.jobs, took.jobs_ended_badly, took.rows_done, took.rows_scored) == (2, 0, 6, 4)
    assert took.device_time > 0
    assert took.peak_memory > 0
    shown = run("session", "show", name, "--server", local.address).stdout
    assert "6 done, 4 scored" in shown
    assert f"batch={prefix}, team=risk" in shown
    assert session.update(labels={"team": "fraud"}).labels == {"team": "fraud"}
    session.terminate()
    assert ask("session", "show", session.id)["statistics"]["jobs"] == 2
    assert local.get_session(session.id).info.end_reason == "terminated by a client"
    assert "NAME=VALUE" in run("session", "create", "x", "--label", "nothing", check=2).stderr
    for labels in ({"no spaces": ""}, {"a": "b" * 300}, {"a": "\x00"}, {f"n{i}": "" for i in range(65)}):
        with pytest.raises(scorestream.InvalidArgumentError, match="labels"):
            local.create_session(labels=labels)


def test_c6_a_job_has_computes_states_and_condition_codes(
    ask: Ask, session: scorestream.Session, half: scorestream.Model
) -> None:
    """pending, running, completed, warning, error, canceled, timedOut; 0, 4 or 8 once it is final."""
    table = session.load_table(LINES, name="three")
    job = session.score(half, table).wait()
    assert (job.info.compute_state, job.condition_code) == ("completed", 0)
    late = session.score(half, table, queue_timeout=1e-6)
    with pytest.raises(scorestream.JobTimedOutError):
        late.wait()
    assert (late.info.compute_state, late.condition_code) == ("timedOut", 8)
    assert ask("job", "status", late.id)["condition_code"] == 8


def test_c6_wait_for_another_state(session: scorestream.Session, half: scorestream.Model) -> None:
    """Returns at once where the state is another one or final, when it changes, or when the time is up."""
    rows = pa.table({"a": [0.0] * 100_000})
    table = session.load_table(rows, name="many")
    job = session.score(half, table, partition_rows=10, priority="low")
    seen = [job.state]
    while not job.state.final:
        seen.append(job.wait_state().state)
        if job.state is State.RUNNING:
            before = job.state
            assert job.wait_state(before, timeout=0).state in {State.RUNNING, State.SUCCEEDED}
            job.cancel()
    assert seen[-1] in {State.CANCELLED, State.SUCCEEDED}
    assert job.wait_state(timeout=600).state.final
    assert job.wait_state(State.PENDING, timeout=600).state.final
    with pytest.raises(scorestream.InvalidArgumentError, match="timeout"):
        job.wait_state(timeout=601)


def test_c15_lists_come_in_pages(local: scorestream.Client, prefix: str) -> None:
    """A page holds what was asked for; its token leads on; the pages together are the list, once each."""
    made = [local.create_session(f"{prefix}{n}").name for n in range(7)]
    found: list[str] = []
    request = session_service_pb2.ListSessionsRequest(display_name_prefix=prefix, page_size=3)
    with raw_channel(local) as channel:
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        while True:
            page = stub.ListSessions(request)
            assert len(page.sessions) <= 3
            found += [session.display_name for session in page.sessions]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    assert found == made
    assert [session.state for session in local.sessions(prefix)] == [SessionState.ACTIVE] * 7
