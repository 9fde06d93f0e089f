"""`scorestream score` and the noun-verb commands, run as a user runs them."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq
import pytest

import scorestream
from nightly import SCORE_CODE, expected_scores

Run = Callable[..., subprocess.CompletedProcess[str]]
PROGRAM = [sys.executable, "-c", "from scorestream.cli import main; main()"]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The score code as a file."""
    path = tmp_path / "dummy_scorer.sql"
    path.write_text(SCORE_CODE)
    return path


def read(path: Path) -> pa.Table:
    """Return the rows of an output of any format."""
    if path.suffix == ".csv":
        return pa_csv.read_csv(path)
    return pa_dataset.dataset(path, format="arrow" if path.suffix == ".arrow" else "parquet").to_table()


def json_lines(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects of an output, one a line."""
    return [json.loads(line) for line in text.splitlines()]


def test_one_line_scores_a_file_with_no_server(
    code: Path, customers: pa.Table, customers_file: Path, tmp_path: Path
) -> None:
    """A model file, an input and an output are enough; the words say what came out."""
    options = ["-o", "out.parquet", "--where", "segment_id = 2", "--keep", "customer_id"]
    command = [*PROGRAM, "score", str(code), str(customers_file), *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    result = pq.read_table(tmp_path / "out.parquet")
    assert result.column_names == ["customer_id", "p_var1"]
    np.testing.assert_allclose(result["p_var1"], expected_scores(customers, 2), rtol=1e-12)
    assert "Scored 20,000 rows of 60,000" in done.stdout
    assert "out.parquet" in done.stdout
    assert "60,000 of 60,000 rows" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_terminal_gets_a_bar(code: Path, customers_file: Path, tmp_path: Path) -> None:
    """On a terminal the progress moves in place, with rows, rate and time; standard output stays clean."""
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "score", str(code), str(customers_file), "-o", "out.parquet"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "24"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        shown = b""
        # The terminal ends with an error once its last writer is gone.
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 0
    screen = shown.decode()
    assert "━" in screen
    assert "60,000 of 60,000 rows" in screen
    assert "100%" in screen
    assert said.startswith("Scored 60,000 rows in ")
    assert "\x1b" not in said


def test_the_committed_model_scores_the_committed_customers(run: Run, tmp_path: Path) -> None:
    """XGBoost's UBJ over the credit-card CSV gives XGBoost's own predictions."""
    xgboost = pytest.importorskip("xgboost")
    run(
        "score",
        EXAMPLES / "credit_model.ubj",
        EXAMPLES / "uci_credit_card.csv",
        "-o",
        "out.parquet",
        "--keep",
        "ID",
    )
    result = pq.read_table(tmp_path / "out.parquet")
    booster = xgboost.Booster(model_file=EXAMPLES / "credit_model.ubj")
    table = pa_csv.read_csv(EXAMPLES / "uci_credit_card.csv")
    values = np.column_stack([table[name].to_numpy() for name in booster.feature_names]).astype(np.float32)
    predicted = booster.predict(xgboost.DMatrix(values, feature_names=booster.feature_names))
    np.testing.assert_allclose(result["score"], predicted, rtol=1e-5)
    assert result["ID"].to_pylist() == list(range(1, 30_001))


def test_json_is_one_object_a_line(run: Run, code: Path, customers_file: Path, tmp_path: Path) -> None:
    """Events first, the result last, nothing else on standard output."""
    lines = json_lines(run("score", code, customers_file, "-o", "out.parquet", "--json").stdout)
    assert lines[-1]["type"] == "RESULT"
    assert lines[-1]["state"] == "SUCCEEDED"
    assert lines[-1]["rows_scored"] == lines[-1]["rows_total"] == 60_000
    assert lines[-1]["output"] == "out.parquet"
    numbers = [line["number"] for line in lines[:-1]]
    assert numbers == sorted(set(numbers))
    assert lines[-2]["percent"] == 100
    assert (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("place", ["out.csv here", "out.arrow there", "out here", "out there"])
def test_the_ending_says_the_format(
    run: Run,
    code: Path,
    customers: pa.Table,
    local: scorestream.Client,
    tmp_path: Path,
    place: str,
) -> None:
    """Several CSV files in; CSV, Arrow or a Parquet directory out; with and without a server."""
    name, where = place.split()
    for part in range(2):
        pa_csv.write_csv(customers.slice(part * 30_000, 30_000), tmp_path / f"part{part}.csv")
    server = ["--server", local.address] if where == "there" else []
    run("score", code, "part0.csv", "part1.csv", "-o", name, *server)
    np.testing.assert_allclose(read(tmp_path / name)["p_var1"], expected_scores(customers), rtol=1e-9)
    if name == "out":
        assert {"_SUCCESS", "_manifest.json"} <= {path.name for path in (tmp_path / name).iterdir()}
    again = run("score", code, "part0.csv", "-o", name, *server, check=2)
    assert "replace" in again.stderr
    run("score", code, "part0.csv", "-o", name, "--replace", *server)
    assert read(tmp_path / name).num_rows == 30_000
    assert not list(tmp_path.glob(".*"))


def test_a_server_scores_with_a_registered_model(
    run: Run, local: scorestream.Client, customers: pa.Table, customers_file: Path, tmp_path: Path
) -> None:
    """With --server rows go there and the result is written here; the session is gone afterwards."""
    model = local.register_model("registered_scorer", source=SCORE_CODE)
    before = {session.id for session in local.sessions()}
    run(
        "score",
        model.id,
        customers_file,
        "-o",
        "out.parquet",
        "--server",
        local.address,
        "--keep",
        "customer_id",
    )
    result = read(tmp_path / "out.parquet")
    np.testing.assert_allclose(result["p_var1"], expected_scores(customers), rtol=1e-12)
    assert {session.id for session in local.sessions()} == before


def test_wrong_usage_ends_with_2_and_a_sentence(
    run: Run, code: Path, customers: pa.Table, customers_file: Path, tmp_path: Path
) -> None:
    """What a different command line would have avoided is exit code 2, and leaves no file."""
    (tmp_path / "pickle.json").write_bytes(b"\x80\x04\x95N.")
    pq.write_table(customers.drop_columns(["var1", "var2"]), tmp_path / "narrow.parquet")
    for arguments, words in {
        ("score",): "Missing",
        ("score", "no_such_model", customers_file, "-o", "out.csv"): "needs --server",
        ("score", code, "nothing.parquet", "-o", "out.csv"): "There is no file nothing.parquet",
        ("score", code, customers_file, "-o", "out.xlsx"): "says no format",
        ("score", code, customers_file, "-o", "nowhere/out.csv"): "no directory",
        ("score", code, customers_file, "-o", "out.csv", "--where", "no_column = 1"): "no_column",
        ("score", code, "narrow.parquet", "-o", "out.csv"): "var2",
        ("score", "pickle.json", customers_file, "-o", "out.csv"): "pickle",
        ("score", code, customers_file, "-o", "out.csv", "--server", "x:1", "--device", "cpu"): "--device",
    }.items():
        done = run(*arguments, check=2)
        assert words.lower() in done.stderr.lower(), done.stderr
        assert not list(tmp_path.glob("out*"))


def test_nobody_there_ends_with_1(run: Run, code: Path, customers_file: Path) -> None:
    """A server that does not answer is not wrong usage."""
    done = run("score", code, customers_file, "-o", "out.csv", "--server", "127.0.0.1:1", check=1)
    assert "No scorestream server answers at 127.0.0.1:1" in done.stderr


@pytest.mark.parametrize("where", ["here", "there"])
def test_ctrl_c_cancels_and_says_what_was_kept(
    code: Path, customers: pa.Table, local: scorestream.Client, tmp_path: Path, where: str
) -> None:
    """The first interrupt ends the job in good order: exit code 130, no output, no half-made file."""
    pq.write_table(pa.concat_tables([customers] * 100), tmp_path / "many.parquet")
    command = [*PROGRAM, "score", str(code), "many.parquet", "-o", "out.parquet", "--json"]
    server = ["--server", local.address] if where == "there" else []
    with subprocess.Popen(
        [*command, *server], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        # The first event: the job is there.
        json.loads(process.stdout.readline())
        os.kill(process.pid, signal.SIGINT)
        process.stdout.read()
        words = process.stderr.read()
    assert process.returncode == 130, words
    assert "Cancelled after" in words
    assert "Nothing was written" in words
    assert ("job results" in words) == (where == "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dummy_scorer.sql", "many.parquet"]


def test_the_nouns_and_verbs_run_the_whole_scenario(
    run: Run, local: scorestream.Client, customers: pa.Table, customers_file: Path, tmp_path: Path
) -> None:
    """Sessions, tables, models and jobs from the command line alone, as tables and as JSON."""
    name = f"Cli_{uuid.uuid4().hex[:8]}"

    def ask(*arguments: object) -> Any:
        done = run(*arguments, "-o", "json", "--server", local.address)
        return json.loads(done.stdout)

    def look(*arguments: object) -> str:
        return run(*arguments, "--server", local.address).stdout

    session = ask("session", "create", name)
    assert session["name"] == name
    table = ask("table", "load", name, customers_file, "--name", "customers")
    assert table["rows"] == 60_000
    assert {"name": "var1", "type": "double"} in table["columns"]
    sent = ask("table", "load", name, customers_file, "--upload", "--name", "sent")
    assert sent["columns"] == table["columns"]
    model = ask("model", "add", "--source", SCORE_CODE, "--name", name)
    assert (model["name"], model["version"]) == (name, 1)

    job = ask(
        "job",
        "submit",
        name,
        name,
        "customers",
        "--where",
        "segment_id = 3",
        "--out",
        "scored",
        "--name",
        f"j{name}",
    )
    assert job["state"] in {"PENDING", "RUNNING", "SUCCEEDED"}
    assert (
        json_lines(run("job", "watch", job["id"], "-o", "json", "--server", local.address).stdout)[-1][
            "state"
        ]
        == "SUCCEEDED"
    )
    assert ask("job", "status", f"j{name}")["rows_scored"] == 20_000
    assert [row["id"] for row in ask("job", "list", "--session", name)] == [job["id"]]
    assert ask("job", "cancel", job["id"])["state"] == "SUCCEEDED"
    status = ask("session", "status", name)
    assert [(row["job"], row["percent"]) for row in status] == [(f"j{name}", 100.0)]
    assert ask("session", "status", "--prefix", name) == status

    csv = look("job", "results", job["id"], "--offset", "19998")
    assert csv.splitlines()[0] == '"p_var1"'
    assert len(csv.splitlines()) == 3
    assert ask("job", "results", job["id"], "--to", "scores.parquet") == {
        "rows": 20_000,
        "file": "scores.parquet",
    }
    np.testing.assert_allclose(
        read(tmp_path / "scores.parquet")["p_var1"], expected_scores(customers, 3), rtol=1e-12
    )
    assert len(ask("table", "head", name, "scored", "--rows", 5)) == 5
    assert sorted(row["name"] for row in ask("table", "list", name)) == ["customers", "scored", "sent"]

    for command in (
        ("session", "list", "--prefix", name),
        ("session", "status", "--prefix", name),
        ("session", "status", name, "--watch"),
        ("job", "list", "--session", name),
        ("job", "status", job["id"]),
        ("model", "list", "--prefix", name),
        ("model", "show", name),
    ):
        assert name in look(*command)
    assert "20,000" in look("table", "list", name)
    assert "p_var1" in look("table", "head", name, "scored")

    look("table", "drop", name, "sent")
    assert len(ask("table", "list", name)) == 2
    assert ask("session", "terminate", name)["state"] == "ENDED"
    look("model", "remove", name)
    assert ask("model", "list", "--prefix", name) == []
    assert ask("session", "list", "--prefix", name) == []
    gone = run("session", "terminate", name, "--server", local.address, check=2)
    assert f"There is no session '{name}'" in gone.stderr
