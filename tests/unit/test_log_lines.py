"""Lines of the log: safe to print whatever clients write, and few enough to be read."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.job import Failure, Job, JobSpec, Priority, State
from scorestream_server.domain.log import LONGEST_LINE, LineType, LogBlock, lines_of
from scorestream_server.engine import log_lines

SPEC = JobSpec("risk", 3, "customers", "uid", "", (), "", None, False, Priority.NORMAL, 0)
JOB = Job(
    "job-id", "job_seg1", "session-id", "me", SPEC, State.PENDING, 0, 20_000, 0, 0, 4, 1, 100.0, None, None, None,
    b"", (), (), "",
)  # fmt: skip


def spec(**changes: Any) -> Job:
    return dataclasses.replace(JOB, spec=dataclasses.replace(SPEC, **changes))


def texts(block: LogBlock | None, *types: LineType) -> list[str]:
    assert block is not None
    return [line.text for line in block.lines if not types or line.type in types]


@given(st.text(max_size=3000))
def test_a_line_never_breaks_a_terminal_or_a_page(text: str) -> None:
    """Whatever a client writes: no control characters, no line breaks, no more than the longest line."""
    lines = lines_of(LineType.SOURCE, 0.0, text)
    assert lines
    for line in lines:
        assert line.text.isprintable()
        assert len(line.text) <= LONGEST_LINE


def test_escapes_say_what_stood_there() -> None:
    """An escape sequence of a terminal is shown, not sent."""
    assert [line.text for line in lines_of(LineType.NOTE, 0.0, "a\x1b[31mred\nb\u202ec")] == [
        "a\\x1b[31mred",
        "b\\u202ec",
    ]


def test_the_source_is_what_was_asked_for() -> None:
    """Model, table, filter, kept columns and output, line by line."""
    job = spec(where="segment_id = 1\n  AND a > 0", keep=("id", "name"), out_table="scored", replace=True)
    assert texts(log_lines.created(job), LineType.SOURCE) == [
        "score model risk@3 on table customers",
        "where segment_id = 1",
        "  AND a > 0",
        "keep id, name",
        "out scored, replacing what is there",
    ]


def test_a_long_filter_does_not_fill_the_log() -> None:
    """However many lines a client's text has."""
    assert len(log_lines.created(spec(where="a\n" * 5000)).lines) < 110


@pytest.mark.parametrize("partition", [1, 8, 1000])
def test_progress_is_told_when_asked_for_and_at_most_a_thousand_times(partition: int) -> None:
    """A line at each tenth of a per cent at most; none unasked."""
    job = dataclasses.replace(spec(status_notification=True), start_time=100.0)
    told = []
    for rows in range(partition, job.rows_total + 1, partition):
        at = dataclasses.replace(job, rows_done=rows)
        told.append(log_lines.progressed(at, rows - partition, 101.0) is not None)
        assert log_lines.progressed(dataclasses.replace(at, spec=SPEC), rows - partition, 101.0) is None
    assert sum(told) == min(len(told), log_lines.MOST_PROGRESS_LINES)


def test_the_end_has_the_figures() -> None:
    """Rows, seconds, rows a second, device, missing scores, outputs."""
    job = dataclasses.replace(
        JOB,
        state=State.SUCCEEDED,
        rows_done=20_000,
        rows_scored=5_000,
        start_time=101.0,
        end_time=103.0,
        device="cpu",
        outputs=("scored",),
    )
    assert texts(log_lines.ended(job, 12)) == [
        "Missing in the result (NULL or NaN): 12 scores.",
        "Output: scored",
        "SUCCEEDED: 20,000 of 20,000 rows read, 5,000 scored in 2.000 s (10,000 rows/s) on cpu.",
    ]
    assert log_lines.ended(job, 0).ends


def test_a_failure_is_an_error_in_its_own_words() -> None:
    """The message, with its reason for programs; a job that never started says so."""
    job = dataclasses.replace(
        JOB, state=State.FAILED, end_time=103.0, failure=Failure("INTERNAL", "WORKER_LOST", "It died.")
    )
    block = log_lines.ended(job, 0)
    assert texts(block, LineType.ERROR) == ["It died. (WORKER_LOST)"]
    assert texts(block, LineType.NOTE) == ["FAILED: 0 of 20,000 rows read, 0 scored; it never started."]


def test_a_short_job_is_written_in_two_pieces() -> None:
    """That it began is said with its end; a longer one, or one that tells its progress, says it at once."""
    short = dataclasses.replace(JOB, partitions_total=1, rows_total=100, start_time=100.5, end_time=100.6)
    assert log_lines.started(short) is None
    assert texts(log_lines.ended(short, 0))[0] == "Started after 0.500 s of waiting."
    for long in (
        dataclasses.replace(short, partitions_total=2),
        dataclasses.replace(short, rows_total=1_000_000),
        dataclasses.replace(short, spec=dataclasses.replace(SPEC, status_notification=True)),
    ):
        assert texts(log_lines.started(long)) == ["Started after 0.500 s of waiting."]
        assert "Started" not in texts(log_lines.ended(long, 0))[0]
