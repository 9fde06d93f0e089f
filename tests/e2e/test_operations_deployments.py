"""One test for each row of the list of features about runtimes and deployments: B1, B2, B3, B8 and B9.

Each drives the public client and the command line, against the same server.
"""

import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import scorestream
from nightly import expected_scores
from scorestream import DeploymentState, State

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def service(local: scorestream.Client) -> Iterator[str]:
    """A model service tag that no other test has; the default context has it, with a stage of its own."""
    tag = f"cc-{uuid.uuid4().hex[:8]}"
    local.contexts.tag("default", service=[tag], stage=[f"PROD-{tag}"])
    yield tag
    local.contexts.untag("default", service=[tag], stage=[f"PROD-{tag}"])


@pytest.fixture
def prod(service: str) -> str:
    """The stage at which the default context runs the service."""
    return f"PROD-{service}"


@pytest.fixture
def deployment(
    local: scorestream.Client, model: scorestream.Model, service: str, prod: str
) -> Iterator[scorestream.Deployment]:
    made = local.deployments.create(model, service_tag=service, stage=prod)
    yield made
    made.retire(cancel=True)


@pytest.fixture
def context(local: scorestream.Client) -> Iterator[str]:
    """A context of one test's own, without workers until somebody needs one."""
    name = f"runtime-{uuid.uuid4().hex[:8]}"
    local.contexts.create(name, device="cpu", reuse_server_processes=True)
    yield name
    for session in local.sessions():
        if session.context == name:
            session.terminate(cancel=True)
    local.contexts.delete(name)


def test_b1_runtimes_are_contexts_with_tags_that_come_and_go_while_they_run(
    local: scorestream.Client, ask: Ask, run: Run, context: str
) -> None:
    """Stages and service tags, set at creation or later, one at a time and from everywhere; sessions stay open."""
    session = local.create_session("stays")
    words = ("--service", "cc-fraud", "--stage", "DEV", "--stage", "SIT")
    told = ask("context", "tag", "add", context, *words)
    assert (told["service_tags"], told["stage_tags"]) == (["cc-fraud"], ["DEV", "SIT"])
    # Nobody reads, changes and writes: changes at the same time are all kept, as is an update of something else.
    stages = [f"S{number}" for number in range(6)]
    threads = [
        threading.Thread(target=local.contexts.tag, args=(context,), kwargs={"stage": [one]})
        for one in stages
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    local.contexts.update(context, description="ours")
    found = local.contexts.get(context)
    assert (found.service_tags, found.stage_tags) == (("cc-fraud",), ("DEV", *stages, "SIT"))
    ask("context", "tag", "remove", context, *(word for one in stages for word in ("--stage", one)))
    assert ask("context", "show", context)["stage_tags"] == ["DEV", "SIT"]
    assert ask("context", "update", context, "--stage-tag", "UAT")["stage_tags"] == ["UAT"]
    assert local.contexts.untag(context, stage=["never"]).stage_tags == ("UAT",)
    # What comes with the server is changed nowhere else, and yet has tags; sessions of it stay open.
    assert "LOCAL" in local.contexts.tag("default", stage=["LOCAL"]).stage_tags
    assert "LOCAL" in {tag for one in local.contexts.list() if one.built_in for tag in one.stage_tags}
    assert "LOCAL" not in local.contexts.untag("default", stage=["LOCAL"]).stage_tags
    assert session.refresh().state == "ACTIVE"
    session.terminate()
    refused = run("context", "tag", "add", context, "--stage", "no stage", "--server", local.address, check=2)
    assert "'no stage' is no tag; wanted: 1 to 63 letters" in refused.stderr
    assert (
        "Say which tags" in run("context", "tag", "add", context, "--server", local.address, check=2).stderr
    )


def test_b2_a_model_version_is_deployed_to_a_stage(
    local: scorestream.Client, ask: Ask, run: Run, service: str, prod: str
) -> None:
    """DEPLOYED where a runtime has both tags, else FAILED with the tag that was meant; retired, it lets go of its model."""
    name = f"credit_{service[3:]}"
    models = [local.register_model(name, source=f"var1 + {number} AS score") for number in (1, 2)]
    models[0].set_alias("champion")
    made = ask("deployment", "create", f"{name}@champion", "--service", service, "--stage", prod)
    models[0].drop_alias("champion")
    assert (made["state"], made["model"], made["context"]) == ("DEPLOYED", f"{name}@1", "default")
    failed = run(
        "deployment",
        "create",
        name,
        "--service",
        service,
        "--stage",
        prod.lower(),
        "--server",
        local.address,
        check=1,
    )
    assert (
        f"No runtime has stage {prod.lower()!r} (did you mean {prod!r}, which 'default' has?)"
        in failed.stdout
    )
    assert "scorestream context tag add" in failed.stdout
    assert [row["state"] for row in ask("deployment", "ls", name)] == ["FAILED", "DEPLOYED"]
    assert [row["id"] for row in ask("deployment", "ls", name, "--state", "deployed", "--tag", prod)] == [
        made["id"]
    ]
    assert ask("deployment", "ls", name, "--tag", "UAT") == []
    with pytest.raises(scorestream.InvalidArgumentError, match="there are deploying, deployed"):
        local.deployments.list(state="gone")
    with pytest.raises(scorestream.NotFoundError):
        local.deployments.create(f"{name}@7", service_tag=service, stage=prod)
    # Its model stays as long as it needs it.
    with pytest.raises(
        scorestream.FailedPreconditionError, match=f"retire that first: .* retire {made['id']}"
    ) as caught:
        models[0].remove()
    assert caught.value.reason == "MODEL_IN_USE"
    request = uuid.uuid4().hex
    newer, again = (
        local.deployments.create(models[1], service_tag=service, stage=prod, replace=True, request_id=request)
        for _ in range(2)
    )
    assert (newer.state, again.id) == (DeploymentState.DEPLOYED, newer.id)
    older = local.deployments.get(made["id"])
    assert (older.state, older.info.reason) == ("RETIRED", f"replaced by deployment {newer.id}")
    models[0].remove()
    assert ask("deployment", "retire", newer.id)["state"] == "RETIRED"
    assert ask("deployment", "show", newer.id)["running_jobs"] == 0
    models[1].remove()


def test_b3_a_runtime_is_matched_at_deployment_and_again_for_each_job(
    local: scorestream.Client,
    context: str,
    deployment: scorestream.Deployment,
    customers_file: Path,
    tmp_path: Path,
    service: str,
    prod: str,
) -> None:
    """All tags have to be on it, at both moments; a worker of that very context opens the model and scores."""
    assert (deployment.state, deployment.info.context) == ("DEPLOYED", "default")
    local.contexts.untag("default", service=[service])
    local.contexts.tag(context, service=[service])
    with pytest.raises(scorestream.FailedPreconditionError) as caught:
        deployment.run(customers_file, tmp_path / "none.parquet")
    assert (caught.value.reason, caught.value.metadata["missing"]) == (
        "NO_RUNTIME",
        f"service tag {service!r}",
    )
    assert f"{context!r} has not stage {prod!r}" in str(caught.value)
    local.contexts.tag(context, stage=[prod])
    job = deployment.run(customers_file, tmp_path / "one.parquet", keep=["customer_id"])
    job.wait(60)
    session = local.get_session(job.session_id)
    assert (session.context, session.running_jobs) == (context, 0)
    assert pq.read_table(tmp_path / "one.parquet").num_rows == job.rows_scored
    # The worker went back with the end of the job; its session can be asked for the rows until it times out.
    assert [worker.sessions for worker in local.contexts.workers(context).workers] == [0]
    assert sum(batch.num_rows for batch in job.results()) == job.rows_scored
    there = local.deployments.create(deployment.info.model, service_tag=service, stage=prod)
    assert (there.state, there.info.context) == ("DEPLOYED", context)
    there.retire()


def test_b8_a_deployed_batch_is_made_with_the_words_of_modelop(
    local: scorestream.Client,
    ask: Ask,
    run: Run,
    model: scorestream.Model,
    deployment: scorestream.Deployment,
    customers_file: Path,
    tmp_path: Path,
    prod: str,
) -> None:
    """`deployment ls` gives the id, `job create deployedbatch` the job's, and trace all that belongs together."""
    (row,) = ask("deployment", "ls", model.name, "--state", "deployed", "--tag", prod)
    out = tmp_path / "scores.parquet"
    words = ("job", "create", "deployedbatch", row["id"], customers_file, out, "--keep", "customer_id,var1")
    made = run(*words, "--request-id", "nightly-1", "--wait", "--server", local.address).stdout.strip()
    assert run(*words, "--request-id", "nightly-1", "--server", local.address).stdout.strip() == made
    job = ask("job", "status", made)
    assert (job["state"], job["deployment"]) == ("SUCCEEDED", row["id"])
    assert [one["id"] for one in ask("job", "list", "--deployment", row["id"])] == [made]
    assert [one.id for one in deployment.jobs()] == [made]
    again = run(*words, "--server", local.address, check=2)
    assert "replace" in again.stderr
    tree = ask("trace", made)["roots"]
    kinds, node = [], tree[0]
    while True:
        kinds.append((node["kind"], node["state"]))
        if not node["children"]:
            break
        (node,) = node["children"]
    assert kinds == [
        ("deployment", "DEPLOYED"),
        ("runtime", ""),
        ("session", "ACTIVE"),
        ("job", "SUCCEEDED"),
        ("output", ""),
    ]
    assert node["id"] == str(out)
    for wanted in (row["id"], job["session_id"], f"jobs/{made}"):
        assert ask("trace", wanted)["roots"] == tree
    text = run("trace", made, "--server", local.address).stdout
    assert f"deployment {model.id} {row['id']} DEPLOYED" in text
    assert (
        text.index("runtime default")
        < text.index(f"session {model.name}")
        < text.index(made)
        < text.index(str(out))
    )
    lost = run("trace", uuid.uuid4(), "--server", local.address, check=2)
    assert "There is no process, deployment, session or job" in lost.stderr
    retired = ask("deployment", "retire", row["id"], "--cancel")
    assert (retired["state"], retired["running_jobs"]) == ("RETIRED", 0)
    refused = run(*words, "--server", local.address, check=2)
    assert "takes no jobs: it is RETIRED" in refused.stderr


def test_b9_inputs_and_outputs_are_files_and_uris_and_the_log_says_what_happened(
    local: scorestream.Client,
    run: Run,
    model: scorestream.Model,
    customers: Any,
    customers_file: Path,
    tmp_path: Path,
    service: str,
    prod: str,
) -> None:
    """Of the deployment or of the job, as paths or `file:///`; the job's log stays readable when it is done."""
    out = tmp_path / "by_uri.parquet"
    made = local.deployments.create(
        model, service_tag=service, stage=prod, source=customers_file.as_uri(), out_path=out.as_uri()
    )
    assert (made.info.input, made.info.output) == (customers_file.as_uri(), out.as_uri())
    job = made.run(where="segment_id = 2", keep=["customer_id"]).wait(60)
    assert job.state is State.SUCCEEDED
    assert job.outputs == (str(out),)
    scored = pq.read_table(out)
    assert scored.num_rows == job.rows_scored == customers.num_rows // 3
    first = customers.slice(customers.num_rows // 3, 1)
    assert scored.slice(0, 1).column("customer_id") == first.column("customer_id")
    assert scored.column("p_var1").to_numpy() == pytest.approx(expected_scores(customers, 2))
    lines = [line.text for line in job.log()]
    assert lines[0] == f"Job {job.name} ({job.id})"
    assert any(f"score model {model.id} on table input" in line for line in lines)
    shown = run("job", "log", job.id, "--server", local.address).stdout
    assert lines[0] in shown
    assert local.get_session(job.session_id).labels == {"deployment": made.id}
    with pytest.raises(scorestream.NotFoundError, match=r"nothing\.parquet"):
        made.run(tmp_path / "nothing.parquet", tmp_path / "x.parquet")
    made.retire()
