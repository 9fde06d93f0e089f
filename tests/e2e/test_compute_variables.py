"""Row C14 of the list of features: variables that bind as `:name`, options with their origin, engines."""

import datetime as dt
import json
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq
import pytest

import scorestream
from nightly import expected_scores
from scorestream import Priority, State

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]

SAMPLES = {
    "cutoff": 0.5,
    "least": -(2**63),
    "region": "it's; DROP TABLE jobs --",
    "strict": True,
    "since": dt.date(2024, 2, 29),
    "until": dt.datetime(2024, 3, 1, 12, 30, 0, 250),  # noqa: DTZ001 - kept as it stands
}
ROWS = pa.table(
    {
        "a": [0.25, 0.5, 0.75, None],
        "region": ["it's; DROP TABLE jobs --", "b", "b", "x"],
        "d": pa.array([dt.date(2024, 2, 28), dt.date(2024, 2, 29), dt.date(2024, 3, 1), None]),
        "t": pa.array([SAMPLES["until"]] * 4, pa.timestamp("us")),
        "f": [True, False, True, None],
        "n": [-(2**63), 0, 1, 2],
    }
)


@pytest.fixture
def half(local: scorestream.Client) -> scorestream.Model:
    """A model with a variable in it."""
    return local.register_model("scaled", source="a * :factor AS scaled, a > :cutoff AS high")


def test_c14_variables_are_a_typed_mapping(session: scorestream.Session, local: scorestream.Client) -> None:
    """Set, got, listed, deleted with their types, like a dictionary; another session has its own."""
    variables = session.variables
    variables.update(SAMPLES)
    assert dict(variables.items()) == SAMPLES
    assert {name: type(value) for name, value in variables.all().items()} == {
        name: type(value) for name, value in SAMPLES.items()
    }
    variables["cutoff"] = np.float32(0.25)
    assert variables["cutoff"] == 0.25
    assert variables.set("cutoff", 1, type="double") == 1.0
    assert variables.set("since", "2024-01-31", type="date") == dt.date(2024, 1, 31)
    there = dt.datetime(2024, 3, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert variables.set("until", there) == dt.datetime(2024, 3, 1, 10)  # noqa: DTZ001 - as SQL has it
    del variables["region"]
    assert "region" not in variables
    assert variables.get("region") is None
    assert len(variables) == len(SAMPLES) - 1
    with pytest.raises(KeyError):
        variables["region"]
    with local.create_session("another") as other:
        assert dict(other.variables) == {}


def test_c14_variables_bind_as_values_in_where(
    local: scorestream.Client, session: scorestream.Session
) -> None:
    """Each type meets its column; a text that looks like SQL is a text."""
    table = session.load_table(ROWS, name="rows")
    session.variables.update(SAMPLES)

    def rows(where: str) -> list[int]:
        job = session.score("dummy_n", table, where=where)
        return [row["n"] for row in job.to_table().to_pylist()]

    local.register_model("dummy_n", source="n AS n")
    assert rows("a > :cutoff") == [1]
    assert rows("region = :region") == [-(2**63)]
    assert rows("f = :strict AND n >= :least") == [-(2**63), 1]
    assert rows("d >= :since AND t <= :until") == [0, 1]
    assert rows("n IN (:least, 1)") == [-(2**63), 1]
    session.variables["pattern"] = "it%"
    assert rows("region LIKE :pattern") == [-(2**63)]
    assert table.read(where="a > :cutoff")["n"].to_pylist() == [1]
    job = session.score("dummy_n", table, where="a > :cutoff").wait()
    assert "a > :cutoff" in job.listing()


def test_c14_a_job_keeps_the_values_that_it_was_created_with(
    session: scorestream.Session, half: scorestream.Model
) -> None:
    """The session's at that moment, and its own before them; only those that it uses; resuming changes none."""
    table = session.load_table(ROWS, name="rows")
    session.variables.update(SAMPLES | {"factor": 10})
    first = session.score(half, table, where="a >= :cutoff")
    own = session.score(half, table, where="a >= :cutoff", variables={"factor": 100.0})
    session.variables["factor"] = 1000
    assert first.refresh().info.variables == {"cutoff": 0.5, "factor": 10}
    assert own.info.variables == {"cutoff": 0.5, "factor": 100.0}
    assert first.to_table().to_pylist() == [{"scaled": 5.0, "high": False}, {"scaled": 7.5, "high": True}]
    assert own.to_table()["scaled"].to_pylist() == [50.0, 75.0]
    assert session.score(half, table).to_table()["scaled"].to_pylist() == [250.0, 500.0, 750.0, None]
    stopped = session.score(half, table, variables={"factor": 2}, timeout=1e-9)
    with pytest.raises(scorestream.JobTimedOutError):
        stopped.wait()
    resumed = stopped.resume()
    assert resumed.info.variables == {"cutoff": 0.5, "factor": 2}


def test_c14_what_is_wrong_with_variables_is_said_at_once(
    session: scorestream.Session, half: scorestream.Model
) -> None:
    """Not set, mistyped, of the wrong type: with line, column and near names, beside every other fault."""
    table = session.load_table(ROWS, name="rows")
    session.variables["cutof"] = 0.5
    with pytest.raises(scorestream.InvalidArgumentError) as caught:
        session.score(
            half, table, where="a > :cutoff\n AND nowhere = :x", keep=["none"], variables={"facto": 1}
        )
    told = str(caught.value)
    for words in (
        "Variable :factor is not set; did you mean :facto? (line 1, column 5)",
        "Variable :cutoff is not set; did you mean :cutof? (line 1, column 28)",
        "Variable :cutoff is not set; did you mean :cutof? (line 1, column 5)",
        "There is no column nowhere (line 2, column 6)",
        "Variable :x is not set (line 2, column 16)",
        "uses :facto; did you mean :factor?",
        "none: the table has no such column",
    ):
        assert words in told
    assert {":factor", ":cutoff", ":x", "facto", "none"} <= {fault.field for fault in caught.value.faults}
    with pytest.raises(scorestream.InvalidArgumentError, match=r"this is text .*line 1, column 5"):
        session.score(half, table, variables={"cutoff": 0.5, "factor": "ten"})
    for name, value in (("no-name", 1), ("a" * 65, 1), ("x", float("nan")), ("x", "é" * 2049), ("x", 2**63)):
        with pytest.raises(scorestream.InvalidArgumentError):
            session.variables[name] = value
    with pytest.raises(scorestream.InvalidArgumentError, match="cannot be its value"):
        session.variables["x"] = [1]
    assert dict(session.variables) == {"cutof": 0.5}


def test_c14_a_session_has_so_many_variables_and_keeps_none_when_it_ends(
    local: scorestream.Client, prefix: str
) -> None:
    session = local.create_session(f"{prefix}full")
    for number in range(256):
        session.variables[f"v{number}"] = number
    session.variables["v0"] = "again"
    with pytest.raises(scorestream.ResourceExhaustedError, match="256"):
        session.variables["one_more"] = 1
    session.options["timeout"] = 5
    session.terminate()
    assert dict(session.variables) == {}
    assert session.options.info("timeout").origin == "server"
    with pytest.raises(scorestream.FailedPreconditionError, match="ended"):
        session.variables["late"] = 1
    with pytest.raises(scorestream.FailedPreconditionError, match="ended"):
        session.options["timeout"] = 1


def test_c14_variables_on_the_command_line(
    session: scorestream.Session, half: scorestream.Model, ask: Ask, run: Run, local: scorestream.Client
) -> None:
    """Set by what they look like or by --type, got, listed, deleted, and given to a job."""
    here = ("--session", session.name)
    for value, kind in (
        ("0.5", "double"),
        ("7", "int"),
        ("true", "boolean"),
        ("2024-02-29", "date"),
        ("north", "string"),
    ):
        assert ask("variable", "set", f"v_{kind}", value, *here)["type"] == kind
    assert ask("variable", "set", "zip", "01234", "--type", "string", *here)["value"] == "01234"
    assert ask("variable", "set", "cutoff", "-1", *here, "--type", "double")["value"] == -1.0
    assert ask("variable", "get", "v_date", *here) == {
        "name": "v_date",
        "type": "date",
        "value": "2024-02-29",
    }
    assert session.variables["v_date"] == dt.date(2024, 2, 29)
    run("variable", "delete", "v_date", *here, "--server", local.address)
    names = [row["name"] for row in ask("variable", "list", *here)]
    assert names == ["cutoff", "v_boolean", "v_double", "v_int", "v_string", "zip"]
    session.load_table(ROWS, name="rows")
    job = ask(
        "job", "submit", session.id, half.id, "rows", "--variable", "factor=4", "--where", "a > :v_double"
    )
    assert job["variables"] == {"cutoff": -1.0, "factor": 4, "v_double": 0.5}
    status = run("job", "status", job["id"], "--server", local.address).stdout
    assert ":cutoff = -1.0, :factor = 4, :v_double = 0.5" in status
    assert local.get_job(job["id"]).to_table().to_pylist() == [{"scaled": 3.0, "high": True}]
    told = run("variable", "get", "nothing", *here, "--server", local.address, check=2).stderr
    assert "no variable 'nothing'" in told
    shown = run("variable", "list", *here, "--server", local.address).stdout
    assert "zip" in shown
    assert "01234" in shown


def test_c14_options_say_what_jobs_take_and_who_set_them(
    session: scorestream.Session, local: scorestream.Client, model: scorestream.Model, customers_file: Path
) -> None:
    """A job's own word wins, then the session's, then the server's; every option does what it says."""
    options = session.options
    assert {option.name: (option.value, option.origin) for option in options.list()} == {
        "partition_rows": (0, "server"),
        "priority": ("normal", "server"),
        "queue_timeout": (0.0, "server"),
        "timeout": (0.0, "server"),
    }
    table = session.load_table(customers_file)
    options["partition_rows"] = 4_096
    options["priority"] = "HIGH"
    assert options.set_all({"timeout": 90, "queue_timeout": 60.5}) == {"timeout": 90.0, "queue_timeout": 60.5}
    assert {option.origin for option in options.list()} == {"session"}
    job = session.score(model, table)
    np.testing.assert_allclose(job.to_table()["p_var1"], expected_scores(pq.read_table(customers_file)))
    assert job.refresh().info.partitions_total >= 15
    assert job.info.priority is Priority.HIGH
    own = session.score(model, table, partition_rows=30_000, priority="low", timeout=0, queue_timeout=0)
    assert own.wait().info.partitions_total < 10
    assert own.info.priority is Priority.LOW
    options["timeout"] = 0.000001
    short = session.score(model, table)
    with pytest.raises(scorestream.JobTimedOutError):
        short.wait()
    assert session.score(model, table, timeout=0).wait().state is State.SUCCEEDED
    assert options.reset("timeout").origin == "server"
    assert options["timeout"] == 0.0
    with local.create_session("untouched") as other:
        assert {option.origin for option in other.options.list()} == {"server"}


def test_c14_options_are_validated_all_or_none(session: scorestream.Session) -> None:
    with pytest.raises(scorestream.InvalidArgumentError) as caught:
        session.options.set_all({"timeout": -1, "priority": "urgent", "colour": "red", "partition_rows": 5})
    assert {fault.field for fault in caught.value.faults} == {
        "options.timeout",
        "options.priority",
        "options.colour",
    }
    assert "low or normal or high" in str(caught.value)
    assert session.options["partition_rows"] == 0
    for value in ("1e3", "nan", "", 10**12, "0x10", "１", float("inf")):  # noqa: RUF001 - digits of another script
        with pytest.raises(scorestream.InvalidArgumentError):
            session.options["timeout"] = value
    with pytest.raises(KeyError):
        session.options["colour"]
    with pytest.raises(scorestream.NotFoundError, match="there are partition_rows"):
        session.options.reset("colour")


def test_c14_options_on_the_command_line(
    session: scorestream.Session, ask: Ask, run: Run, local: scorestream.Client
) -> None:
    here = ("--session", session.name)
    assert ask("option", "set", "timeout", "600", *here)["origin"] == "session"
    assert ask("option", "get", "timeout", *here)["value"] == 600.0
    listed = {row["name"]: row["origin"] for row in ask("option", "list", *here)}
    assert listed["timeout"] == "session"
    assert listed["priority"] == "server"
    assert ask("option", "reset", "timeout", *here)["value"] == 0.0
    refused = run("option", "set", "timeout", "soon", *here, "--server", local.address, check=2)
    assert "0 to" in refused.stderr


def test_c14_engines_are_what_the_server_accepts(
    local: scorestream.Client, session: scorestream.Session, ask: Ask, tmp_path: Path
) -> None:
    """What is listed as read is read, what is listed as written is written; versions are those installed."""
    engines = {engine.name: engine for engine in local.engines()}
    assert [engine.name for engine in engines.values() if engine.kind == "device"] == [
        device.id for device in local.devices()
    ]
    for engine in engines.values():
        if engine.library:
            assert engine.library_version == version(engine.library)
    write = {"csv": _write_csv, "json": _write_json, "parquet": pq.write_table, "arrow": _write_arrow}
    rows = pa.table({"a": [1.0, 2.0]})
    local.register_model("twice", source="a * 2 AS twice")
    for engine in (engine for engine in engines.values() if engine.kind == "format"):
        for number, ending in enumerate(engine.reads):
            path = tmp_path / f"in{number}{ending}"
            write[engine.name](rows, path)
            assert session.load_table(path, name=f"{engine.name}{number}").rows == 2
        for number, ending in enumerate(engine.writes):
            session.score("twice", rows, out_path=tmp_path / f"out_{engine.name}{number}{ending}").wait()
    with pytest.raises(scorestream.InvalidArgumentError):
        session.load_table(_touched(tmp_path / "rows.xlsx"))
    assert ask("engine", "list") == json.loads(json.dumps([_plain(engine) for engine in local.engines()]))


def _plain(engine: scorestream.Engine) -> dict[str, Any]:
    names = ("name", "kind", "description", "reads", "writes", "library", "library_version", "limits")
    return {name: getattr(engine, name) for name in names}


def _write_csv(rows: pa.Table, path: Path) -> None:
    with pa.output_stream(path) as sink:  # compressed as its ending says
        pa_csv.write_csv(rows, sink)


def _write_json(rows: pa.Table, path: Path) -> None:
    with pa.output_stream(path) as sink:
        sink.write("\n".join(map(json.dumps, rows.to_pylist())).encode())


def _write_arrow(rows: pa.Table, path: Path) -> None:
    pa_feather.write_feather(rows, path, compression="uncompressed")


def _touched(path: Path) -> Path:
    path.write_bytes(b"PK")
    return path


def _help(run: Run) -> Iterator[str]:
    for group, commands in (
        ("variable", ("set", "get", "list", "delete")),
        ("option", ("list", "get", "set", "reset")),
        ("engine", ("list",)),
    ):
        for command in commands:
            yield run(group, command, "--help").stdout


def test_c14_every_command_shows_an_example(run: Run) -> None:
    for shown in _help(run):
        assert "Example: scorestream" in shown
