"""Rows B4 to B8 of the list of features: signals, processes, job history, incidents, schedules."""

import json
import runpy
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream
from scorestream import IncidentState, Missed, ProcessState
from scorestream_server.domain.job import State

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
NAME = "com.modelop.mlc.definitions.Signals_DEPLOYED_BATCH_JOB"


def document(tag: str, stage: str = "PROD", **others: str) -> str:
    """Return a signal as the source system's documentation lays it out."""
    variables = {"TAG": tag, "MODEL_STAGE": stage} | others
    return json.dumps(
        {"name": NAME, "variables": {name: {"value": value} for name, value in variables.items()}}, indent=0
    )


@dataclass
class Stage:
    """A runtime with a tag that no other test has, an input, and a model to deploy."""

    client: scorestream.Client
    tag: str
    model: str
    source: Path
    output: Path

    def deploy(self) -> scorestream.Deployment:
        """Deploy the model, with places of its own for each process."""
        return self.client.deployments.create(
            self.model,
            service_tag=self.tag,
            stage="PROD",
            source=self.source,
            out_path=self.output / "{date}_{process}.parquet",
        )

    def trigger(self, **others: str) -> scorestream.Process:
        """Send a signal."""
        return self.client.processes.trigger(document(self.tag, **others))


@pytest.fixture
def stage(local: scorestream.Client, tmp_path: Path) -> Iterator[Stage]:
    tag = f"cc-{uuid.uuid4().hex[:8]}"
    local.register_model("trigger_model", source="amount * 2 AS twice")
    source, output = tmp_path / "transactions.parquet", tmp_path / "scores"
    output.mkdir()
    pq.write_table(pa.table({"amount": [1.0, 2.5, 4.0]}), source)
    local.contexts.tag("default", service=[tag], stage=["PROD"])
    yield Stage(local, tag, "trigger_model", source, output)
    for one in local.deployments.list("trigger_model"):
        one.retire()
    local.contexts.untag("default", service=[tag])


def scores(path: str | Path) -> list[float]:
    return pq.read_table(path)["twice"].to_pylist()  # type: ignore[no-any-return]


def test_b4_a_signal_starts_a_process(stage: Stage, ask: Ask, run: Run) -> None:
    """By the file as it stands, by the client as it likes; a repeated request starts nothing."""
    stage.deploy()
    Path("signal.json").write_text(document(stage.tag))
    server = ("--server", stage.client.address)
    printed = run("mlc", "trigger", "--file", "signal.json", *server).stdout
    process = stage.client.processes.get(printed.strip())
    assert (process.info.signal, process.info.variables) == (NAME, {"TAG": stage.tag, "MODEL_STAGE": "PROD"})
    told = ask("mlc", "trigger", "--file", "signal.json", "--request-id", f"nightly-{stage.tag}")
    again = ask("mlc", "trigger", "--file", "signal.json", "--request-id", f"nightly-{stage.tag}")
    assert told["processInstanceId"] == again["processInstanceId"] == told["id"] != process.id
    waited = ask("mlc", "trigger", "--file", "signal.json", "--wait")
    assert waited["state"] == "COMPLETED"
    once = stage.client.processes.get(told["id"]).wait(60)
    assert len(once.jobs()) == 1

    output = str(stage.output / "own.parquet")
    own = stage.trigger(OUTPUT=output).wait(60)
    assert own.jobs()[0].outputs == (output,)
    assert scores(output) == [2.0, 5.0, 8.0]


def test_b4_what_is_no_signal_is_refused(local: scorestream.Client, run: Run) -> None:
    """With the variable that is missing, and what was probably meant; nothing is started."""
    before = len(local.processes.list())
    server = ("--server", local.address)
    for text, told in (
        (document("a").replace("MODEL_STAGE", "MODEL_STAG"), "did you mean MODEL_STAGE?"),
        (document(""), "Variable TAG is empty"),
        (document("a").replace("BATCH_JOB", "BATCH_JOBS"), f"did you mean {NAME}?"),
        ("{", "no JSON document"),
        (" " * 70_000, "at most 65,536"),
    ):
        Path("signal.json").write_text(text)
        refused = run("mlc", "trigger", "--file", "signal.json", *server, check=1 if text[0] == " " else 2)
        assert told in refused.stderr
        assert refused.stdout == ""
    assert "There is no file" in run("mlc", "trigger", "--file", "none.json", *server, check=2).stderr
    with pytest.raises(scorestream.InvalidArgumentError) as caught:
        local.processes.trigger({"name": NAME, "variables": {}})
    assert [fault.field for fault in caught.value.faults] == [
        "signal.variables.TAG",
        "signal.variables.MODEL_STAGE",
    ]
    assert len(local.processes.list()) == before


def test_b5_from_the_process_to_its_job(stage: Stage, ask: Ask) -> None:
    """The job history by the process's id, the job by its id, and the way from the signal to the output in one tree."""
    deployment = stage.deploy()
    process = stage.trigger()
    job = process.job(60)
    assert job.info.process_id == process.id
    assert [one.id for one in process.wait(60).jobs()] == [job.id]
    told = ask("mlc", "show", process.id)
    assert [one["id"] for one in told["jobs"]] == [told["job_id"]] == [job.id]
    assert (told["state"], told["deployment_id"]) == ("COMPLETED", deployment.id)
    status = ask("job", "status", job.id)
    assert (status["process_id"], status["deployment"]) == (process.id, deployment.id)
    output = stage.output / f"{process.info.day}_{process.id}.parquet"
    assert status["outputs"] == [str(output)]
    assert scores(output) == [2.0, 5.0, 8.0]
    listed = ask("mlc", "ls", "--state", "completed", "--limit", "1")
    assert [(one["id"], one["job_id"]) for one in listed] == [(process.id, job.id)]

    nodes, kinds = ask("trace", process.id)["roots"], []
    while nodes:
        assert len(nodes) == 1
        kinds.append((nodes[0]["kind"], nodes[0]["id"]))
        nodes = nodes[0]["children"]
    assert kinds == [
        ("signal", NAME),
        ("process", process.id),
        ("deployment", deployment.id),
        ("runtime", "default"),
        ("session", job.session_id),
        ("job", job.id),
        ("output", str(output)),
    ]


def test_b6_states_of_jobs_in_modelops_words(stage: Stage, ask: Ask, run: Run) -> None:
    """Each state has one of their names, shown beside our own."""
    names = {"CREATED", "WAITING", "RUNNING", "COMPLETE", "ERROR", "CANCELLED"}
    assert {state: state.modelop_name for state in State if state.final} == {
        State.SUCCEEDED: "COMPLETE",
        State.SUCCEEDED_WITH_WARNINGS: "COMPLETE",
        State.FAILED: "ERROR",
        State.TIMED_OUT: "ERROR",
        State.CANCELLED: "CANCELLED",
    }
    assert {state.modelop_name for state in State} <= names
    stage.deploy()
    process = stage.trigger().wait(60)
    job = process.jobs()[0]
    assert (job.state, job.info.modelop_state) == (scorestream.State.SUCCEEDED, "COMPLETE")
    shown = ask("mlc", "show", process.id)
    assert shown["job_state"] == shown["jobs"][0]["modelop_state"] == "COMPLETE"
    assert "COMPLETE" in run("mlc", "show", process.id, "--server", stage.client.address).stdout


def test_b6_a_job_that_ends_in_error_ends_its_process(stage: Stage, ask: Ask, run: Run) -> None:
    """No incident: there was a job, and the process ends FAILED with what that says."""
    stage.deploy()
    slow = f"slow-{stage.tag}"
    stage.client.contexts.create(slow, server_launch_timeout=0.001)  # no worker of it is ever ready
    stage.client.contexts.tag(slow, service=[stage.tag], stage=["PROD"])
    stage.client.contexts.untag("default", service=[stage.tag])
    process = stage.trigger()
    with pytest.raises(scorestream.JobFailedError) as caught:
        process.wait(60)
    stage.client.contexts.untag(slow, service=[stage.tag])
    assert (process.state, process.incidents()) == (ProcessState.FAILED, [])
    assert process.info.failure is not None
    assert process.info.failure.message in caught.value.message
    (job,) = ask("mlc", "show", process.id)["jobs"]
    assert (job["id"], job["state"], job["modelop_state"]) == (process.info.job_id, "FAILED", "ERROR")
    server = ("--server", stage.client.address)
    assert "not ready" in run("mlc", "show", process.id, *server).stdout
    Path("signal.json").write_text(document(stage.tag))
    assert (
        "no runtime"
        in run("mlc", "trigger", "--file", "signal.json", "--wait", *server, check=2).stderr.lower()
    )


def test_b7_incidents_tell_why_a_job_never_ran(stage: Stage, ask: Ask) -> None:
    """No deployment of the tag, none at the stage, two of them, no runtime, no input, an output in the way."""

    def stopped(process: scorestream.Process) -> scorestream.IncidentInfo:
        with pytest.raises(scorestream.FailedPreconditionError) as caught:
            process.wait(60)
        assert process.state is ProcessState.RUNNING
        assert process.jobs() == []
        (found,) = process.incidents()
        assert (found.id, found.state) == (process.info.incident_id, IncidentState.OPEN)
        assert (caught.value.reason, caught.value.metadata["incident"]) == (found.reason, found.id)
        assert found.message in caught.value.message
        return found

    nowhere = stopped(stage.trigger())
    assert (nowhere.type, nowhere.reason) == ("MATCHING", "NO_DEPLOYMENT")
    assert repr(stage.tag) in nowhere.message
    first = stage.deploy()
    elsewhere = stopped(stage.client.processes.trigger(document(stage.tag, "UAT")))
    assert "at stage 'UAT', but at PROD" in elsewhere.message
    second = stage.deploy()
    several = stopped(stage.trigger())
    assert several.reason == "AMBIGUOUS_DEPLOYMENT"
    assert first.id in several.message
    assert second.id in several.message
    second.retire()
    missing = stopped(stage.trigger(INPUT=str(stage.source.with_name("missing.parquet"))))
    assert (missing.type, missing.code) == ("JOB", "NOT_FOUND")
    in_the_way = stopped(stage.trigger(OUTPUT=str(stage.source)))
    assert in_the_way.code == "ALREADY_EXISTS"
    stage.client.contexts.untag("default", service=[stage.tag])
    untagged = stopped(stage.trigger())
    assert untagged.reason == "NO_RUNTIME"

    told = ask("incident", "ls", "--process", several.process_id)
    assert [(one["id"], one["message"]) for one in told] == [(several.id, several.message)]
    every = {one["id"] for one in ask("incident", "ls")}
    assert every >= {nowhere.id, elsewhere.id, several.id, missing.id, in_the_way.id, untagged.id}
    node = ask("trace", nowhere.process_id)["roots"][0]["children"][0]
    assert (node["kind"], nowhere.message in node["detail"]) == ("process", True)


def test_b7_incidents_are_retried_and_resolved(stage: Stage, ask: Ask, run: Run) -> None:
    """A retry that works goes on with the same process and makes its one job; resolving ends it, with a note."""
    server = ("--server", stage.client.address)
    process, other = stage.trigger(), stage.trigger()
    with pytest.raises(scorestream.FailedPreconditionError):
        process.job(60)
    with pytest.raises(scorestream.FailedPreconditionError):
        other.job(60)
    incident = process.info.incident_id
    assert (
        json.loads(run("incident", "retry", incident, "-o", "json", *server, check=1).stdout)["attempts"] == 2
    )
    stage.deploy()
    told = ask("incident", "retry", incident)
    assert (told["state"], told["attempts"], told["resolved_by"]) == ("RESOLVED", 3, "local")
    assert process.wait(60).state is ProcessState.COMPLETED
    assert (len(process.jobs()), process.info.incident_id) == (1, "")
    assert "resolved by 'local' already" in run("incident", "retry", incident, *server, check=2).stderr

    assert "Missing option" in run("incident", "resolve", other.info.incident_id, *server, check=2).stderr
    told = ask("incident", "resolve", other.info.incident_id, "--note", "scored by hand")
    assert (told["state"], told["note"]) == ("RESOLVED", "scored by hand")
    with pytest.raises(scorestream.FailedPreconditionError, match="ended CANCELLED"):
        other.wait(60)
    assert other.info.failure is not None
    assert other.info.failure.reason == "NO_DEPLOYMENT"
    assert {one["id"] for one in ask("incident", "ls")}.isdisjoint({incident, told["id"]})
    assert ask("incident", "show", told["id"]) == told


def test_b8_the_whole_story_by_the_command_line(stage: Stage, ask: Ask, run: Run) -> None:
    """Deploy, tag, trigger by file, follow the process to its job; it never runs, so look at the incident, and retry."""
    server = ("--server", stage.client.address)
    stage.client.contexts.untag("default", service=[stage.tag])
    Path("signal.json").write_text(document(stage.tag))
    process = ask("mlc", "trigger", "--file", "signal.json")["processInstanceId"]
    with pytest.raises(scorestream.FailedPreconditionError):
        stage.client.processes.get(process).job(60)
    assert ask("mlc", "show", process)["job_state"] == "CREATED"
    (incident,) = ask("incident", "ls", "--process", process)
    assert "no model is deployed with service tag" in incident["message"].lower()
    run("context", "tag", "add", "default", "--service", stage.tag, "--stage", "PROD", *server)
    places = ("--input", stage.source, "--out-path", stage.output / "{process}.parquet")
    run("deployment", "create", stage.model, "--service", stage.tag, "--stage", "PROD", *places, *server)
    run("incident", "retry", incident["id"], *server)
    stage.client.processes.get(process).wait(60)
    shown = run("mlc", "show", process, *server).stdout
    assert "completed" in shown
    assert "COMPLETE" in shown
    assert "resolved" in shown
    job = ask("mlc", "show", process)["jobs"][0]
    assert ask("job", "status", job["id"])["state"] == "SUCCEEDED"
    assert scores(stage.output / f"{process}.parquet") == [2.0, 5.0, 8.0]


def test_b4_schedules_send_signals(stage: Stage, ask: Ask, run: Run) -> None:
    """Made, shown with what is due next, run by hand, paused, resumed, deleted."""
    server, name = ("--server", stage.client.address), f"nightly_{stage.tag}"
    stage.deploy()
    Path("signal.json").write_text(document(stage.tag))
    create = ("schedule", "create", name, "--cron", "0 2 * * *", "--signal", "signal.json")
    made = ask(*create, "--time-zone", "Europe/Berlin", "--missed", "skip")
    assert (made["missed"], made["signal"]) == ("SKIP", document(stage.tag))
    assert len(made["next"]) == 5
    shown = run("schedule", "show", name, *server).stdout
    assert shown.count(" 02:00 CE") == 5
    assert "already" in run(*create, *server, check=2).stderr
    process = stage.client.schedules.run(name).wait(60)
    assert (process.info.schedule, process.info.due) == (name, None)
    assert [one["id"] for one in ask("mlc", "ls", "--schedule", name)] == [process.id]
    printed = run("schedule", "run", name, *server).stdout.strip()
    assert stage.client.processes.get(printed).wait(60).jobs()[0].info.modelop_state == "COMPLETE"
    assert [one["last_process_id"] for one in ask("schedule", "ls") if one["name"] == name] == [printed]
    assert ask("schedule", "pause", name)["next"] == []
    assert "paused" in run("schedule", "ls", *server).stdout
    assert len(ask("schedule", "resume", name)["next"]) == 5
    run("schedule", "delete", name, *server)
    assert "There is no schedule" in run("schedule", "show", name, *server, check=2).stderr
    with pytest.raises(scorestream.InvalidArgumentError) as caught:
        stage.client.schedules.create(name, "61 * * * *", "{}", time_zone="Berlin", missed=Missed.ONCE)
    assert {fault.field for fault in caught.value.faults} >= {"time_zone", "signal.name"}


def test_b8_the_example_runs_as_it_stands(
    local: scorestream.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All 30,000 customers, by the signal file beside it."""
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "batch_deployment.py"))
    assert pq.read_metadata(example["run"](local, tmp_path)).num_rows == 30_000
    assert "COMPLETE, 30,000 rows" in capsys.readouterr().out
    for one in local.deployments.list("credit"):
        one.retire()
    local.contexts.untag("default", service=["credit-default"])
