"""`kill -9` of a worker or of the server while an output gets its place: the job ends well, and nothing stays.

Every step of writing an output is in `test_publish_death.py`; here are those where the processes differ.
"""

import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorestream import State
from served import served

INJECT = Path(__file__).parent / "inject"
WORKER, SERVER = "scorestream_server.workers.process", "scorestream_server"
BEGUN = r"os\.mkdir {out}/\.scores\.\w+\.tmp"
ABSENT = r"os\.rename {out}/\.scores\.\w+\.tmp {out}/scores"
IN_PLACE = r"open {out} "
WRITTEN_DOWN = r"os\.remove {data}/publishing/[\w-]+\.json"


@pytest.mark.parametrize(
    ("where", "step", "who", "replace"),
    [
        pytest.param(WORKER, BEGUN, "itself", False, marks=pytest.mark.long, id="worker begins"),
        pytest.param(WORKER, ABSENT, "itself", True, id="worker between the renames"),
        pytest.param(WORKER, ABSENT, "both", True, marks=pytest.mark.long, id="both between the renames"),
        pytest.param(WORKER, IN_PLACE, "both", False, id="both behind them"),
        pytest.param(SERVER, WRITTEN_DOWN, "itself", False, id="server at the end"),
    ],
)
def test_an_output_gets_its_place_whoever_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, step: str, who: str, replace: bool
) -> None:
    """The new rows stand there in the end, the old ones until then, and nothing is left beside them."""
    out, data, killed = tmp_path / "out", tmp_path / "data", tmp_path / "killed"
    out.mkdir()
    rows = pa.table({"a": [1.0, 2.0, 3.0]})
    flags = ("--device", "cpu", "--data-root", str(out))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(INJECT), os.environ.get("PYTHONPATH", "")]))
    with served(data, *flags) as (client, server):
        session = client.create_session("faults")
        session.load_table(rows, name="rows")
        client.register_model("old", source="a * 0 AS score")
        client.register_model("new", source="a * 2 AS score")
        if replace:
            session.score("old", "rows", out_path=out / "scores").wait()
    monkeypatch.setenv("KILL_IN", where)
    monkeypatch.setenv("KILL_AT", step.format(out=re.escape(str(out)), data=re.escape(str(data))))
    monkeypatch.setenv("KILL", who)
    monkeypatch.setenv("KILLED", str(killed))
    with served(data, *flags) as (client, server):
        job = client.get_session("faults").score("new", "rows", out_path=out / "scores", replace=replace)
        if (where, who) == (WORKER, "itself"):
            assert job.wait().state is State.SUCCEEDED
        else:
            server.wait(30)
    if (where, who) != (WORKER, "itself"):
        with served(data, *flags) as (client, _):
            job = client.get_job(job.id).wait()
            assert job.state is State.SUCCEEDED
            assert list(job.info.outputs) == [str(path) for path in out.glob("scores/part-*")]
    assert killed.exists()
    assert pq.read_table(out / "scores")["score"].to_pylist() == [2.0, 4.0, 6.0]
    assert [path.name for path in out.iterdir()] == ["scores"]
    assert list((data / "publishing").iterdir()) == []
    assert [path for path in data.rglob("*") if path.suffix == ".tmp"] == []
