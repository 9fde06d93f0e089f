"""Row A6 of the list of features: score code in DS2, as the nightly script's document has it."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import scorestream
from nightly import SEGMENTS, expected_scores

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]

SOURCE = """
 dcl double p_var1;
 p_var1=0;
 method score(double var1, double var2, double var3, double p_var1);
 p_var1 = var1 * 0.5 + var2 * 0.2 + var3 * 0.3;
 END;
"""
"""What stands between SOURCE and ENDSOURCE."""


def test_a6_the_documents_method_compiles_and_scores(
    local: scorestream.Client, session: scorestream.Session, customers: pa.Table, customers_file: Path
) -> None:
    """Its text as it stands; the inputs are columns, p_var1 is the output, and `where`, `keep` and `out` work."""
    model = local.register_model("dummy_scorer_ds2", source=SOURCE)
    assert model.kind == "ds2"
    assert [feature.name for feature in model.features] == ["var1", "var2", "var3"]
    assert [(output.name, output.type) for output in model.outputs] == [("p_var1", "float64")]
    table = session.load_table(customers_file, name="customer_segments")
    for segment in SEGMENTS:
        job = session.score(
            model, table, where=f"segment_id={segment}", keep=["customer_id"], out=f"scored_seg{segment}"
        )
        np.testing.assert_allclose(job.to_table()["p_var1"], expected_scores(customers, segment), rtol=1e-12)
        assert session.table(f"scored_seg{segment}").rows == len(customers) // 3


def test_a6_missing_values_are_those_of_sas(local: scorestream.Client, session: scorestream.Session) -> None:
    """A missing value is less than any number and makes a formula missing; branches and texts do what they say."""
    model = local.register_model(
        "segments",
        source="""
          dcl char(6) band;
          method score(double income, char(10) region, in_out double score);
            if income < 0 then do; band = 'none'; score = .; end;
            else if region in ('north', 'west') and income >= 1000 then do;
              band = 'high'; score = round(log10(income), 0.01);
            end;
            else do; band = 'low'; score = max(income, .) / 1000; end;
          end;""",
    )
    rows = pa.table({"income": [None, 20_000.0, 50.0, 5000.0], "region": ["north", "west  ", "north", None]})
    job = session.score(model, rows)
    assert job.to_table().to_pylist() == [
        {"band": "none", "score": None},
        {"band": "high", "score": 4.3},
        {"band": "low", "score": 0.05},
        {"band": "low", "score": 5.0},
    ]


def test_a6_what_is_no_ds2_of_ours_is_refused_with_its_place(local: scorestream.Client) -> None:
    """Line and column, and what to write instead; whoever says sql gets SQL."""
    with pytest.raises(scorestream.InvalidArgumentError, match=r"loops are not there.*line 3, column 5"):
        local.register_model(
            "loops", source="dcl double p;\nmethod score(double a);\n do i = 1 to 3; end; end;"
        )
    with pytest.raises(
        scorestream.InvalidArgumentError, match=r"prat is not declared.*rate.*line 2, column 5"
    ):
        local.register_model("names", source="method score(double rate, in_out double p);\np = prat; end;")
    with pytest.raises(scorestream.InvalidArgumentError, match="sql or ds2"):
        local.register_model("other", source="a AS b", language="python")
    with pytest.raises(scorestream.InvalidArgumentError, match=r"could be = .line 1, column 3"):
        local.register_model("forced", source="a AS b", language="ds2")
    with pytest.raises(scorestream.InvalidArgumentError, match="give one expression or list"):
        local.register_model("forced", source=SOURCE, language="sql")
    assert local.register_model("columns", source="data AS a, method AS b").kind == "expression"


def test_a6_ds2_on_the_command_line(
    ask: Ask,
    run: Run,
    local: scorestream.Client,
    session: scorestream.Session,
    customers: pa.Table,
    tmp_path: Path,
) -> None:
    """From a file by its ending or by --language, and from --source; `score` takes such a file too."""
    (tmp_path / "dummy scorer.sas").write_text(SOURCE)
    (tmp_path / "code.txt").write_text(SOURCE)
    made = ask("model", "register", "--source-file", "dummy scorer.sas")
    assert (made["name"], made["kind"]) == ("dummy_scorer", "ds2")
    assert ask("model", "register", "--source-file", "code.txt", "--name", "by_language")["kind"] == "ds2"
    assert ask("model", "add", "dummy scorer.sas", "--name", "as_file")["kind"] == "ds2"
    assert ask("model", "add", "--source", SOURCE, "--name", "inline", "--language", "ds2")["kind"] == "ds2"
    session.load_table(customers, name="customers")
    job = ask("job", "submit", session.id, "by_language", "customers")
    scores = local.get_job(job["id"]).to_table()["p_var1"]
    np.testing.assert_allclose(scores, expected_scores(customers), rtol=1e-12)
    wrong = ("--source", "p = 1;", "--name", "x", "--language", "ds2")
    told = run("model", "register", *wrong, "--server", local.address, check=2).stderr
    assert "line 1" in told
