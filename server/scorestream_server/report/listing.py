"""The listing: a text report of one job, for terminals and files."""

from collections.abc import Iterator

from scorestream_server.domain.errors import counted
from scorestream_server.domain.log import printable
from scorestream_server.domain.paper import Paper
from scorestream_server.domain.summary import Distribution, Numbers
from scorestream_server.report.figures import facts, far_values, number, share, told_apart, why_no_rows

BAR = 40
MOST_FEATURES = 20


def listing(paper: Paper) -> str:
    """Return the listing of a job; each line ends with a line break."""
    return "".join(f"{line.rstrip()}\n" for line in _lines(paper))


def _lines(paper: Paper) -> Iterator[str]:
    job = paper.job
    title = f"Job {job.name} ({job.id})"
    yield title
    yield "=" * len(title)
    found = facts(paper)
    width = max(len(name) for name, _ in found)
    for name, text in found:
        yield f"{name:<{width}}  {text}"
    for line in paper.warnings:
        yield f"{line.type.value:<{width}}  {line.text}"
    summary = paper.summary
    if summary is None:
        yield ""
        yield f"The job is {job.state}; how its scores are distributed is told when it is final."
        return
    if job.rows_scored:
        for distribution in summary.scores:
            yield ""
            yield from _distribution(distribution)
    else:
        yield ""
        yield f"This job has no rows: {why_no_rows(job)}"
    lacking = [feature for feature in summary.features if feature.missing]
    if summary.features:
        yield ""
        yield (
            f"Missing values (NULL or NaN) in {counted(summary.input_rows, 'input row')}, "
            f"{counted(len(summary.features), 'feature')}: "
            + (f"{len(lacking):,} with some" if lacking else "none")
        )
        shown = sorted(lacking, key=lambda feature: -feature.missing)[:MOST_FEATURES]
        wide = max((len(printable(feature.name)) for feature in shown), default=0)
        for feature in shown:
            part = share(feature.missing, summary.input_rows)
            yield f"  {printable(feature.name):<{wide}}  {feature.missing:>15,}  {part:>8}"
        if len(lacking) > len(shown):
            yield f"  and {len(lacking) - len(shown):,} more"
    for note in summary.notes:
        yield ""
        yield printable(note)


def _distribution(found: Distribution) -> Iterator[str]:
    name = printable(found.name)
    missing = f"{found.missing:,} missing" if found.missing else "none missing"
    yield f"{name}: {counted(found.count, 'value')}, {missing}"
    if found.numbers is not None:
        yield from _numbers(found.numbers)
    elif found.frequent:
        wide = max(len(printable(value)) for value, _ in found.frequent)
        most = found.frequent[0][1]
        for value, count in found.frequent:
            yield f"  {printable(value):<{wide}}  {_bar(count, most)}  {count:>12,}  {share(count, found.count):>8}"


def _numbers(numbers: Numbers) -> Iterator[str]:
    about = "about " if numbers.sampled else ""
    low, median, high = map(number, numbers.quartiles)
    figures = [
        ("mean", number(numbers.mean)),
        ("std", number(numbers.std)),
        ("min", number(numbers.minimum)),
        ("25 %", about + low),
        ("median", about + median),
        ("75 %", about + high),
        ("max", number(numbers.maximum)),
    ]
    widths = [max(len(name), len(text)) for name, text in figures]
    yield "  " + "  ".join(f"{name:>{width}}" for (name, _), width in zip(figures, widths, strict=True))
    yield "  " + "  ".join(f"{text:>{width}}" for (_, text), width in zip(figures, widths, strict=True))
    if far := far_values(numbers):
        yield f"  {far}"
    if numbers.infinite:
        yield f"  infinite, and not in these figures: {numbers.infinite:,}"
    if numbers.minimum == numbers.maximum:
        return
    edges = told_apart(numbers.edges)
    wide = max(map(len, edges))
    most = max(numbers.counts)
    for place, count in enumerate(numbers.counts):
        span = f"{edges[place]:>{wide}} to {edges[place + 1]:>{wide}}"
        yield f"  {span}  {_bar(count, most)}  {count:>12,}"


def _bar(count: int, most: int) -> str:
    """Return a bar as long as its share of the longest one; what is there is never shown as nothing."""
    eighths = max(1, round(8 * BAR * count / most)) if count else 0
    full, rest = divmod(eighths, 8)
    return f"{'█' * full}{' ▏▎▍▌▋▊▉'[rest] if rest else ''}".ljust(BAR)
