"""Everything here runs against a real private server, through the public client and the command line."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream
from nightly import SCORE_CODE
from scorestream.cli import main

ROWS = 60_000
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def local() -> Iterator[scorestream.Client]:
    """A client of a private server that all tests share; tests keep apart by their sessions."""
    with scorestream.local(device="cpu") as client:
        yield client


@pytest.fixture(autouse=True)
def identified(local: scorestream.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the command line into the private server, which takes calls of those alone who know its token."""
    monkeypatch.setenv("SCORESTREAM_TOKEN", local.token)


@pytest.fixture(scope="session")
def customers() -> pa.Table:
    """60,000 customers in three segments, a small kin of the nightly batch's table."""
    random = np.random.default_rng(456)
    return pa.table(
        {
            "segment_id": np.repeat(np.arange(1, 4), ROWS // 3),
            "customer_id": np.arange(ROWS),
            "var1": random.uniform(size=ROWS),
            "var2": random.normal(size=ROWS),
            "var3": random.binomial(10, 0.5, size=ROWS).astype(np.float64),
        }
    )


@pytest.fixture(scope="session")
def customers_file(customers: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The customers as a Parquet file of several row groups."""
    path = tmp_path_factory.mktemp("customers") / "customers.parquet"
    pq.write_table(customers, path, row_group_size=16_384)
    return path


@pytest.fixture
def prefix() -> str:
    """A prefix of session names that no other test has."""
    return f"ScoringJob_{uuid.uuid4().hex[:8]}_"


@pytest.fixture
def session(local: scorestream.Client, prefix: str) -> Iterator[scorestream.Session]:
    """A session of one test's own."""
    with local.create_session(f"{prefix}one") as session:
        yield session


@pytest.fixture
def model(local: scorestream.Client) -> scorestream.Model:
    """The nightly batch's score code, registered."""
    return local.register_model("dummy_scorer", source=SCORE_CODE)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in an empty directory, in this process to save the start of another."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object, check: int = 0) -> subprocess.CompletedProcess[str]:
        words = ["scorestream", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        done = subprocess.CompletedProcess(words, int(end.value.code or 0), *capfd.readouterr())
        assert done.returncode == check, done.stderr
        return done

    return command


@pytest.fixture
def ask(run: Command, local: scorestream.Client) -> Callable[..., Any]:
    """Runs a command against the shared server and returns what it prints as JSON."""

    def command(*arguments: object) -> Any:
        return json.loads(run(*arguments, "-o", "json", "--server", local.address).stdout)

    return command
