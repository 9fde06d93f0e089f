"""What a job's result looks like: figures of each score column, and what its input lacked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Numbers:
    """The finite values of a column of numbers.

    Attributes:
        std: the standard deviation of the population.
        quartiles: of all values, or of a random choice of them where there are very many (`sampled`).
        edges: of the histogram's bins, one more than `counts`.
        below: values below the first edge, far from all others.
        above: values above the last one.
        infinite: values that are not finite, and not in the other figures.
    """

    mean: float
    std: float
    minimum: float
    quartiles: tuple[float, float, float]
    maximum: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    below: int = 0
    above: int = 0
    sampled: bool = False
    infinite: int = 0


@dataclass(frozen=True, slots=True)
class Distribution:
    """One score column.

    Attributes:
        name: the column's.
        count: values that are there.
        missing: values that are NULL or NaN.
        numbers: of a column of numbers with at least one finite value.
        frequent: the most frequent values of a column of text or truth values, and how often each is there.
    """

    name: str
    count: int
    missing: int
    numbers: Numbers | None = None
    frequent: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureMissing:
    """How many of the rows that were scored lack a feature (NULL or NaN)."""

    name: str
    missing: int


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What can be told of a job's rows once it is final.

    Attributes:
        scores: its score columns, in order.
        input_rows: input rows that `where` kept, and that features were counted in.
        features: its features, in the model's order.
        notes: what could not be looked at, and why.
    """

    scores: tuple[Distribution, ...] = ()
    input_rows: int = 0
    features: tuple[FeatureMissing, ...] = ()
    notes: tuple[str, ...] = ()
