"""Listings and reports: what they say, and that no name of a client's becomes a tag."""

import dataclasses
import math
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scorestream_server.domain.job import Failure, Job, JobSpec, Priority, State
from scorestream_server.domain.log import LineType, LogLine, printable
from scorestream_server.domain.paper import Paper
from scorestream_server.domain.summary import Distribution, FeatureMissing, JobSummary, Numbers
from scorestream_server.report.figures import compact, duration, share, ticks, told_apart
from scorestream_server.report.listing import listing
from scorestream_server.report.report import report, throughput

NUMBERS = Numbers(0.5, 0.25, 0.0, (0.3, 0.5, 0.7), 1.0, (0.0, 0.25, 0.5, 0.75, 1.0), (10, 0, 30, 1))
HOSTILE = [
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "\"><svg onload='alert(1)'>",
    "&lt;b&gt;",
    "]]><!--",
    "</title><base href=//evil>",
    "a\x00b\x1b[31m\u202e",
]


def paper(name: str = "risk", **changes: Any) -> Paper:
    """Return a paper in which a client's name stands wherever one can."""
    spec = JobSpec(name, 1, name, "uid", name, (name,), name, None, False, Priority.NORMAL, 0)
    job = Job(
        "0d0988f5", name, "session-id", "me", spec, State.SUCCEEDED_WITH_WARNINGS, 50, 50, 41, 2, 2, 1, 100.0, 100.5,
        102.5, Failure("INTERNAL", name, name), b"", (name,), (name,), name,
    )  # fmt: skip
    scores = (
        Distribution(name, 41, 9, numbers=NUMBERS),
        Distribution(f"{name} label", 50, 0, frequent=((name, 30), ("other", 20))),
        Distribution("constant", 50, 0, numbers=dataclasses.replace(NUMBERS, maximum=0.0, edges=(0.0, 5e-324), counts=(50,))),
    )  # fmt: skip
    summary = JobSummary(scores, 50, (FeatureMissing(name, 5), FeatureMissing("b", 0)), (name,))
    made = Paper(
        dataclasses.replace(job, **{key: value for key, value in changes.items() if hasattr(job, key)}),
        name,
        None,
        summary,
        tuple((100.5 + place / 4, 5 * place) for place in range(1, 11)),
        (LogLine(LineType.WARNING, 1.0, printable(name)), LogLine(LineType.ERROR, 1.0, printable(name))),
    )
    return dataclasses.replace(
        made, **{key: value for key, value in changes.items() if not hasattr(job, key)}
    )


class Page(HTMLParser):
    """What a browser finds in a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[tuple[str, str]] = set()
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {(tag, name) for name, _ in attrs}

    def handle_comment(self, data: str) -> None:
        self.tags[f"comment {data}"] += 1

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def check_harmless(name: str) -> None:
    """Check that a report with a name everywhere has the tags of one with a plain name, and its text as it is."""
    plain, page = Page(report(paper())), Page(report(paper(name)))
    assert page.tags == plain.tags
    assert page.attributes == plain.attributes
    if name.isprintable() and name.strip():
        assert name in "".join(page.texts)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_name_becomes_a_tag(name: str) -> None:
    """Names of jobs, models, tables, columns and features, values, filters and messages are text."""
    check_harmless(name)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80))
def test_no_name_becomes_a_tag(name: str) -> None:
    """Whatever it is made of."""
    check_harmless(name)


def test_a_page_needs_nothing_else_and_runs_nothing() -> None:
    """No script, no link, no image, no address; and the browser is told to allow none."""
    html = report(paper())
    page = Page(html)
    assert not page.tags.keys() & {"script", "link", "img", "iframe", "object", "base", "a", "image", "use"}
    assert not {name for _, name in page.attributes} & {"src", "href", "xlink:href", "style"}
    assert not {name for _, name in page.attributes if name.startswith("on")}
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html
    assert "default-src 'none'" in html


def test_every_plot_is_told_in_words_too() -> None:
    """Each has a title and a description, which its label names; identifiers are unique."""
    html = report(paper())
    page = Page(html)
    plots = page.tags["svg"]
    assert plots == 4
    assert html.count('role="img"') == page.tags["desc"] == plots
    identifiers = [part.split('"')[0] for part in html.split(' id="')[1:]]
    assert len(identifiers) == len(set(identifiers)) == 2 * plots
    assert all(f"{name} " in html or f'{name}"' in html for name in identifiers)


def test_the_report_says_what_the_listing_says() -> None:
    """Both have the figures, missing values, warnings and errors."""
    text, html = listing(paper()), "".join(Page(report(paper())).texts)
    for told in ("risk@1", "SUCCEEDED_WITH_WARNINGS", "41 values, 9 missing", "0.25", "10.0 %"):
        assert told in text
        assert told in html
    assert "0.25 to  0.5" in text
    assert text.count("warning") == 1
    assert "Each of them is 0." in html


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rows_done": 0, "rows_total": 0}, "its table is empty"),
        ({"rows_done": 50}, "its filter kept none of 50 rows"),
        ({"rows_done": 0, "state": State.CANCELLED}, "it ended CANCELLED before any was committed"),
    ],
)
def test_a_job_with_no_rows_says_so_and_why(changes: dict[str, Any], told: str) -> None:
    """An empty report is not taken for a broken one."""
    empty = paper(rows_scored=0, summary=JobSummary((Distribution("p", 0, 0),)), progress=(), **changes)
    assert f"This job has no rows: {told}" in listing(empty)
    assert f"This job has no rows: {told}" in report(empty)


def test_a_job_that_runs_tells_what_is_known() -> None:
    """Without figures, and saying when they come."""
    running = paper(state=State.RUNNING, end_time=None, summary=None)
    assert "told when it is final" in listing(running)
    assert "told when it is final" in report(running)


def test_lines_of_a_listing_do_not_end_in_blanks() -> None:
    """It is compared and pasted."""
    assert all(line == line.rstrip() for line in listing(paper()).splitlines())


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
@example(0.0, 5e-324)
@example(0.0, 5 * 2.3e-308)
def test_ticks_lie_within_their_axis_and_can_be_told_apart(one: float, other: float) -> None:
    """For any two numbers there is an axis: a few growing numbers, each with a text of its own."""
    low, high = sorted((one, other))
    found = ticks(low, high)
    slack = (high - low) * 1e-6 if math.isfinite(high - low) else 0.0
    assert 1 <= len(found) <= 12
    assert found == sorted(found)
    assert all(low - slack <= value <= high + slack for value in found)
    assert len(set(told_apart(found))) == len(set(found))


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1234.0, "1.234k"), (-5e6, "-5M"), (1e-7, "1e-07"), (0.25, "0.25")]
)
def test_an_axis_is_short(value: float, text: str) -> None:
    """Thousands and millions by their letters."""
    assert compact(value) == text


def test_durations_and_shares() -> None:
    """Read at a glance; what is there is never shown as none."""
    assert [duration(seconds) for seconds in (0.0123, 12.34, 185, 3723)] == [
        "0.012 s",
        "12.3 s",
        "3:05 min",
        "1:02:03 h",
    ]
    assert [share(part, 1_000_000) for part in (0, 1, 500_000)] == ["0 %", "< 0.1 %", "50.0 %"]


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 1000)), min_size=1, max_size=200))
def test_throughput_counts_every_row_once(points: list[tuple[float, int]]) -> None:
    """Whenever partitions were committed: rates times their steps are the rows."""
    times = sorted(time for time, _ in points)
    rows = [sum(count for _, count in points[: place + 1]) for place in range(len(points))]
    seconds = times[-1]
    rates = throughput(list(zip(times, rows, strict=True)), 0.0, seconds)
    assert sum(rates) * max(seconds, 1e-6) / len(rates) == pytest.approx(rows[-1])
