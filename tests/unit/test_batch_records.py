"""Batches on the client's side: states as names, versions, records, and rows found by their records."""

import itertools
from string import ascii_letters, digits
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream.batch_input import record_of, records_of
from scorestream.batch_records import BatchState, Execution, batch_state, version_reference
from scorestream.batch_rows import BatchRows
from scorestream.errors import FailedPreconditionError, InvalidArgumentError
from scorestream.records import State

NAMES = ["ready", "pending", "inProgress", "complete", "failed", "canceled"]
COLUMNS = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=5, unique=True)
VALUES = st.one_of(st.none(), st.floats(allow_nan=False, width=32), st.integers(-1000, 1000).map(float))


@given(st.sampled_from(list(BatchState)), st.sampled_from(NAMES), st.data())
def test_a_state_equals_its_name_in_any_case_and_no_other(
    state: BatchState, name: str, data: st.DataObject
) -> None:
    spelled = "".join(data.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in name)
    same = state.value == name
    assert (state == spelled) is (spelled == state) is same
    assert (state != spelled) is (spelled != state) is not same
    assert (state == BatchState(name)) is same
    assert (state in dict.fromkeys([name])) is same
    assert state() is state


def test_every_state_of_a_job_is_one_of_a_batch() -> None:
    assert {state: batch_state(state).value for state in State} == {
        State.PENDING: "pending",
        State.RUNNING: "inProgress",
        State.CANCELLING: "inProgress",
        State.SUCCEEDED: "complete",
        State.SUCCEEDED_WITH_WARNINGS: "complete",
        State.FAILED: "failed",
        State.TIMED_OUT: "failed",
        State.CANCELLED: "canceled",
    }
    assert all(batch_state(state).final is state.final for state in State)
    assert BatchState.CANCELED == "Cancelled"
    assert BatchState.COMPLETE.__eq__(1) is NotImplemented


@given(st.integers(1, 999_999_999), st.sampled_from(["{}", "v{}", "{}.0", "v{}.0.0", "{}.00"]))
def test_a_version_has_several_spellings(version: int, spelling: str) -> None:
    assert version_reference(spelling.format(version)) == version_reference(version) == str(version)


@given(st.one_of(st.text(max_size=12), st.text("v10.", max_size=8)))
def test_what_is_no_version_and_no_alias_is_said(text: str) -> None:
    """A version is a number, maybe with a v before it and zeros behind it; what begins with a letter else is an alias."""
    first, *rest = text.removeprefix("v").split(".")
    number = first.isascii() and first.isdigit() and len(first) < 10 and not first.startswith("0")
    if number and all(part and not part.strip("0") for part in rest):
        assert version_reference(text) == first
    elif text[:1].isascii() and text[:1].isalpha() and set(text) <= set(ascii_letters + digits + "_.-"):
        assert version_reference(text) == text
    else:
        with pytest.raises(InvalidArgumentError, match="no version"):
            version_reference(text)


@given(COLUMNS, st.integers(0, 20), st.data())
def test_records_are_the_same_table_however_they_are_held(
    names: list[str], count: int, data: st.DataObject
) -> None:
    """Only what the service reads is there, in the records' order; None and NaN are missing values."""
    wanted = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    columns = {name: data.draw(st.lists(VALUES, min_size=count, max_size=count)) for name in names}
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    expected = {name: columns[name] for name in names if name in wanted}
    held: list[Any] = [columns, pd.DataFrame(columns, dtype=np.float64), pa.table(columns)]
    for records in [*held, rows] if rows else held:
        found = records_of(records, wanted)
        assert found.reader().read_all().to_pydict() == expected
        assert (found.count, found.again) == (count, True)
        assert (set(found.columns), set(found.ignored)) == (set(wanted), set(names) - set(wanted))
        assert found.reader().read_all().num_rows == count  # a second time, too


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5), min_size=1))
def test_lists_of_different_lengths_are_told_with_their_lengths(lengths: dict[str, int]) -> None:
    lists = {name: [1.0] * length for name, length in lengths.items()}
    if len(set(lengths.values())) == 1:
        assert records_of(lists, list(lengths)).count == next(iter(lengths.values()))
        return
    with pytest.raises(InvalidArgumentError) as caught:
        records_of(lists, list(lengths))
    assert caught.value.reason == "UNEQUAL_LENGTHS"
    assert [fault.field for fault in caught.value.faults] == list(lengths)
    assert all(f"{name!r} has {length}" in caught.value.message for name, length in lengths.items())


def test_a_stream_is_read_once() -> None:
    """What would be an empty batch at a second start is an error instead."""
    records = records_of(pa.table({"a": [1.0], "b": [2.0]}).to_reader(), ["b"])
    assert (records.again, records.ignored) == (False, ("a",))
    assert records.reader().read_all().to_pydict() == {"b": [2.0]}
    with pytest.raises(FailedPreconditionError, match="read once"):
        records.reader()


def test_a_column_without_any_value_is_of_its_inputs_kind() -> None:
    found = records_of({"a": [None], "b": [None]}, ["a", "b"], ["b"]).reader().schema
    assert found.types == [pa.float64(), pa.string()]


def test_inputs_by_position_are_all_sent() -> None:
    assert records_of({"x": [1], "y": [2]}, ["", ""]).columns == ("x", "y")
    assert records_of([], ["", ""]).count == 0
    assert record_of([1, 2], {}, ["", ""]) == {"column_0": [1], "column_1": [2]}


def test_one_record_is_given_by_position_or_name() -> None:
    assert (
        record_of([1], {"b": 2}, ["a", "b"])
        == record_of([{"a": 1, "b": 2}], {}, ["a", "b"])
        == {"a": [1], "b": [2]}
    )


@given(st.lists(st.integers(0, 3), max_size=60), st.data())
def test_rows_are_found_by_their_records_though_some_are_missing(
    steps: list[int], data: st.DataObject
) -> None:
    """As when a batch was cancelled: between what was scored are records that were not."""
    numbers = list(itertools.accumulate(1 + step for step in steps))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(numbers)), max_size=5)))
    rows = BatchRows("n")
    for start, end in itertools.pairwise([0, *cuts, len(numbers)]):
        part = numbers[start:end]
        rows.add(
            pa.record_batch(
                {"n": pa.array(part, pa.int64()), "s": pa.array([str(number) for number in part])}
            )
        )
        rows.add(
            pa.record_batch(
                {"n": pa.array(numbers[:end], pa.int64()), "s": pa.array([str(one) for one in numbers[:end]])}
            )
        )
    assert len(rows) == len(numbers)  # what comes twice counts once
    assert rows.numbers().tolist() == numbers
    assert list(rows.rows()) == [(number, {"s": str(number)}) for number in numbers]
    for index in range(max(numbers, default=0) + 2):
        position = rows.position(index)
        assert position == (numbers.index(index) if index in numbers else None)
        if position is not None:
            assert rows.row(position) == {"s": str(index)}


def test_an_output_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(InvalidArgumentError, match=r"there are: none\. It failed: no number"):
        Execution(0, success=False, error="no number").output("answer")
