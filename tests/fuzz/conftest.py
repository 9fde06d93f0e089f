"""A server to be ill-treated, on a ground of its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import scorestream
from fuzz.grounds import Ground
from principals import token_command
from served import started


@dataclass(frozen=True, slots=True)
class Victim:
    """A running server, a well-behaved client of it, and the folders around it."""

    client: scorestream.Client
    process: psutil.Process
    ground: Ground


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    """Return a server with a data root; it must be there still when the test is over."""
    ground = Ground.make(tmp_path)
    # Of an admin, who may call everything; without a token, the first one that is made would lock the others out.
    secret = token_command(tmp_path / "data", "create", "root", "--role", "admin")["secret"]
    with (
        started(tmp_path / "data", "--data-root", str(ground.root), "--workers", "2") as (address, process),
        scorestream.connect(address, token=secret) as client,
    ):
        yield Victim(client, process, ground)
        assert process.is_running() and process.status() != psutil.STATUS_ZOMBIE
