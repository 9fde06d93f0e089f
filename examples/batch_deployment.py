"""A batch job of a deployed model, triggered by a signal: runtime, deployment, signal, process, job, output.

    python examples/batch_deployment.py [--server HOST:PORT] [--output DIRECTORY]

Without a server it starts a private one. With one, its data roots have to hold this directory and the output's. The
comments have the same steps on the command line.
"""

import argparse
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

import scorestream

HERE = Path(__file__).resolve().parent
SIGNAL = HERE / "signal.json"
TAG, STAGE = "credit-default", "PROD"


def run(client: scorestream.Client, output: Path) -> Path:
    """Deploy the credit model and have a signal score the customers; return where the scores are."""
    # scorestream model register examples/credit_model.ubj --name credit
    model = client.register_model("credit", path=HERE / "credit_model.ubj")
    # scorestream context tag add default --service credit-default --stage PROD
    client.contexts.tag("default", service=[TAG], stage=[STAGE])
    # scorestream deployment create credit --service credit-default --stage PROD --replace --input ... --out-path ...
    deployment = client.deployments.create(
        model,
        service_tag=TAG,
        stage=STAGE,
        source=HERE / "uci_credit_card.csv",
        out_path=output / "scores_{date}_{process}.parquet",
        replace=True,
    )
    print(f"deployment {deployment.id}: {deployment.state} to {deployment.info.context}")
    # scorestream mlc trigger --file examples/signal.json
    process = client.processes.trigger(SIGNAL)
    print(f"processInstanceId {process.id}")
    # scorestream mlc show PROCESS; where it has no job: scorestream incident ls --process PROCESS, incident retry ID
    job = process.job(timeout=60)
    print(f"job {job.id}: {job.info.modelop_state}")
    process.wait(timeout=60)
    for job in process.jobs():
        print(f"job {job.id}: {job.info.modelop_state}, {job.rows_done:,} rows in {', '.join(job.outputs)}")
    # scorestream trace PROCESS
    # Every night: scorestream schedule create nightly --cron "0 2 * * *" --time-zone Europe/Berlin --signal examples/signal.json
    return Path(process.jobs()[0].outputs[0])


def main() -> None:
    """Run it on the server that is named, or on a private one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="", help="host:port; empty: a private one")
    parser.add_argument("--output", type=Path, help="directory for the scores; else a new one")
    given = parser.parse_args()
    output = (given.output or Path(tempfile.mkdtemp(prefix="scores-"))).resolve()
    with scorestream.connect(given.server) if given.server else scorestream.local(device="cpu") as client:
        found = run(client, output)
    print(pq.read_table(found).slice(0, 3).to_pylist())


if __name__ == "__main__":
    main()
