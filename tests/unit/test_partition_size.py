"""How large partitions are: small enough to share lanes, large enough to be worth a commit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.engine.active import LARGEST_PARTITION, LARGEST_WORK, SMALLEST_WORK, partition_rows


@given(st.integers(0, 10**10), st.floats(1, 1e6))
def test_partitions_stay_within_their_bounds(rows: int, cost: float) -> None:
    """No partition takes a lane too long, and none of a divided table is too small to be worth it."""
    size = partition_rows(rows, cost)
    assert 1 <= size <= LARGEST_PARTITION
    assert size == 1 or size * cost <= LARGEST_WORK
    if size < min(rows, LARGEST_PARTITION, int(LARGEST_WORK / cost)):
        assert size * cost >= SMALLEST_WORK * 0.999


@pytest.mark.parametrize(
    ("rows", "cost", "partitions"),
    [
        (0, 100.0, 0),
        (100, 100.0, 1),
        (50_000, 100.0, 1),
        (50_000, 667.0, 1),
        (1_000_000, 100.0, 5),
        (5_000_000, 100.0, 20),
        (5_000_000, 1.0, 20),
        (5_000_000, 667.0, 50),
    ],
)
def test_known_tables(rows: int, cost: float, partitions: int) -> None:
    """Short jobs are one partition, long ones enough for every lane."""
    assert math.ceil(rows / partition_rows(rows, cost)) == partitions
