"""Refusals that are collected lose nothing: one is raised as it is, several as one that tells of each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError
from scorestream_server.domain.faults import Faults

ERRORS = st.builds(
    ScorestreamError,
    st.sampled_from(ErrorCode),
    st.from_regex("[A-Z]{1,8}", fullmatch=True),
    st.text(max_size=20),
    st.lists(st.builds(FieldFault, st.text(max_size=5), st.text(max_size=5)), max_size=3).map(tuple),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)


def collect(found: list[tuple[str, ScorestreamError | None]]) -> ScorestreamError | None:
    """Run checks, each of which raises its error if it has one, and return what is raised in the end."""
    faults = Faults()
    for field, error in found:
        with faults.of(field):
            if error is not None:
                raise error
    try:
        faults.raise_any()
    except ScorestreamError as raised:
        return raised
    return None


def test_nothing_found_is_nothing_raised() -> None:
    """Checks that pass leave no trace."""
    assert collect([]) is None
    assert collect([("a", None), ("b", None)]) is None


@given(ERRORS)
def test_a_single_refusal_is_raised_as_it_is(error: ScorestreamError) -> None:
    """Code, reason, message, faults and metadata are those of the check."""
    assert collect([("a", None), ("b", error), ("c", None)]) is error


@given(
    st.lists(
        st.tuples(st.sampled_from(["spec.where", "spec.keep", "session"]), ERRORS), min_size=2, max_size=5
    )
)
def test_several_refusals_are_all_told(found: list[tuple[str, ScorestreamError]]) -> None:
    """The first gives code and reason; every message, fault and reason is in the whole."""
    raised = collect([*found])
    assert raised is not None
    first = found[0][1]
    assert (raised.code, raised.reason) == (first.code, first.reason)
    assert raised.message.startswith(f"{len(found)} things are wrong with this request.\n")
    rest = raised.message
    for field, error in found:
        sentence = f"{field}: {error.message}"
        assert sentence in rest or error.message.startswith(f"{field}:")
        rest = rest[rest.index(error.message) + len(error.message) :]
    told = [each for field, error in found for each in error.faults or [FieldFault(field, error.message)]]
    assert list(raised.faults) == told
    assert set(raised.metadata["reasons"].split(", ")) == {error.reason for _, error in found}
    assert raised.metadata.items() >= first.metadata.items()


def test_what_is_no_refusal_is_not_collected() -> None:
    """A fault of the program is not made the client's."""
    faults = Faults()
    with pytest.raises(ZeroDivisionError), faults.of("a"):
        raise ZeroDivisionError
    faults.raise_any()
