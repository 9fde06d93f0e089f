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


def test_a_terminal_gets_a_bar(
    code: Path, local: scorestream.Client, customers_file: Path, tmp_path: Path
) -> None:
    """On a terminal the progress moves in place, with rows, rate and time; standard output stays clean."""
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "score", str(code), str(customers_file), "-o", "out.parquet"]
    command += ["--server", local.address]
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


def test_the_committed_model_scores_the_committed_customers(
    run: Run, local: scorestream.Client, tmp_path: Path
) -> None:
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
        "--server",
        local.address,
    )
    result = pq.read_table(tmp_path / "out.parquet")
    booster = xgboost.Booster(model_file=EXAMPLES / "credit_model.ubj")
    table = pa_csv.read_csv(EXAMPLES / "uci_credit_card.csv")
    values = np.column_stack([table[name].to_numpy() for name in booster.feature_names]).astype(np.float32)
    predicted = booster.predict(xgboost.DMatrix(values, feature_names=booster.feature_names))
    np.testing.assert_allclose(result["score"], predicted, rtol=1e-5)
    assert result["ID"].to_pylist() == list(range(1, 30_001))


def test_json_is_one_object_a_line(
    run: Run, local: scorestream.Client, code: Path, customers_file: Path, tmp_path: Path
) -> None:
    """Events first, the result last, nothing else on standard output."""
    server = ("--server", local.address)
    lines = json_lines(run("score", code, customers_file, "-o", "out.parquet", "--json", *server).stdout)
    assert lines[-1]["type"] == "RESULT"
    assert lines[-1]["state"] == "SUCCEEDED"
    assert lines[-1]["rows_scored"] == lines[-1]["rows_total"] == 60_000
    assert lines[-1]["output"] == "out.parquet"
    numbers = [line["number"] for line in lines[:-1]]
    assert numbers == sorted(set(numbers))
    assert lines[-2]["percent"] == 100
    assert (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("name", ["out.csv", "out.arrow", "out"])
def test_the_ending_says_the_format(
    run: Run, code: Path, customers: pa.Table, local: scorestream.Client, tmp_path: Path, name: str
) -> None:
    """Several CSV files in; CSV, Arrow or a Parquet directory out, replaced only if asked to."""
    for part in range(2):
        pa_csv.write_csv(customers.slice(part * 30_000, 30_000), tmp_path / f"part{part}.csv")
    server = ("--server", local.address)
    run("score", code, "part0.csv", "part1.csv", "-o", name, *server)
    np.testing.assert_allclose(read(tmp_path / name)["p_var1"], expected_scores(customers), rtol=1e-9)
    again = run("score", code, "part0.csv", "-o", name, *server, check=2)
    assert "replace" in again.stderr
    run("score", code, "part0.csv", "-o", name, "--replace", *server)
    assert read(tmp_path / name).num_rows == 30_000
    assert not list(tmp_path.glob(".*"))
    if name == "out":
        # What the client wrote is known to a private server, which writes the same kind of directory.
        assert {"_SUCCESS", "_manifest.json"} <= {path.name for path in (tmp_path / name).iterdir()}
        run("score", code, "part0.csv", "part1.csv", "-o", name, "--replace")
        assert {"_SUCCESS", "_manifest.json"} <= {path.name for path in (tmp_path / name).iterdir()}
        assert read(tmp_path / name).num_rows == 60_000


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
    run: Run, local: scorestream.Client, code: Path, customers: pa.Table, customers_file: Path, tmp_path: Path
) -> None:
    """What a different command line would have avoided is exit code 2, and leaves no file."""
    (tmp_path / "pickle.json").write_bytes(b"\x80\x04\x95N.")
    (tmp_path / "broken.csv").write_text("var1,var2,var3\n1,2,3\n4,5\n")
    (tmp_path / "directory").mkdir()
    pq.write_table(customers.drop_columns(["var1", "var2"]), tmp_path / "narrow.parquet")
    there = ("-o", "out.csv", "--server", local.address)
    sessions = len(local.sessions())
    for arguments, words in {
        ("score",): "Missing",
        ("score", "no_such_model", customers_file, "-o", "out.csv"): "needs --server",
        ("score", "no_such_model", customers_file, *there): "There is no model 'no_such_model'",
        ("score", "directory", customers_file, "-o", "out.csv"): "directory is a directory",
        ("score", code, "nothing.parquet", "-o", "out.csv"): "There is no file nothing.parquet",
        ("score", code, customers_file, "-o", "out.xlsx"): "says no format",
        ("score", code, customers_file, "-o", "nowhere/out.csv"): "no directory",
        ("score", code, customers_file, "-o", "directory", "--replace"): "was not written by scorestream",
        ("score", code, "directory", *there): "holds no CSV, Parquet or Arrow file",
        ("score", code, "broken.csv", *there): "broken.csv cannot be read",
        ("score", code, customers_file, *there, "--where", "no_column = 1"): "no_column",
        ("score", code, customers_file, *there, "--keep", "no_column"): "no_column",
        ("score", code, "narrow.parquet", *there): "var2",
        ("score", "pickle.json", customers_file, *there): "pickle",
        ("score", code, customers_file, *there, "--device", "cpu"): "--device",
        ("score", code, customers_file, "-o", "out.csv", "--server", "8500"): "write host:port",
        ("score", code, customers_file, "-o", "out.csv", "--device", "abacus"): "--device abacus",
    }.items():
        done = run(*arguments, check=2)
        assert words.lower() in done.stderr.lower(), done.stderr
        assert "usage: scorestream serve" not in done.stderr
        assert not list(tmp_path.glob("out*"))
    assert len(local.sessions()) == sessions


def test_nobody_there_ends_with_1(run: Run, code: Path, customers_file: Path) -> None:
    """A server that does not answer is not wrong usage."""
    done = run("score", code, customers_file, "-o", "out.csv", "--server", "127.0.0.1:1", check=1)
    assert "No scorestream server answers at 127.0.0.1:1 (connection refused)" in done.stderr
    assert "scorestream serve" in done.stderr


@pytest.mark.parametrize("where", ["here", "there"])
def test_ctrl_c_cancels_and_says_what_was_kept(
    customers: pa.Table, local: scorestream.Client, tmp_path: Path, where: str
) -> None:
    """The first interrupt ends the job in good order: exit code 130, no output, no half-made file."""
    pq.write_table(pa.concat_tables([customers] * 100), tmp_path / "many.parquet")
    # So much to compute that no machine is done before it is told to stop.
    code = tmp_path / "long_scorer.sql"
    code.write_text(" + ".join(f"EXP(var1 * 0.{term:03})" for term in range(300)) + " AS score")
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long_scorer.sql", "many.parquet"]


def test_ctrl_c_leaves_a_job_that_is_watched_alone(
    customers: pa.Table, local: scorestream.Client, tmp_path: Path
) -> None:
    """The watching ends with 130, and says how to look again."""
    session = local.create_session()
    source = " + ".join(f"EXP(var1 * 0.{term:03})" for term in range(300)) + " AS score"
    model = local.register_model("long_watched_scorer", source=source)
    job = session.score(model, session.load_table(pa.concat_tables([customers] * 100)))
    command = [*PROGRAM, "job", "watch", job.id, "--server", local.address, "-o", "json"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        json.loads(process.stdout.readline())
        os.kill(process.pid, signal.SIGINT)
        words = process.stderr.read()
    assert process.returncode == 130, words
    assert f"scorestream job watch {job.id}" in words
    assert not job.refresh().state.final
    session.terminate(cancel=True)


def test_the_nouns_and_verbs_run_the_whole_scenario(
    run: Run,
    ask: Callable[..., Any],
    local: scorestream.Client,
    customers: pa.Table,
    customers_file: Path,
    tmp_path: Path,
) -> None:
    """Sessions, tables, models and jobs from the command line alone, as tables and as JSON."""
    name = f"Cli_{uuid.uuid4().hex[:8]}"

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


def test_the_nouns_say_what_is_wrong_and_what_helps(
    run: Run, ask: Callable[..., Any], local: scorestream.Client, customers_file: Path, tmp_path: Path
) -> None:
    """Names that are wrong, ambiguous or not there end with 2 and a sentence; nothing there is no error."""
    name = f"Wrong_{uuid.uuid4().hex[:8]}"
    twins = [ask("session", "create", f"{name}_twin")["id"] for _ in range(2)]
    ask("session", "create", name)
    (tmp_path / "mine.csv").write_text("a\n1\n")
    for arguments, words in {
        ("session", "status", f"{name}_twin"): twins[0],
        ("session", "terminate", "nobody"): "no session 'nobody'",
        ("job", "status", "nothing"): "no job 'nothing'",
        ("job", "submit", name, "no_model", "t"): "no_model",
        ("job", "submit", name, "no_model", "t", "--priority", "urgent"): "use low, normal or high",
        ("model", "add", tmp_path): "is a directory",
        ("model", "add", "nothing.ubj"): "There is no file nothing.ubj",
        ("model", "show", "a b"): "names no model",
        ("table", "load", name, "nothing.csv"): "nothing.csv",
        ("table", "load", name, "nothing.csv", "--upload"): "There is no file nothing.csv",
        ("table", "head", name, "nothing"): "no table 'nothing'",
    }.items():
        done = run(*arguments, "--server", local.address, check=2)
        assert done.stderr.startswith("Error: ")
        assert words in done.stderr
        assert not done.stdout
    for arguments, words in {
        ("session", "list", "--prefix", f"{name}_none"): f"begins with {name}_none",
        ("session", "status", "--prefix", f"{name}_none"): f"begins with {name}_none",
        ("model", "list", "--prefix", f"{name}_none"): f"begins with {name}_none",
        ("job", "list", "--session", name): "scorestream job submit",
        ("table", "list", name): f"scorestream table load {name}",
    }.items():
        done = run(*arguments, "--server", local.address)
        assert words in done.stderr
        assert not done.stdout
    ask("table", "load", name, customers_file, "--name", "customers")
    ask("model", "add", "--source", SCORE_CODE, "--name", name)
    job = ask("job", "submit", name, name, "customers")["id"]
    run("job", "watch", job, "--server", local.address)
    assert "SUCCEEDED already" in run("job", "cancel", job, "--server", local.address).stderr
    for session in (*twins, name):
        ask("session", "terminate", session)
