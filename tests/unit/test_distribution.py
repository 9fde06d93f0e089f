"""Figures of result columns: NumPy's, whatever the cut into partitions and batches, and what lacks figures."""

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scorestream_server.tables.distribution as module
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.table import PartitionFile
from scorestream_server.tables.distribution import distribution
from scorestream_server.tables.results import attempt_path, write_partition

VALUES = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.floats(min_value=-1, max_value=1),
    st.sampled_from([0.0, 1.0, 2.0]),
)


def written(folder: Path, parts: Sequence[pa.Array], rows: int = 3) -> list[PartitionFile]:
    """Write a partition for each array, in batches of so many rows."""
    files = []
    for index, part in enumerate(parts):
        batch = pa.record_batch({"score": part})
        batches = [batch.slice(start, rows) for start in range(0, batch.num_rows, rows)]
        path = attempt_path(folder / f"part-{index}", 1)
        files.append(write_partition(path, batches, batch.schema))
    return files


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(VALUES, max_size=8), min_size=1, max_size=5))
def test_the_figures_are_numpys(parts: list[list[float | None]]) -> None:
    """Count, missing, infinite, mean, standard deviation, extremes and quartiles; every finite value in one bin."""
    with TemporaryDirectory() as folder:
        found = distribution(written(Path(folder), [pa.array(part, pa.float64()) for part in parts]), "score")
    values = np.array([value for part in parts for value in part if value is not None], np.float64)
    there = values[~np.isnan(values)]
    finite = there[np.isfinite(there)]
    assert (found.count, found.missing) == (len(there), sum(map(len, parts)) - len(there))
    if not len(finite):
        assert found.numbers is None
        return
    numbers = found.numbers
    assert numbers is not None
    assert (numbers.minimum, numbers.maximum) == (finite.min(), finite.max())
    assert numbers.infinite == len(there) - len(finite)
    assert sum(numbers.counts) + numbers.below + numbers.above == len(finite)
    assert numbers.below == (finite < numbers.edges[0]).sum()
    assert numbers.above == (finite > numbers.edges[-1]).sum()
    assert list(numbers.edges) == sorted(set(numbers.edges))
    if np.abs(finite).max() < 1e100:
        scale = np.abs(finite).max() or 1.0
        assert numbers.mean == pytest.approx(finite.mean(), abs=1e-9 * scale)
        assert numbers.std == pytest.approx((finite / scale).std() * scale, abs=1e-6 * scale)
        assert numbers.quartiles == pytest.approx(np.quantile(finite, [0.25, 0.5, 0.75]), abs=1e-9 * scale)


def test_of_very_many_values_quartiles_are_nearly_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random choice in bounded memory gives ranks that are off by little; all other figures stay exact."""
    monkeypatch.setattr(module, "VALUES_KEPT", 4_000)
    values = np.random.default_rng(5).exponential(size=60_000)
    files = written(tmp_path, [pa.array(part) for part in np.split(values, 6)], rows=500)
    found = distribution(files, "score").numbers
    assert found is not None
    assert found.sampled
    ranks = [np.mean(values <= quartile) for quartile in found.quartiles]
    assert ranks == pytest.approx([0.25, 0.5, 0.75], abs=0.04)
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.std == pytest.approx(values.std(), rel=1e-12)
    assert sum(found.counts) == 60_000


@pytest.mark.parametrize(
    ("values", "frequent"),
    [
        (pa.array(["b", "a", None, "b"]), (("b", 2), ("a", 1))),
        (pa.array([True, None, False, False]), (("false", 2), ("true", 1))),
        (pa.array([], pa.string()), ()),
    ],
)
def test_text_and_truth_values_are_counted(tmp_path: Path, values: pa.Array, frequent: Any) -> None:
    """The most frequent first; those that come equally often in order."""
    found = distribution(written(tmp_path, [values]), "score")
    assert found.frequent == frequent
    assert found.missing == values.null_count


def test_text_that_never_repeats_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after very many different values is not told, and nothing is counted wrongly."""
    monkeypatch.setattr(module, "MOST_DISTINCT", 50)
    values = pa.array(["often"] * 9 + [f"once {number}" for number in range(500)])
    found = distribution(written(tmp_path, [values]), "score").frequent
    assert found[0] == ("often", 9)
    assert len(found) == module.MOST_FREQUENT


def test_a_very_long_value_is_cut(tmp_path: Path) -> None:
    """A text of a megabyte is not carried into a report."""
    found = distribution(written(tmp_path, [pa.array(["x" * 1_000_000])]), "score")
    assert len(found.frequent[0][0]) == module.LONGEST_VALUE


def test_it_stops_when_told_and_says_which_file_is_damaged(tmp_path: Path) -> None:
    """Nobody waits for it; a file that is gone is named."""
    files = written(tmp_path, [pa.array([1.0, 2.0])])
    with pytest.raises(ScorestreamError) as caught:
        distribution(files, "score", lambda: True)
    assert caught.value.code is ErrorCode.CANCELLED
    Path(files[0].path).unlink()
    with pytest.raises(ScorestreamError, match=r"part-0.*damaged"):
        distribution(files, "score")


def test_integers_are_numbers(tmp_path: Path) -> None:
    """Also the largest ones, as far as a float64 tells them apart."""
    found = distribution(written(tmp_path, [pa.array([-(2**62), 0, None, 2**62], pa.int64())]), "score")
    assert found.numbers is not None
    assert (found.numbers.minimum, found.numbers.maximum) == (-(2.0**62), 2.0**62)
    assert math.isclose(found.numbers.mean, 0.0)
    assert found.missing == 1


def test_a_few_far_values_do_not_hide_the_others(tmp_path: Path) -> None:
    """They are counted beside the histogram, which shows where the others lie."""
    values = np.random.default_rng(6).normal(size=2_000)
    values[[3, 700]], values[9] = 1e9, -1e12
    found = distribution(written(tmp_path, [pa.array(values)], rows=500), "score").numbers
    assert found is not None
    assert (found.below, found.above, sum(found.counts)) == (1, 2, 1_997)
    assert (found.minimum, found.maximum) == (-1e12, 1e9)
    assert sum(count > 20 for count in found.counts) > 3
