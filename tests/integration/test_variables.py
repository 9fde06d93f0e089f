"""Variables and options are in the store: a restarted server has them, and its jobs go on with theirs."""

from pathlib import Path

import pyarrow as pa

import scorestream
from served import served

CODE = "a * :factor + 0 * EXP(LN(ABS(a) + 1)) AS scaled"


def test_variables_options_and_a_jobs_values_outlive_the_server(tmp_path: Path) -> None:
    """What a session set after the job was created is the session's, and not the job's."""
    rows = pa.table({"a": [float(number) for number in range(50_000)]})
    with served(tmp_path / "data", "--device", "cpu") as (client, process):
        client.register_model("scaled", source=CODE)
        session = client.create_session("stays")
        session.variables.update({"factor": 2.0, "least": -1})
        session.options["partition_rows"] = 1000
        job = session.score("scaled", rows, where="a > :least")
        session.variables["factor"] = 3.0
        process.kill()
    with served(tmp_path / "data", "--device", "cpu") as (client, _):
        session = client.get_session("stays")
        assert dict(session.variables) == {"factor": 3.0, "least": -1}
        assert session.options.info("partition_rows").origin is scorestream.Origin.SESSION
        found = client.get_job(job.id)
        assert found.info.variables == {"factor": 2.0, "least": -1}
        assert found.wait().info.partitions_total == 50
        assert found.to_table()["scaled"].to_pylist() == [2.0 * number for number in range(50_000)]
