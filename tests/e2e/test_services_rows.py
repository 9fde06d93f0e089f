"""Errors and artifacts of rows (E5, and what E6 stands on), against a real server and its workers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream
from scorestream import State

Ask = Callable[..., Any]
Run = Callable[..., Any]

LETTERS = """
CASE WHEN income > 0 THEN debt / income ELSE ERROR('income must be positive, not ' || FORMAT(income, 0)) END AS ratio,
CASE WHEN debt / income > 1 THEN 'Dear ' || UPPER(name) || ', your ratio is ' || FORMAT(ratio, 1) || '.' END AS letter,
CASE WHEN debt / income > 1 THEN 'ratio;' || CAST(ratio AS VARCHAR) END AS data
"""
ARTIFACTS = {"letter.txt": "letter", "data.csv": "data"}
APPLICANTS = pa.table(
    {
        "name": ["ann", "bob", "cid", "dan", None, "eve"],
        "income": [100.0, -5.0, 10.0, 0.0, 10.0, None],
        "debt": [50.0, 1.0, 25.0, 1.0, 100.0, 1.0],
    }
)
ERRORS = [
    None,
    "income must be positive, not -5",
    None,
    "income must be positive, not 0",
    None,
    "the score code gives no reason",
]


@pytest.fixture
def letters(local: scorestream.Client) -> scorestream.Model:
    return local.register_model("letters", source=LETTERS, artifacts=ARTIFACTS)


@pytest.fixture
def job(session: scorestream.Session, letters: scorestream.Model) -> scorestream.Job:
    """A job in three partitions, done."""
    return session.score(letters, APPLICANTS, keep=["name"], partition_rows=2, name="of letters").wait()


def test_e5_rows_that_cannot_be_scored_say_why_and_the_others_are_scored(
    job: scorestream.Job, ask: Ask
) -> None:
    """The job ends with a warning; the model says beforehand that its results have the column."""
    rows = job.to_table().to_pylist()
    assert [row["row_error"] for row in rows] == ERRORS
    assert [row["ratio"] for row in rows] == [0.5, None, 2.5, None, 10.0, None]
    assert list(rows[0]) == ["name", "ratio", "row_error"] == job.schema.names
    assert job.state is State.SUCCEEDED_WITH_WARNINGS
    assert job.warnings == ("3 rows could not be scored; the column row_error says why of each.",)
    assert (job.info.on_row_error, job.info.row_errors) == (scorestream.OnRowError.KEEP, 3)
    told = ask("job", "status", job.id)
    assert (told["on_row_error"], told["row_errors"]) == ("KEEP", 3)
    assert "3 rows could not be scored" in "\n".join(line.text for line in job.log())


def test_e5_a_job_may_be_asked_to_fail_of_such_a_row(
    session: scorestream.Session, letters: scorestream.Model, local: scorestream.Client, run: Run
) -> None:
    """It names the first one by its place in the table, whatever `where` leaves out; rows before it stay."""
    table = session.load_table(APPLICANTS, name="applicants")
    job = session.score(letters, table, where="name <> 'bob'", partition_rows=2, on_row_error="fail")
    with pytest.raises(scorestream.JobFailedError, match="Row 3 of table 'applicants'") as caught:
        job.wait()
    assert caught.value.reason == "ROW_NOT_SCORED"
    assert "income must be positive, not 0" in caught.value.message
    assert job.schema.names == ["ratio"]
    server = ("--server", local.address)
    submit = ("job", "submit", session.name, letters.id, "applicants", "--wait", "--on-row-error")
    assert "Row 1 of table 'applicants'" in run(*submit, "fail", *server, check=1).stderr
    run(*submit, "keep", *server)
    assert "write keep or fail" in run(*submit, "perhaps", *server, check=2).stderr


def test_e5_results_of_models_without_such_rows_stay_as_they_are_unless_asked(
    session: scorestream.Session, local: scorestream.Client
) -> None:
    plain = local.register_model("plain_ratio", source="debt / income AS ratio")
    table = session.load_table(APPLICANTS, name="applicants")
    job = session.score(plain, table).wait()
    assert (job.state, job.schema.names) == (State.SUCCEEDED, ["ratio"])
    asked = session.score(plain, table, on_row_error="KEEP")
    assert asked.to_table().column("row_error").null_count == 6
    with pytest.raises(scorestream.InvalidArgumentError, match="has a column 'row_error' already"):
        session.score(
            plain, APPLICANTS.append_column("row_error", [[""] * 6]), keep=["row_error"], on_row_error="keep"
        )


def test_e5_an_unknown_category_is_its_rows_error(
    session: scorestream.Session, local: scorestream.Client, tmp_path: Path
) -> None:
    """XGBoost's own predict refuses such a table as a whole."""
    xgboost = pytest.importorskip("xgboost")
    pandas = pytest.importorskip("pandas")
    kinds = pandas.Series(["a", "b", "c"] * 40, dtype="category")
    frame = pandas.DataFrame({"kind": kinds, "size": np.arange(120.0)})
    trained = xgboost.train(
        {"max_depth": 3, "max_cat_to_onehot": 1},
        xgboost.DMatrix(frame, kinds.cat.codes * 10.0, enable_categorical=True),
        3,
    )
    trained.save_model(tmp_path / "kinds.ubj")
    model = local.register_model("kinds", path=tmp_path / "kinds.ubj")
    rows = pa.table({"kind": ["a", "z", None, "c"], "size": [1.0, 2.0, 3.0, 4.0]})
    result = session.score(model, rows).to_table()
    assert result.column("row_error").to_pylist() == [
        None,
        "kind: 'z' is no category that the model was trained on",
        None,
        None,
    ]
    assert result.column("score").is_null().to_pylist() == [False, True, False, False]
    with pytest.raises(scorestream.JobFailedError, match="Row 1 of table"):
        session.score(model, rows, on_row_error="fail").wait()


def test_e5_artifacts_of_a_row_are_listed_and_read(
    job: scorestream.Job, ask: Ask, run: Run, local: scorestream.Client
) -> None:
    """Those that are NULL are not there; a row with an error has none."""
    assert [dict(job.artifacts(index)) for index in range(6)] == [
        {},
        {},
        {"data.csv": 9, "letter.txt": 28},
        {},
        {"data.csv": 8},
        {},
    ]
    assert job.artifact(2, "letter.txt") == b"Dear CID, your ratio is 2.5."
    assert list(job.all_artifacts(0, 100, name="data.csv")) == [
        (2, "data.csv", b"ratio;2.5"),
        (4, "data.csv", b"ratio;10"),
    ]
    assert [found[:2] for found in job.all_artifacts(2, 2)] == [(2, "data.csv"), (2, "letter.txt")]
    assert ask("job", "artifacts", job.id, 2)[0] == {"name": "data.csv", "size_bytes": 9}
    printed = run("job", "artifacts", job.id, 2, "--name", "data.csv", "--server", local.address)
    assert printed.stdout == "ratio;2.5"


def test_e5_artifacts_are_downloaded_where_nothing_is_lost(
    job: scorestream.Job, tmp_path: Path, ask: Ask
) -> None:
    """All of a row or one; into a directory that is there, over nothing that is there unless asked."""
    paths = job.download_artifacts(2, destination=tmp_path)
    assert paths == [tmp_path / "data.csv", tmp_path / "letter.txt"]
    assert paths[0].read_bytes() == b"ratio;2.5"
    paths[0].write_text("mine")
    paths[1].unlink()
    with pytest.raises(scorestream.AlreadyExistsError, match="is there already"):
        job.download_artifacts(2, destination=tmp_path)
    assert paths[0].read_text() == "mine"
    assert not paths[1].exists()
    assert ask("job", "artifacts", job.id, 2, "--to", tmp_path, "--replace") == [str(path) for path in paths]
    assert paths[0].read_bytes() == b"ratio;2.5"
    with pytest.raises(NotADirectoryError, match="make it first"):
        job.download_artifacts(2, destination=tmp_path / "nowhere")
    with pytest.raises(scorestream.InvalidArgumentError, match="no name of an artifact"):
        job.download_artifacts(2, "../data.csv", tmp_path)
    assert job.download_artifacts(0, destination=tmp_path) == []


def test_e5_what_is_not_there_is_named(job: scorestream.Job) -> None:
    for index in (6, -1, 2**40):
        with pytest.raises(IndexError, match="has 6 rows, counted from 0; there is no row"):
            job.artifacts(index)
    with pytest.raises(scorestream.NotFoundError, match=r"did you mean 'letter\.txt'"):
        job.artifact(2, "leter.txt")
    with pytest.raises(scorestream.NotFoundError, match="it has none"):
        job.artifact(0, "letter.txt")
    with pytest.raises(scorestream.OutOfRangeError):
        next(iter(job.all_artifacts(6, 10)))


def test_e5_outputs_have_errors_and_no_artifacts(
    session: scorestream.Session, letters: scorestream.Model, tmp_path: Path
) -> None:
    """Tables and files are made of the result's columns, however the partitions' files lie below them."""
    made = session.score(letters, APPLICANTS, keep=["name"], out="made").wait()
    table = session.table("made")
    assert [column.name for column in table.columns()] == ["name", "ratio", "row_error"]
    assert table.head(10).column("row_error").to_pylist() == ERRORS
    again = session.score(letters, APPLICANTS, out_path=tmp_path / "out.parquet").wait()
    assert again.artifacts(2) == made.artifacts(2)
    written = pq.read_table(tmp_path / "out.parquet")
    assert written.column_names == ["ratio", "row_error"]


def test_e5_large_and_many_artifacts_come_whole(
    session: scorestream.Session, local: scorestream.Client
) -> None:
    """Several messages an artifact, several artifacts a message, over the borders of partitions and batches."""
    model = local.register_model(
        "many",
        source="n * 1.0 AS x, CAST(long AS VARCHAR) AS long, CASE WHEN MOD(n, 3) = 0 THEN 'n = ' || FORMAT(n, 0) END AS note",
        artifacts={"long.txt": "long", "note.txt": "note"},
    )
    rows = 10_000
    long: list[str | None] = [None] * rows
    long[5_000] = "ä" * 500_000
    long[9_999] = ""
    table = pa.table({"n": np.arange(rows), "long": pa.array(long, pa.string())})
    job = session.score(model, table, where="n >= 10", partition_rows=7_000).wait()
    found = {(index, name): data.decode() for index, name, data in job.all_artifacts(0, rows)}
    expected = {(n - 10, "note.txt"): f"n = {n}" for n in range(10, rows) if n % 3 == 0}
    expected |= {(4_990, "long.txt"): long[5_000] or "", (9_989, "long.txt"): ""}
    assert found == expected
    assert list(found) == sorted(found)
    assert job.artifacts(9_989) == {"long.txt": 0, "note.txt": 8}
    assert job.artifact(4_990, "long.txt").decode() == long[5_000]
    too_long = table.set_column(1, "long", [["x" * ((1 << 20) + 1)] + [None] * (rows - 1)])
    refused = session.score(model, too_long).wait()
    assert refused.info.row_errors == 1
    assert "at most 1,048,576 are allowed" in next(iter(refused.results()))["row_error"][0].as_py()


def test_e5_rows_that_are_not_scored_yet_are_told_from_those_that_never_will_be(
    session: scorestream.Session, local: scorestream.Client
) -> None:
    """What is committed can be read while the job waits for its other partitions; it is cancelled here."""
    slow = local.register_model(
        "slow_letters",
        source=" + ".join(["EXP(LN(ABS(a) + 1))"] * 60) + " AS b, CONCAT('a', FORMAT(a, 0)) AS note",
        artifacts={"note.txt": "note"},
    )
    rows = pa.table({"a": np.arange(400_000.0)})
    job = session.score(slow, rows, partition_rows=2_000)
    next(iter(job.results()))
    assert job.artifact(17, "note.txt") == b"a17"
    with pytest.raises(scorestream.FailedPreconditionError, match="is not scored yet"):
        job.artifacts(399_999)
    job.cancel()
    for _ in job.watch():
        pass
    with pytest.raises(scorestream.OutOfRangeError):
        job.artifacts(399_999)
    assert job.artifact(17, "note.txt") == b"a17"


def test_e5_models_show_their_artifacts_and_other_ones_make_another_version(
    local: scorestream.Client, letters: scorestream.Model, ask: Ask, run: Run, tmp_path: Path
) -> None:
    assert [output.name for output in letters.outputs] == ["ratio"]
    assert letters.artifacts == ARTIFACTS
    assert local.register_model("letters", source=LETTERS, artifacts=ARTIFACTS).version == letters.version
    other = local.register_model("letters", source=LETTERS, artifacts={"letter.txt": "letter"})
    assert other.version == letters.version + 1
    assert [output.name for output in other.outputs] == ["ratio", "data"]
    assert local.get_model(letters.id).artifacts == ARTIFACTS
    (tmp_path / "letters.sql").write_text(LETTERS)
    made = ask(
        *("model", "register", tmp_path / "letters.sql"),
        *("--artifact", "letter.txt=letter", "--artifact", "data.csv=data"),
    )
    assert (made["version"], made["artifacts"]) == (letters.version, ARTIFACTS)
    with pytest.raises(scorestream.InvalidArgumentError, match="did you mean 'letter'"):
        local.register_model("letters", source=LETTERS, artifacts={"letter.txt": "leter"})
    register = ("model", "register", tmp_path / "letters.sql", "--server", local.address, "--artifact")
    assert "declares no artifact" in run(*register, "letter.txt", check=2).stderr


def test_e5_artifacts_are_registered_from_a_home_too(session: scorestream.Session) -> None:
    session.files.upload(LETTERS.encode(), "at_home.sql")
    model = session.files.register_model("at_home.sql", artifacts=ARTIFACTS)
    assert model.artifacts == ARTIFACTS
