"""How much is tried, and what came of it: sizes, time limits, seeds and figures of the fuzz tests."""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import psutil
import pytest

LONG_SECONDS = float(os.environ.get("FUZZ_SECONDS", "900"))
"""For all long forms together."""
SHORT_SEED = 20
T = TypeVar("T")


def sizes(short: int, long: int, share: float) -> pytest.MarkDecorator:
    """Run a test twice, with a `Plan` each: a few fixed cases, and in the long suite many random ones.

    Args:
        short: cases in every run of the suite, always the same ones.
        long: cases in the long suite, other ones each time.
        share: the part of `LONG_SECONDS` that the long form may take.
    """
    seed = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(1 << 32)))
    seconds = LONG_SECONDS * share
    many = pytest.param(
        Plan(long, seconds, seed), marks=[pytest.mark.long, pytest.mark.timeout(seconds + 300)], id="long"
    )
    return pytest.mark.parametrize("plan", [pytest.param(Plan(short, 60, SHORT_SEED), id="short"), many])


@dataclass(frozen=True, slots=True)
class Plan:
    """How many cases to try, for how many seconds at most, and from which seed."""

    cases: int
    seconds: float
    seed: int

    def each(self) -> Iterator[tuple[int, random.Random]]:
        """Yield each case's number and its own source of randomness, until the time is up."""
        end = time.monotonic() + self.seconds
        for number in range(self.cases):
            if time.monotonic() > end:
                return
            yield number, random.Random(f"{self.seed}/{number}")


@dataclass
class Figures:
    """What came of the cases of one test."""

    what: str
    plan: Plan
    codes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    began: float = field(default_factory=time.monotonic)
    memory: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """How many were tried."""
        return self.codes.total()

    def add(self, code: str, seconds: float) -> None:
        """Count a case."""
        self.codes[code] += 1
        self.slowest = max(self.slowest, seconds)

    def enough(self) -> None:
        """Fail where the time was up before all cases were tried."""
        if self.cases < self.plan.cases:
            pytest.fail(
                f"{self.what}: {self.cases:,} of {self.plan.cases:,} cases in {self.plan.seconds:,.0f} seconds; "
                "give the long suite more with FUZZ_SECONDS"
            )

    def __str__(self) -> str:
        codes = ", ".join(f"{code} {count:,}" for code, count in self.codes.most_common())
        took = time.monotonic() - self.began
        return (
            f"{self.what}: {self.cases:,} cases in {took:,.1f} s (seed {self.plan.seed}), slowest "
            f"{self.slowest:.2f} s; {codes}" + "".join(f"; {line}" for line in self.memory)
        )


def resident_mib(process: psutil.Process) -> float:
    """Return the memory that a process has in use, in MiB."""
    return float(process.memory_info().rss) / (1 << 20)


def chance(source: random.Random, probability: float) -> bool:
    """Return True so often."""
    return source.random() < probability


def either(source: random.Random, *ways: T) -> T:
    """Return one of several values."""
    return source.choice(ways)
