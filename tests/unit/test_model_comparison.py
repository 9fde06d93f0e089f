"""The comparison of two versions: nothing is left out, and nothing is made up."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream.model_comparison import compared
from scorestream.model_records import FeatureType, ModelFeature, ModelInfo, ModelOutput, ModelTraining

TEXTS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)
FEATURES = st.lists(
    st.builds(
        ModelFeature,
        st.sampled_from("abcde"),
        st.lists(st.sampled_from("xyz"), unique=True, max_size=2).map(tuple),
        st.sampled_from(FeatureType),
        st.sampled_from(["", "int"]),
    ),
    unique_by=lambda feature: feature.name,
    max_size=4,
).map(tuple)
INFOS = st.builds(
    ModelInfo,
    st.just("m"),
    st.integers(1, 9),
    st.sampled_from(["expression", "lightgbm"]),
    st.sampled_from("12"),
    st.integers(1, 2),
    FEATURES,
    st.just((ModelOutput("score", "float32"),)),
    st.just("words"),
    st.just("me"),
    st.just(datetime.now(UTC)),
    st.sampled_from(["", "c"]),
    TEXTS,
    st.just(()),
    TEXTS,
    st.builds(ModelTraining, objective=st.sampled_from("op"), trees=st.integers(1, 2)),
)


@settings(max_examples=50)
@given(INFOS, INFOS)
def test_versions_differ_in_something_exactly_where_they_are_not_alike(
    first: ModelInfo, second: ModelInfo
) -> None:
    """But for their own names; and what one has more, the other has less."""
    found, back = compared(first, second), compared(second, first)
    alike = replace(second, version=first.version) == first
    assert alike == (not found.differences)
    assert found.same_content == (
        first.digest == second.digest
        and [one.name for one in first.features] == [one.name for one in second.features]
    )
    told = {(one.what, one.name, repr(one.first), repr(one.second)) for one in found.differences}
    assert told == {(one.what, one.name, repr(one.second), repr(one.first)) for one in back.differences}
    came = {one.name for one in found.differences if one.what == "input" and one.first is None}
    assert came == {one.name for one in second.features} - {one.name for one in first.features}


def test_inputs_without_names_are_compared_by_place() -> None:
    """One more at the end is one that came."""
    info = ModelInfo("m", 1, "k", "d", 1, (ModelFeature(""),), (), "", "me", datetime.now(UTC))
    found = compared(info, replace(info, features=(ModelFeature(""), ModelFeature(""))))
    assert [(one.what, one.name, one.first) for one in found.differences] == [("input", "#1", None)]
