"""A server that knows an admin and two users, and what the first of them made there."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

import scorestream
from served import started

SIGNAL = (
    '{"name": "com.modelop.mlc.definitions.Signals_DEPLOYED_BATCH_JOB", '
    '"variables": {"TAG": {"value": "of-alice"}, "MODEL_STAGE": {"value": "PROD"}}}'
)


def token_command(data_dir: Path, *words: str) -> Any:
    """Run the server's own command on its data directory, and return what it answers."""
    command = [sys.executable, "-m", "scorestream_server.token_command", "--data-dir", str(data_dir), *words]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@dataclass(frozen=True)
class People:
    """Clients of one server, and where it keeps its state."""

    data_dir: Path
    address: str
    admin: scorestream.Client
    alice: scorestream.Client
    bob: scorestream.Client


@dataclass(frozen=True)
class Belongings:
    """What Alice made; her job is done, and her process waits for its incident. Her schedule is ``of_alice``."""

    session: scorestream.Session
    table: scorestream.Table
    model: scorestream.Model
    job: scorestream.Job
    deployment: scorestream.Deployment
    process: scorestream.Process


@contextlib.contextmanager
def people(data_dir: Path, *flags: str) -> Iterator[People]:
    """Run a server whose first token was made before it started, and let its admin make the others."""
    first = token_command(data_dir, "create", "root", "--role", "admin")
    with started(data_dir, "--device", "cpu", *flags) as (address, _), ExitStack() as ending:

        def client(secret: str) -> scorestream.Client:
            return ending.enter_context(scorestream.connect(address, token=secret))

        admin = client(first["secret"])
        alice, bob = (client(admin.create_token(name).secret) for name in ("alice", "bob"))
        yield People(data_dir, address, admin, alice, bob)


def belongings(alice: scorestream.Client) -> Belongings:
    """Make them."""
    session = alice.create_session("of_alice")
    model = alice.register_model("model_of_alice", source="a * 2 AS twice")
    session.files.upload(b"hers alone", "hers.txt")
    session.filerefs.assign("hers", "home:hers.txt")
    table = session.load_table(pa.table({"a": [1.0, 2.0]}), name="customers")
    job = session.score(model, table)
    job.wait()
    deployment = alice.deployments.create(model, service_tag="hers", stage="PROD")
    alice.schedules.create("of_alice", "0 2 * * *", SIGNAL)
    process = alice.processes.trigger(SIGNAL)
    with contextlib.suppress(scorestream.FailedPreconditionError):
        process.wait(60)
    return Belongings(session, table, model, job, deployment, process)
