"""Deployments and their jobs outlive their server."""

from pathlib import Path

from served import served, workers_of


def test_what_was_deployed_stays_and_what_was_being_deployed_goes_on(
    tmp_path: Path, forest: Path, customers: Path
) -> None:
    """After a kill the tags are there, the deployment takes jobs, its job goes on, and a repeated request is that job."""
    data, out = tmp_path / "data", tmp_path / "scores.parquet"
    roots = ("--data-root", str(customers.parent), "--data-root", str(tmp_path))
    tags = {"service": ["cc-fraud"], "stage": ["PROD"]}
    with served(data, *roots) as (client, server):
        client.contexts.tag("default", **tags)
        client.contexts.create("slow", device="cpu", stage_tags=["SIT"], service_tags=["cc-fraud"])
        model = client.register_model("forest", path=forest)
        deployed = client.deployments.create(model, service_tag="cc-fraud", stage="PROD")
        assert deployed.state == "DEPLOYED"
        job = deployed.run(customers, out, keep=["id"], partition_rows=10_000, request_id="nightly-1")
        # Its worker has yet to start.
        begun = client.deployments.create(model, service_tag="cc-fraud", stage="SIT", wait=False)
        assert begun.state == "DEPLOYING"
        workers = workers_of(server)
        for worker in workers:
            worker.suspend()
        server.kill()
        server.wait(20)
        for worker in workers:
            worker.kill()  # it holds the data directory's lock
    assert not out.exists()
    with served(data, *roots) as (client, _):
        assert client.deployments.get(begun.id).wait(60).state == "DEPLOYED"
        stays = client.deployments.get(deployed.id)
        assert stays.state == "DEPLOYED"
        again = stays.run(customers, out, keep=["id"], partition_rows=10_000, request_id="nightly-1")
        assert (again.id, again.session_id) == (job.id, job.session_id)
        done = again.wait(60)
        assert (done.rows_done, done.outputs) == (done.rows_total, (str(out),))
        assert [one.id for one in stays.jobs()] == [job.id]
        assert len(client.sessions(include_ended=True)) == 1
        found = client.contexts.get("default")
        assert (found.service_tags, found.stage_tags) == (("cc-fraud",), ("PROD",))
