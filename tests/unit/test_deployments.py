"""Where deployments go, what stands in their way, and what traces say: decided from plain values."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream_server.domain.context import ContextTags, with_tags
from scorestream_server.domain.deployment import Runtime, match, missing_tags, near_tag, why_none
from scorestream_server.domain.trace import TraceKind, TraceNode, grown

TAGS = st.frozensets(st.sampled_from(["a", "b", "c"]))
RUNTIMES = st.lists(
    st.builds(Runtime, st.text("xyz", min_size=1, max_size=4), TAGS, TAGS, st.integers(0, 5)),
    max_size=8,
    unique_by=lambda runtime: runtime.context,
)
TAG = st.sampled_from(["a", "b", "c", "d"])


@settings(max_examples=60)
@given(RUNTIMES, TAG, TAG)
def test_the_least_loaded_of_those_with_all_tags_is_taken_then_the_first_by_name(
    runtimes: list[Runtime], service: str, stage: str
) -> None:
    """Nobody that has both tags has less to do, nor as much and a smaller name; without one there is no match."""
    found = match(runtimes, service, stage)
    fit = [one for one in runtimes if service in one.service_tags and stage in one.stage_tags]
    assert (found is None) == (not fit)
    for other in fit:
        taken = next(one for one in fit if one.context == found)
        assert (taken.load, taken.context) <= (other.load, other.context)
    assert match(runtimes[::-1], service, stage) == found


@settings(max_examples=60)
@given(RUNTIMES, TAG, TAG)
def test_where_none_matches_the_missing_tags_are_named(
    runtimes: list[Runtime], service: str, stage: str
) -> None:
    """Whoever adds the tags that are told missing to the runtime that lacks the fewest has a match."""
    lacking = missing_tags(runtimes, service, stage)
    if match(runtimes, service, stage) is not None:
        assert lacking == []
        return
    assert lacking
    told = why_none(runtimes, service, stage)
    assert all(any(word in told for word in (repr(service), repr(stage))) for _ in lacking)
    if any(len(one.missing(service, stage)) == 1 for one in runtimes):
        assert len(lacking) == 1


def test_what_stands_in_the_way_is_told_with_the_names_that_are_near() -> None:
    """A tag that nobody has, with the one that was probably meant and who has it; or who lacks which of both."""
    prod = Runtime("prod", frozenset({"cc-fraud"}), frozenset({"PROD"}))
    dev = Runtime("dev", frozenset({"cc-fraud"}), frozenset({"DEV"}))
    told = why_none([prod, dev], "cc-frod", "PROD")
    assert told == "No runtime has service tag 'cc-frod' (did you mean 'cc-fraud', which 'prod' has?)"
    assert why_none([prod], "cc-fraud", "prod") == (
        "No runtime has stage 'prod' (did you mean 'PROD', which 'prod' has?)"
    )
    other = Runtime("other", frozenset({"churn"}), frozenset({"DEV"}))
    assert why_none([prod, other], "churn", "PROD") == (
        "No runtime has all of its tags: 'other' has not stage 'PROD', 'prod' has not service tag 'churn'"
    )
    assert missing_tags([prod, other], "churn", "PROD") == ["service tag 'churn'"]
    assert why_none([], "x", "Y") == "No runtime has service tag 'x' and no runtime has stage 'Y'"
    assert near_tag("uat", ["UAT", "uit"]) == "UAT"


@settings(max_examples=60)
@given(TAGS, TAGS, TAGS)
def test_tags_are_sets_and_what_is_added_is_there(
    have: frozenset[str], add: frozenset[str], remove: frozenset[str]
) -> None:
    """A change twice is the change once, so that it can be repeated; the other kind of tags is not touched."""
    old = ContextTags(tuple(sorted(have)), ("z",))
    change = ContextTags(tuple(add)), ContextTags(tuple(remove))
    new = with_tags(old, *change)
    assert set(new.service) == (have - remove) | add
    assert new.stage == ("z",)
    assert with_tags(new, *change) == new
    assert list(new.service) == sorted(new.service)


def _paths(nodes: Sequence[TraceNode]) -> list[list[str]]:
    """Return the ids on the ways from roots to leaves."""
    ways = [[node.id, *below] for node in nodes for below in (_paths(node.children) or [[]])]
    return [list(way) for way in ways]


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=8))
def test_trees_have_the_ways_of_their_chains_each_once(chains: list[list[str]]) -> None:
    """Nothing is lost and nothing is told twice: a chain that is the beginning of another is part of it."""
    nodes = [[TraceNode(TraceKind.JOB, name) for name in chain] for chain in chains]
    found = _paths(grown(nodes))
    assert len({tuple(way) for way in found}) == len(found)
    assert {tuple(way) for way in found} == {
        tuple(chain)
        for chain in chains
        if not any(len(other) > len(chain) and other[: len(chain)] == chain for other in chains)
    }
