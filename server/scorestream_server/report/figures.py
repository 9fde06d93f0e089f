"""Numbers, times and axes as people read them."""

import math
import sys
import time
from collections.abc import Sequence

from scorestream_server.domain.errors import counted
from scorestream_server.domain.job import Job
from scorestream_server.domain.log import printable
from scorestream_server.domain.paper import Paper
from scorestream_server.domain.summary import Numbers

SIGNIFICANT = 6
MOST_DIGITS = 17
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float) -> str:
    """Return a number with six significant digits."""
    return f"{value:.{SIGNIFICANT}g}"


def compact(value: float, digits: int = 4) -> str:
    """Return a number as an axis shows it: ``0``, ``850``, ``12k``, ``1.5M``; very small and large ones as ``1e-07``."""
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        return f"{value:.{digits}g}"
    for unit, name in _UNITS:
        if size >= unit:
            return f"{value / unit:.{digits}g}{name}"
    return f"{value:.{digits}g}"


def told_apart(values: Sequence[float]) -> list[str]:
    """Return numbers as an axis shows them, with as many digits as it takes to tell them apart."""
    for digits in range(4, MOST_DIGITS):
        shown = [compact(value, digits) for value in values]
        if len(set(shown)) == len(set(values)):
            return shown
    return [compact(value, MOST_DIGITS) for value in values]


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`, about as many as wanted; `low` alone where there is no room."""
    width = high - low
    # Below the first number there are not digits enough for a step.
    if not wanted * sys.float_info.min < width < math.inf:
        return [low]
    rough = width / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    # An empty list where the numbers are so close that they differ in no digit of the step.
    return [place * step for place in range(first, last + 1)] or [low]


def share(part: int, whole: int) -> str:
    """Return a part in per cent; one that is there is never shown as none."""
    if not part or not whole:
        return "0 %"
    percent = 100 * part / whole
    return f"{percent:.1f} %" if percent >= 0.1 else "< 0.1 %"


def moment(seconds: float | None) -> str:
    """Return a time, UTC; None is ``-``."""
    if seconds is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def duration(seconds: float) -> str:
    """Return a duration: ``0.123 s``, ``12.3 s``, ``3:05 min``, ``1:02:03 h``."""
    if seconds < 60:
        return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def facts(paper: Paper) -> list[tuple[str, str]]:
    """Return what there is to say of a job beside its rows' values: name and text, in order; nothing empty."""
    job, spec = paper.job, paper.job.spec
    about = f" ({paper.model.schema.description})" if paper.model and paper.model.schema.description else ""
    found = [
        ("session", paper.session_name),
        ("state", job.state.value),
        ("model", f"{spec.model_id}@{spec.model_version}{about}"),
        ("table", spec.table_id),
        ("where", spec.where),
        ("keep", ", ".join(spec.keep)),
        ("rows", f"{job.rows_done:,} of {job.rows_total:,} read, {job.rows_scored:,} scored"),
        ("partitions", f"{job.partitions_done:,} of {job.partitions_total:,}"),
        ("created", moment(job.create_time)),
        ("waited", duration(job.start_time - job.create_time) if job.start_time else ""),
        ("ran", ran(job)),
        ("output", ", ".join(job.outputs)),
        ("failure", job.failure.message if job.failure else ""),
        ("goes on from", f"job {spec.resumes}" if spec.resumes else ""),
    ]
    return [(name, printable(text)) for name, text in found if text]


def ran(job: Job) -> str:
    """Return for how long a job ran, where and how fast; empty where it never began or has not ended."""
    if job.start_time is None or job.end_time is None:
        return ""
    seconds = max(job.end_time - job.start_time, 0.0)
    rate = f", {compact(job.rows_done / seconds)} rows/s" if seconds and job.rows_done else ""
    device = f" on {job.device}" if job.device else ""
    return f"{duration(seconds)}{rate}{device}"


def far_values(numbers: Numbers) -> str:
    """Return what a histogram leaves out; empty where that is nothing."""
    told = [
        f"{count:,} {where} {number(edge)}"
        for count, where, edge in (
            (numbers.below, "below", numbers.edges[0]),
            (numbers.above, "above", numbers.edges[-1]),
        )
        if count
    ]
    return f"Not in the histogram: {', '.join(told)}." if told else ""


def why_no_rows(job: Job) -> str:
    """Return why a final job has no result rows."""
    if not job.rows_total:
        return "its table is empty."
    if job.rows_done < job.rows_total:
        return f"it ended {job.state} before any was committed."
    return f"its filter kept none of {counted(job.rows_total, 'row')}."
