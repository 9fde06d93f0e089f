"""Contexts, their sessions and queues: rows C1, C2, C4 and C15 of the list of features."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import scorestream
from scorestream import State
from scorestream.v1 import context_service_pb2, session_service_pb2
from served import served

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]

CONFIGURATION = """
[queues.batch]
weight = 300
running_jobs = 1
waiting_jobs = 1

[queues.quick]

[contexts.brief]
task_timeout = 0.2
queue_name = "quick"
"""
SLOW = " + ".join(["EXP(LN(ABS(a) + 1))"] * 40) + " AS b"


@pytest.fixture
def names(local: scorestream.Client, prefix: str) -> Iterator[Callable[[str], str]]:
    """Names of contexts of one test's own, which are gone after it."""
    yield lambda name: prefix + name
    for session in local.sessions(prefix):
        session.terminate(cancel=True)
    for context in local.contexts.list():
        if context.name.startswith(prefix):
            local.contexts.delete(context.name)


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[scorestream.Client]:
    """A server with queues, and with a context of its operator's."""
    folder = tmp_path_factory.mktemp("configured")
    (folder / "scorestream.toml").write_text(CONFIGURATION)
    flags = ["--device", "cpu", "--config", str(folder / "scorestream.toml"), "--max-task-timeout", "60"]
    with served(folder / "data", *flags) as (client, _):
        client.contexts.create("kept", queue_name="batch", task_timeout=30, labels={"team": "risk"})
    with served(folder / "data", *flags) as (client, _):
        client.register_model("slow", source=SLOW)
        with scorestream.connect(client.address, patience=0) as impatient:
            yield impatient


def test_c1_contexts_are_made_read_changed_and_deleted(
    local: scorestream.Client, ask: Ask, run: Run, names: Callable[[str], str]
) -> None:
    """By client and command line alike; who names the etag that it saw changes only what it saw."""
    name = names("nightly")
    made = local.contexts.create(name, description="batches", labels={"team": "risk"}, server_reuse_limit=5)
    assert (made.name, made.description, made.server_reuse_limit) == (name, "batches", 5)
    assert not made.built_in
    assert made.owner
    assert ask("context", "show", name)["etag"] == made.etag
    changed = ask("context", "update", name, "--etag", made.etag, "--task-timeout", "7200", "--label", "a=b")
    assert changed["etag"] != made.etag
    assert (changed["task_timeout"], changed["labels"]) == (7200, {"a": "b"})
    assert (changed["description"], changed["server_reuse_limit"]) == ("batches", 5)
    with pytest.raises(scorestream.FailedPreconditionError, match="was changed at") as caught:
        local.contexts.update(name, etag=made.etag, description="lost")
    assert caught.value.reason == "STALE_ETAG"
    reset = ask("context", "update", name, "--reset", "task-timeout", "--reset", "description")
    assert (reset["task_timeout"], reset["description"]) == (None, "")
    assert local.contexts.get(name).etag == reset["etag"]
    assert {name, "default"} <= {context["name"] for context in ask("context", "list")}
    default = local.contexts.get("default")
    assert default.built_in
    with pytest.raises(scorestream.FailedPreconditionError, match="comes from the server itself"):
        local.contexts.delete("default")
    server = ("--server", local.address)
    assert "STALE" not in run("context", "delete", name, "--etag", made.etag, *server, check=2).stdout
    run("context", "delete", name, *server)
    assert f"no context '{name}'" in run("context", "show", name, *server, check=2).stderr
    other = ask("context", "create", names("other"), "--reuse-server-processes", "--option", "priority=high")
    assert (other["reuse_server_processes"], other["options"]) == (True, {"priority": "high"})


def test_c2_the_inactivity_timeout_is_the_contexts_where_the_session_has_none(
    local: scorestream.Client, ask: Ask, names: Callable[[str], str]
) -> None:
    """Negative or unset is 15 minutes, 0 is never; the session's own goes before the context's."""
    for given, kept in ((None, 900), (-5, 900), (0, 0), (7.5, 7.5)):
        context = local.contexts.create(names(f"c{kept}_{given is None}"), session_inactive_timeout=given)
        assert context.session_inactive_timeout == kept
        session = local.create_session(names("session"), context=context.name)
        assert session.info.inactive_timeout == kept
        assert session.context == context.name
        own = local.create_session(names("own"), context=context.name, inactive_timeout=42)
        assert own.info.inactive_timeout == 42
        listed = ask("session", "create", names("cli"), "--context", context.name)
        assert (listed["inactive_timeout"], listed["context"]) == (kept, context.name)
    plain = local.create_session(names("plain"))
    assert (plain.context, plain.info.inactive_timeout) == ("default", 900)
    contexts = {
        row["context"] for row in ask("session", "list", "--prefix", plain.name[: plain.name.rfind("_")])
    }
    assert {"default", names("c0_False")} <= contexts


def test_c4_a_contexts_attributes_are_kept_by_their_rules(
    configured: scorestream.Client, tmp_path: Path
) -> None:
    """Over a restart too; a prefix that breaks its rule is mended, the task timeout has the server's maximum."""
    kept = configured.contexts.get("kept")
    assert (kept.queue_name, kept.task_timeout, kept.labels) == ("batch", 30, {"team": "risk"})
    brief = configured.contexts.get("brief")
    assert (brief.built_in, brief.task_timeout, brief.queue_name) == (True, 0.2, "quick")
    made = configured.contexts.create(
        "made", job_name_prefix="Nightly Batch", unsafe_job_characters=";%", allow_xcmd="false", device="cpu"
    )
    assert (made.job_name_prefix, made.unsafe_job_characters, made.allow_xcmd) == (
        "nightly-batch-",
        ";%",
        "false",
    )
    with pytest.raises(scorestream.ScorestreamError) as caught:
        configured.contexts.create(
            "bad", task_timeout=61, allow_xcmd="true", queue_name="bach", home_directory=str(tmp_path)
        )
    assert {fault.field for fault in caught.value.faults} == {
        f"context.{name}" for name in ("task_timeout", "allow_xcmd", "queue_name", "home_directory")
    }
    with pytest.raises(
        scorestream.FailedPreconditionError, match=r"comes from the configuration file .*\.toml"
    ):
        configured.contexts.update("brief", task_timeout=50)


def test_c4_homes_are_made_in_the_folder_that_the_context_names(
    local: scorestream.Client, prefix: str, tmp_path: Path
) -> None:
    """A session's home is a folder of its own there; it ends with the session, and nothing beside it does."""
    homes = tmp_path / "homes"
    homes.mkdir()
    (homes / "other.txt").write_text("stays")
    name = prefix.lower().strip("_")
    local.contexts.create(name, home_directory=str(homes))
    session = local.create_session(f"{prefix}home", context=name)
    source = tmp_path / "letter.txt"
    source.write_text("dear customer")
    session.files.upload(source, "first.txt")
    assert (homes / session.id / "first.txt").read_text() == "dear customer"
    session.terminate()
    assert [path.name for path in homes.iterdir()] == ["other.txt"]
    local.contexts.delete(name)


def test_c14_a_contexts_options_count_in_its_sessions(
    local: scorestream.Client, prefix: str, ask: Ask
) -> None:
    """They are checked with the context, shown with their origin, and give way to the session's and the job's own."""
    name = prefix.lower().strip("_")
    with pytest.raises(scorestream.InvalidArgumentError, match="no option 'speed'"):
        local.contexts.create(name, options={"speed": "fast"})
    local.contexts.create(name, options={"partition_rows": "2", "priority": "low"})
    with local.create_session(f"{prefix}options", context=name) as session:
        told = {
            one["name"]: (one["value"], one["origin"])
            for one in ask("option", "list", "--session", session.id)
        }
        assert told["partition_rows"] == (2, "context")
        assert told["timeout"][1] == "server"
        session.options.set("priority", "high")
        local.register_model("option_model", source="a AS b")
        table = session.load_table(pa.table({"a": [1.0, 2.0, 3.0]}), name="three")
        job = session.score("option_model", table).wait()
        assert (job.info.partitions_total, job.info.priority) == (2, "HIGH")
        assert session.score("option_model", table, partition_rows=3).wait().info.partitions_total == 1
    local.contexts.delete(name)


def test_c4_a_job_runs_no_longer_than_its_context_lets_it(configured: scorestream.Client) -> None:
    """Whatever it allows itself beyond that; the error says whose limit it was."""
    rows = pa.table({"a": [float(number) for number in range(200_000)]})
    with configured.create_session("brief", context="brief") as session:
        jobs = [session.score("slow", rows, partition_rows=500, timeout=seconds) for seconds in (0, 50, 0.1)]
        for job in jobs:
            with pytest.raises(scorestream.JobTimedOutError):
                job.wait(timeout=60)
    failures = [job.refresh().info.failure for job in jobs]
    told = [failure.message for failure in failures if failure is not None]
    by_context = (
        "The job's time was up: it ran for 0.2 seconds, as long as context 'brief' lets the jobs of its sessions run "
        "(task_timeout)."
    )
    own = "The job's time was up: it ran for 0.1 seconds, as long as its timeout allows."
    assert told == [by_context, by_context, own]
    assert [job.info.task_timeout for job in jobs] == [0.2] * 3


def test_c4_jobs_wait_in_the_queue_that_the_context_names(
    configured: scorestream.Client, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wins over the session's; a full one says so, and how many run and wait in each is seen."""
    monkeypatch.delenv("SCORESTREAM_TOKEN")  # it is the shared server's; this one asks nobody
    with configured.create_session(context="kept", queue="quick") as session:
        assert session.info.queue == "batch"
        rows = session.load_table(pa.table({"a": [float(number) for number in range(200_000)]}), name="rows")
        first = session.score("slow", rows, partition_rows=500)
        assert any(event.state is State.RUNNING for event in first.watch())
        second = session.score("slow", rows, partition_rows=100_000)
        row = next(row for row in session.action_status() if row.job_id == second.id)
        assert row.message == "waiting for queue 'batch': 1 of its jobs run, as many as may; 1 wait"
        with pytest.raises(scorestream.ResourceExhaustedError, match="1 job wait, as many as may") as caught:
            session.score("slow", rows)
        assert caught.value.reason == "QUEUE_FULL"
        assert {
            queue.name: (queue.weight, queue.running_jobs, queue.waiting_jobs)
            for queue in configured.contexts.queues()
        } == {"batch": (300, 1, 1), "default": (100, 0, 0), "quick": (100, 0, 0)}
        # By then they may be done.
        listed = json.loads(run("queue", "list", "-o", "json", "--server", configured.address).stdout)
        assert [(row["name"], row["weight"]) for row in listed] == [
            ("batch", 300),
            ("default", 100),
            ("quick", 100),
        ]
        assert {"running_jobs", "waiting_jobs"} <= listed[0].keys()
        with configured.create_session(queue="quick") as other:
            other.score("slow", rows.head(10)).wait(timeout=60)
        first.cancel()
        second.wait(timeout=60)
        assert second.info.queue == "batch"
    assert [(row.running_jobs, row.waiting_jobs) for row in configured.contexts.queues()] == [(0, 0)] * 3


def test_c15_pages_hold_everything_once(local: scorestream.Client, names: Callable[[str], str]) -> None:
    """Pages of each size, put together, are the whole listing in its order; the last has no token."""
    for number in range(5):
        local.contexts.create(names(f"page{number}"))
        local.create_session(names(f"page{number}"))
    listings = (
        (local._connection.contexts.ListContexts, context_service_pb2.ListContextsRequest, "contexts"),
        (local._connection.sessions.ListSessions, session_service_pb2.ListSessionsRequest, "sessions"),
    )
    for method, request_type, field in listings:

        def pages(size: int, method: Any = method, kind: Any = request_type, field: str = field) -> list[Any]:
            found, token = [], ""
            while True:
                answer = local._connection.call(method, kind(page_size=size, page_token=token))
                found.append([item.name for item in getattr(answer, field)])
                token = answer.next_page_token
                if not token:
                    return found

        whole = pages(1000)[0]
        assert len(whole) >= 5
        for size in (1, 2, 5, len(whole)):
            cut = pages(size)
            assert [name for page in cut for name in page] == whole
            assert all(len(page) == size for page in cut[:-1])
