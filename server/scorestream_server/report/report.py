"""The report: one HTML page about a job that needs nothing else."""

from collections.abc import Iterator, Sequence

from scorestream_server.domain.errors import counted
from scorestream_server.domain.job import State
from scorestream_server.domain.log import LineType
from scorestream_server.domain.paper import Paper
from scorestream_server.domain.summary import Distribution, JobSummary, Numbers
from scorestream_server.report import plots
from scorestream_server.report.figures import compact, duration, facts, far_values, number, share, why_no_rows
from scorestream_server.report.markup import Element, page, tag
from scorestream_server.report.style import STYLE

MOST_PLOTS = 50
"""Score columns with a plot; of those beyond, the table of figures tells."""
MOST_BARS = 40
RATES = 48
COMMITS_A_STEP = 3
"""Lanes commit together, so that a step with fewer commits may look like a standstill."""
_TONES = {
    State.SUCCEEDED: "good",
    State.SUCCEEDED_WITH_WARNINGS: "warn",
    State.FAILED: "bad",
    State.TIMED_OUT: "bad",
    State.CANCELLED: "warn",
}


def report(paper: Paper) -> str:
    """Return the report of a job."""
    job = paper.job
    main = tag(
        "main",
        tag(
            "header",
            tag("p", "scorestream job report", class_="muted"),
            tag(
                "h1", job.name, " ", tag("span", job.state.value, class_=f"state {_TONES.get(job.state, '')}")
            ),
            tag("p", tag("code", job.id), class_="muted"),
        ),
        _tiles(paper),
        *_told(paper),
        *_rows(paper),
        *_throughput(paper),
        _section("About the job", _table("Facts", (), facts(paper))),
    )
    return page(f"{job.name}: {job.state.value}", STYLE, main)


def _tiles(paper: Paper) -> Element:
    job = paper.job
    tiles = [("rows scored", f"{job.rows_scored:,}")]
    if job.start_time is not None and job.end_time is not None:
        seconds = max(job.end_time - job.start_time, 0.0)
        tiles.append(("run time", duration(seconds)))
        if seconds and job.rows_done:
            tiles.append(("rows per second", compact(job.rows_done / seconds)))
    if paper.summary is not None and job.rows_scored:
        tiles.append(("missing scores", f"{sum(found.missing for found in paper.summary.scores):,}"))
    cells = [tag("div", tag("dt", name), tag("dd", text)) for name, text in tiles]
    return tag("dl", *cells, class_="tiles")


def _told(paper: Paper) -> Iterator[Element]:
    """Yield warnings, errors and what could not be looked at."""
    items = [
        tag("li", tag("strong", f"{line.type.value}: "), line.text, class_="bad" if line.type is LineType.ERROR else "warn")
        for line in paper.warnings
    ]  # fmt: skip
    items += [tag("li", note, class_="warn") for note in (paper.summary.notes if paper.summary else ())]
    if items:
        yield _section("Warnings and errors", tag("ul", *items, class_="told"))


def _rows(paper: Paper) -> Iterator[Element]:
    job, summary = paper.job, paper.summary
    if summary is None:
        text = f"The job is {job.state}; how its scores are distributed is told when it is final."
        yield _section("Scores", tag("p", text))
        return
    if not job.rows_scored:
        yield _section("Scores", tag("p", f"This job has no rows: {why_no_rows(job)}"))
    else:
        yield _section("Scores", *_scores(summary))
    if summary.features:
        yield _section("Missing values of the input", *_features(summary))


def _scores(summary: JobSummary) -> Iterator[Element]:
    for place, found in enumerate(summary.scores[:MOST_PLOTS]):
        plot = _score_plot(f"score-{place}", found)
        if plot is not None:
            missing = f"{found.missing:,} missing" if found.missing else "none missing"
            far = far_values(found.numbers) if found.numbers else ""
            text = f": {counted(found.count, 'value')}, {missing}{'. ' if far else ''}{far}"
            caption = tag("figcaption", tag("code", found.name), text)
            yield tag("figure", caption, plot)
    heads = ("column", "values", "missing", "mean", "std", "min", "25 %", "median", "75 %", "max")
    yield _table("Figures of each score column", heads, [_figures(found) for found in summary.scores])
    if any(found.numbers and found.numbers.sampled for found in summary.scores):
        yield tag("p", "Quartiles with ~ are of a random choice of some million values.", class_="muted")
    infinite = [found for found in summary.scores if found.numbers and found.numbers.infinite]
    for found in infinite:
        count = found.numbers.infinite if found.numbers else 0
        text = f": {counted(count, 'value')} infinite, and not in its figures."
        yield tag("p", tag("code", found.name), text, class_="muted")


def _score_plot(key: str, found: Distribution) -> Element | None:
    if found.numbers is not None:
        if found.numbers.minimum == found.numbers.maximum:
            return tag("p", f"Each of them is {number(found.numbers.minimum)}.")
        text = _in_words(found.numbers)
        return plots.histogram(key, found.name, found.numbers.edges, found.numbers.counts, text)
    if found.frequent:
        rows = [(value, count, f"{count:,} ({share(count, found.count)})") for value, count in found.frequent]
        text = "; ".join(f"{value}: {figure}" for value, _, figure in rows[:5])
        title, most = f"Most frequent values of {found.name}", found.frequent[0][1]
        return plots.named_bars(key, title, rows, most, text)
    return None


def _in_words(numbers: Numbers) -> str:
    low, median, high = map(number, numbers.quartiles)
    return (
        f"From {number(numbers.minimum)} to {number(numbers.maximum)}; half of the values lie between {low} and {high}, "
        f"the median is {median}."
    )


def _figures(found: Distribution) -> list[str]:
    cells = [found.name, f"{found.count:,}", f"{found.missing:,}"]
    if (numbers := found.numbers) is None:
        return cells + ["-"] * 7
    about = "~" if numbers.sampled else ""
    quartiles = [f"{about}{number(value)}" for value in numbers.quartiles]
    return [
        *(*cells, number(numbers.mean), number(numbers.std), number(numbers.minimum)),
        *(*quartiles, number(numbers.maximum)),
    ]


def _features(summary: JobSummary) -> Iterator[Element]:
    lacking = sorted(
        (feature for feature in summary.features if feature.missing), key=lambda feature: -feature.missing
    )
    rows = counted(summary.input_rows, "input row")
    if not lacking:
        yield tag("p", f"None of {counted(len(summary.features), 'feature')} is missing in any of {rows}.")
        return
    features = counted(len(summary.features), "feature")
    told = f"Features that are NULL or NaN in some of {rows}: {len(lacking):,} of {features}"
    more = f"; the {MOST_BARS} that are missing most" if len(lacking) > MOST_BARS else ""
    yield tag("p", f"{told}{more}. A full bar is every row.")
    bars = [
        (feature.name, feature.missing, f"{feature.missing:,} ({share(feature.missing, summary.input_rows)})")
        for feature in lacking[:MOST_BARS]
    ]
    text = "; ".join(f"{name}: {figure}" for name, _, figure in bars[:5])
    title = "Rows in which a feature is missing"
    yield tag("figure", plots.named_bars("missing", title, bars, summary.input_rows, text))


def _throughput(paper: Paper) -> Iterator[Element]:
    job = paper.job
    if job.start_time is None or not paper.progress:
        return
    seconds = max(time for time, _ in paper.progress) - job.start_time
    rates = throughput(paper.progress, job.start_time, seconds)
    if len(rates) <= 1:
        text = f"All rows were committed within {duration(seconds)}: too soon for a plot."
        yield _section("Throughput", tag("p", text))
        return
    top = compact(max(rates))
    text = f"Over {duration(seconds)}, at most {top} input rows a second."
    yield _section("Throughput", tag("figure", plots.rate("throughput", seconds, rates, text)))


def throughput(points: Sequence[tuple[float, int]], start: float, seconds: float) -> list[float]:
    """Return the mean rate in rows a second in steps of equal length.

    Args:
        points: when how many rows were done, in order.
        start: when the job began to run.
        seconds: from then to the last point.
    """
    steps = min(RATES, max(1, len(points) // COMMITS_A_STEP))
    length = max(seconds, 1e-6) / steps
    rows = [0] * steps
    before = 0
    for time, done in points:
        place = min(max(int((time - start) / length), 0), steps - 1)
        rows[place] += max(done - before, 0)
        before = max(done, before)
    return [count / length for count in rows]


def _section(title: str, *children: Element) -> Element:
    return tag("section", tag("h2", title), *children)


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Element:
    """Return a table whose first column names its rows; without heads its cells are texts, else numbers."""
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    head = [tag("thead", tag("tr", *(tag("th", name, scope="col") for name in heads)))] if heads else []
    table = tag(
        "table", tag("caption", caption), *head, tag("tbody", *body), class_="figures" if heads else "facts"
    )
    return tag("div", table, class_="scrolls")
