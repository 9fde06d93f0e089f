"""One test for each row of the list of features about logs, listings and results, C7 to C10.

Each drives the public client and, where a person would, the command line, against the same server.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scorestream
from nightly import expected_scores
from scorestream import LogLineType, ResultType

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
CHROMIUM = shutil.which("chromium")


@pytest.fixture
def job(session: scorestream.Session, model: scorestream.Model, customers_file: Path) -> scorestream.Job:
    """A job over a segment that has made a table."""
    session.load_table(customers_file, name="customers")
    return session.score(
        model,
        "customers",
        where="segment_id = 1",
        keep=["customer_id"],
        out="scored",
        name="job_seg1",
        partition_rows=10_000,
        status_notification=True,
    ).wait()


def test_c7_the_log_is_typed_numbered_followed_filtered_and_renumbered(
    local: scorestream.Client, run: Run, ask: Ask, session: scorestream.Session, job: scorestream.Job
) -> None:
    """Source, notes, progress and figures of a job, and of a session over all of its jobs."""
    lines, partitions = list(job.log(follow=True)), job.info.partitions_total
    assert [(line.type.value, line.text) for line in lines[:6]] == [
        ("title", f"Job job_seg1 ({job.id})"),
        ("source", f"score model {job.info.model} on table customers"),
        ("source", "where segment_id = 1"),
        ("source", "keep customer_id"),
        ("source", "out scored"),
        ("note", f"Accepted with priority normal: 60,000 rows in {partitions} partitions."),
    ]
    progress = [line.text for line in lines if line.type is LogLineType.NORMAL]
    assert len(progress) == partitions
    assert progress[-1].startswith("60,000 of 60,000 rows done (100.0 %)")
    assert re.fullmatch(
        r"SUCCEEDED: 60,000 of 60,000 rows read, 20,000 scored in \d+\.\d{3} s \([\d,]+ rows/s\) on cpu\.",
        lines[-1].text,
    )
    whole = list(session.log())
    assert whole[0].text.startswith(f"Session {session.name}")
    assert [line for line in whole if line.job_id == job.id] == lines
    assert [line.number for line in whole] == list(range(len(whole)))

    again = ask("job", "submit", session.id, "dummy_scorer", "customers", "--reset-log-line-numbers")
    local.get_job(again["id"]).wait()
    told = run("job", "log", again["id"], "--follow", "--server", local.address).stdout.splitlines()
    assert re.match(r" +0  \d\d:\d\d:\d\d\.\d{3}  title +Job ", told[0])
    sources = run(
        "session", "log", session.id, "--type", "source", "-o", "json", "--server", local.address
    ).stdout
    found = [json.loads(line) for line in sources.splitlines()]
    assert [(line["position"], line["text"]) for line in found] == [
        (line.position, line.text) for line in session.log(types=["source"])
    ]
    assert {line["type"] for line in found} == {"source"}
    assert (
        "no type of a log's lines"
        in run("job", "log", job.id, "--type", "loud", "--server", local.address, check=2).stderr
    )


def test_c7_a_failure_is_in_the_log_in_its_own_words(
    session: scorestream.Session, model: scorestream.Model, customers: pa.Table, tmp_path: Path
) -> None:
    """What failed, by its file, and what was committed before."""
    path = tmp_path / "changing.parquet"
    pq.write_table(customers, path)
    table = session.load_table(path)
    pq.write_table(customers.slice(1), path)
    job = session.score(model, table)
    with pytest.raises(scorestream.JobFailedError):
        job.wait()
    errors = list(job.log(types=["error"]))
    assert len(errors) == 1
    assert "changing.parquet" in errors[0].text
    assert "(SOURCE_CHANGED)" in errors[0].text
    assert list(job.log())[-1].text.startswith("FAILED: 0 of 60,000 rows read")
    assert errors[0].text.split(" (")[0] in job.listing()


def test_c8_the_listing_tells_how_scores_are_distributed(
    local: scorestream.Client,
    run: Run,
    session: scorestream.Session,
    job: scorestream.Job,
    customers: pa.Table,
) -> None:
    """Model, table, rows, timing, and for each score column its figures and a histogram; NumPy's figures."""
    scores = expected_scores(customers, 1)
    text = job.listing()
    facts = dict(line.split(None, 1) for line in text.splitlines()[2:14])
    assert facts["model"].startswith(job.info.model)
    assert facts["rows"] == "60,000 of 60,000 read, 20,000 scored"
    assert facts["ran"].endswith("rows/s on cpu")
    assert "p_var1: 20,000 values, none missing" in text
    quartiles = np.quantile(scores, [0.25, 0.5, 0.75])
    for figure in (scores.mean(), scores.std(), scores.min(), *quartiles, scores.max()):
        assert f"{figure:.6g}" in text
    bars = [line for line in text.splitlines() if " to " in line and "█" in line]
    assert max(bars, key=lambda line: line.count("█")).count("█") == 40
    assert "20,000 input rows, 3 features: none" in text
    assert run("job", "listing", job.id, "--server", local.address).stdout == text
    session.score("dummy_scorer", "customers", where="segment_id = 9", name="nothing").wait()
    both = run("session", "listing", session.id, "--server", local.address).stdout
    assert both == session.listing()
    assert both.startswith(text)
    assert "This job has no rows: its filter kept none of 60,000 rows." in both


def test_c9_results_are_links_and_a_report(
    local: scorestream.Client,
    run: Run,
    ask: Ask,
    session: scorestream.Session,
    job: scorestream.Job,
    tmp_path: Path,
) -> None:
    """Tables, files, the library of the session's tables, and one page a job that needs nothing else."""
    links = {link.type: link for link in job.result_links()}
    assert links[ResultType.TABLE].name == "scored"
    assert links[ResultType.TABLE].link == f"sessions/{session.id}/tables/scored"
    assert links[ResultType.TABLE].size_bytes > 20_000 * 16
    assert links.keys() == {ResultType.TABLE, ResultType.LIBRARY, ResultType.REPORT}
    written = session.score("dummy_scorer", "customers", out_path=tmp_path / "out.parquet").wait()
    file = written.result_links()[0]
    assert (file.type, file.link) == (ResultType.FILE, str(tmp_path / "out.parquet"))
    assert file.size_bytes == (tmp_path / "out.parquet").stat().st_size
    listed = ask("session", "results", session.id)
    assert [link["link"] for link in listed] == [link.link for link in session.result_links()]
    assert [link["type"] for link in ask("job", "links", written.id)] == ["FILE", "REPORT"]

    html = job.report(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == html
    assert "Histogram of p_var1</title>" in html
    assert ask("job", "report", job.id, "--to", tmp_path / "again.html")["file"].endswith("again.html")
    assert (tmp_path / "again.html").read_text() == html
    refused = run(
        "job", "report", job.id, "--to", tmp_path / "again.html", "--server", local.address, check=2
    )
    assert "is there already" in refused.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here to open the report with")
def test_c9_a_browser_shows_the_report(
    local: scorestream.Client, session: scorestream.Session, tmp_path: Path
) -> None:
    """Plots, figures and hostile names as they are: drawn, read as text, and nothing of them is run or loaded."""
    hostile = "<script>document.title='run'</script>"
    random = np.random.default_rng(3)
    rows = pa.table({hostile: pa.array(random.normal(size=5_000), mask=random.random(5_000) < 0.1)})
    local.register_model("hostile_columns", source=f'"{hostile}" * 2 AS score, "{hostile}" > 0 AS positive')
    job = session.score("hostile_columns", rows, keep=[hostile], partition_rows=500).wait()
    job.report(tmp_path / "report.html")
    assert CHROMIUM is not None
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={tmp_path / 'browser'}", "--window-size=900,2400", "--dump-dom"),
        f"--screenshot={tmp_path / 'report.png'}",
        (tmp_path / "report.html").as_uri(),
    ]
    seen = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "<script" not in seen
    assert "&lt;script&gt;document.title='run'&lt;/script&gt;" in seen
    assert ">Histogram of score</title>" in seen
    assert re.search(r"<title>job-\w+: SUCCEEDED</title>", seen)
    assert len(re.findall('<rect class="bar"', seen)) > 10
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_c10_a_deleted_job_leaves_its_papers_to_its_session(
    local: scorestream.Client,
    run: Run,
    ask: Ask,
    session: scorestream.Session,
    job: scorestream.Job,
    tmp_path: Path,
) -> None:
    """It is gone; its log, listing, results and report are its session's, its tables and files stay; then all goes."""
    rows = pa.table({f"var{place}": [0.5] * 200_000 for place in (1, 2, 3)})
    running = session.score("dummy_scorer", rows, partition_rows=200, name="long")
    with pytest.raises(scorestream.FailedPreconditionError, match="cancel it first"):
        running.delete()
    running.cancel()
    with pytest.raises(scorestream.JobCancelledError):
        running.wait()
    written = session.score("dummy_scorer", "customers", out_path=tmp_path / "out.parquet").wait()
    lines, listing, report = list(session.log()), session.listing(), job.report()
    links = session.result_links()

    job.delete()
    assert ask("job", "delete", written.id) == {"deleted": written.id}
    for gone in (job, written):
        for ask_for in (gone.refresh, gone.listing, gone.report, gone.delete, lambda j=gone: list(j.log())):
            with pytest.raises(scorestream.NotFoundError):
                ask_for()
        with pytest.raises(scorestream.NotFoundError):
            list(gone.results())
    assert [found.id for found in session.jobs()] == [running.id]
    assert {row.job_id for row in session.action_status()} == {running.id}

    assert list(session.log()) == lines
    assert session.listing() == listing
    assert session.report(job.id) == report
    assert session.result_links() == links
    assert session.table("scored").rows == 20_000
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 60_000
    assert "p_var1: 60,000 values" in run("session", "listing", session.id, "--server", local.address).stdout

    session.terminate()
    ended: list[Callable[[], object]] = [
        lambda: list(session.log()),
        session.listing,
        session.result_links,
        lambda: session.report(job.id),
    ]
    for ask_for_it in ended:
        with pytest.raises(scorestream.FailedPreconditionError, match="ended with its session"):
            ask_for_it()
    assert (tmp_path / "out.parquet").exists()
