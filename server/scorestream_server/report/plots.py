"""Plots as SVG: bars over an axis of numbers, bars with names, and a rate over time."""

from collections.abc import Sequence

from scorestream_server.domain.log import printable
from scorestream_server.report.figures import compact, ticks, told_apart
from scorestream_server.report.markup import Element, tag

WIDTH, HEIGHT = 720, 280
LEFT, RIGHT, TOP, BOTTOM = 76, 28, 12, 48
ROW = 26
NAME_WIDTH, VALUE_WIDTH = 220, 150
LONGEST_NAME = 26
LONGEST_LABEL = 80


def histogram(key: str, label: str, edges: Sequence[float], counts: Sequence[int], text: str) -> Element:
    """Return a histogram.

    Args:
        key: unique in the page.
        label: what the x-axis shows.
        edges: of the bins.
        counts: rows in each.
        text: what is to be seen, for those who do not see it.
    """
    low, high, most = edges[0], edges[-1], max(counts)
    area = _Area(low, high, most)
    bars = [
        tag(
            "rect",
            tag("title", f"{compact(edges[place])} to {compact(edges[place + 1])}: {count:,} rows"),
            class_="bar",
            x=_px(area.x(edges[place])),
            y=_px(area.y(count)),
            width=_px(max(area.x(edges[place + 1]) - area.x(edges[place]) - 1, 1.0)),
            height=_px(HEIGHT - BOTTOM - area.y(count)),
        )
        for place, count in enumerate(counts)
        if count
    ]
    return _plot(key, f"Histogram of {label}", text, HEIGHT, *area.axes(label, "rows"), *bars)


def rate(key: str, seconds: float, rates: Sequence[float], text: str) -> Element:
    """Return rows a second over time, as steps of equal length from 0 to `seconds`."""
    area = _Area(0.0, seconds, max(rates))
    step = seconds / len(rates)
    points = [(0.0, 0.0)]
    for place, value in enumerate(rates):
        points += [(place * step, value), ((place + 1) * step, value)]
    points.append((seconds, 0.0))
    drawn = " ".join(f"{_px(area.x(x))},{_px(area.y(y))}" for x, y in points)
    line = tag("polygon", class_="area", points=drawn)
    axes = area.axes("seconds since the job began to run", "input rows per second")
    return _plot(key, "Throughput over time", text, HEIGHT, *axes, line)


def named_bars(key: str, title: str, rows: Sequence[tuple[str, int, str]], most: int, text: str) -> Element:
    """Return bars with names to the left and figures to the right.

    Args:
        key: unique in the page.
        title: what the bars show.
        rows: ``(name, length, figure)`` of each bar.
        most: the length that fills the plot.
        text: what is to be seen, for those who do not see it.
    """
    room = WIDTH - NAME_WIDTH - VALUE_WIDTH
    drawn: list[Element] = []
    for place, (name, length, figure) in enumerate(rows):
        middle = _px(place * ROW + ROW / 2 + 4)
        shown = printable(name)
        # In the middle: names that begin alike are told apart by their ends.
        half = LONGEST_NAME // 2
        cut = shown if len(shown) <= LONGEST_NAME else f"{shown[: half - 1]}…{shown[-half:]}"
        drawn += [
            tag("text", tag("title", name), cut, x=NAME_WIDTH - 8, y=middle, text_anchor="end"),
            tag(
                "rect",
                class_="bar",
                x=NAME_WIDTH,
                y=_px(place * ROW + 4.0),
                width=_px(max(room * length / most, 1.0) if length else 0.0),
                height=ROW - 8,
            ),
            tag("text", figure, x=WIDTH - 4, y=middle, text_anchor="end", class_="muted"),
        ]
    return _plot(key, title, text, len(rows) * ROW + 4, *drawn)


class _Area:
    """Where numbers lie in a plot with two axes."""

    def __init__(self, low: float, high: float, most: float) -> None:
        self.low, self.high = low, high
        self.most = most or 1.0

    def x(self, value: float) -> float:
        """Return where a value lies from left to right."""
        # By halves, for the width of the whole range may be more than a number can be.
        width = self.high / 2 - self.low / 2
        share = (value / 2 - self.low / 2) / width if width else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return where a value lies from top to bottom."""
        return HEIGHT - BOTTOM - value / self.most * (HEIGHT - BOTTOM - TOP)

    def axes(self, x_label: str, y_label: str) -> list[Element]:
        """Return lines, figures and labels of both axes."""
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        drawn: list[Element] = []
        heights, places = ticks(0.0, self.most, 4), ticks(self.low, self.high, 6)
        for value, text in zip(heights, told_apart(heights), strict=True):
            y = _px(self.y(value))
            drawn.append(tag("line", class_="grid", x1=LEFT, x2=right, y1=y, y2=y))
            drawn.append(
                tag("text", text, x=LEFT - 8, y=_px(self.y(value) + 4), text_anchor="end", class_="muted")
            )
        for value, text in zip(places, told_apart(places), strict=True):
            x = _px(self.x(value))
            drawn.append(tag("line", class_="axis", x1=x, x2=x, y1=bottom, y2=bottom + 5))
            drawn.append(tag("text", text, x=x, y=bottom + 18, text_anchor="middle", class_="muted"))
        drawn.append(tag("line", class_="axis", x1=LEFT, x2=right, y1=bottom, y2=bottom))
        shown = printable(x_label)
        cut = shown if len(shown) <= LONGEST_LABEL else f"{shown[: LONGEST_LABEL - 1]}…"
        middle = _px((LEFT + right) / 2)
        drawn.append(tag("text", cut, x=middle, y=HEIGHT - 8, text_anchor="middle", class_="label"))
        height = _px((TOP + bottom) / 2)
        drawn.append(
            tag(
                "text", y_label, x=14, y=height, text_anchor="middle", class_="label",
                transform=f"rotate(-90 14 {height})",
            )
        )  # fmt: skip
        return drawn


def _plot(key: str, title: str, text: str, height: float, *drawn: Element) -> Element:
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", text, id=f"{key}-text"),
        *drawn,
        viewBox=f"0 0 {WIDTH} {_px(height)}",
        role="img",
        aria_labelledby=f"{key}-title {key}-text",
    )


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
