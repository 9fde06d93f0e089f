"""How versions of models are named: what a person types becomes a resource name, and that is taken apart again."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scorestream.errors import InvalidArgumentError
from scorestream.wire import model_label, model_name
from scorestream_server.api import names
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.labels import labels_fault
from scorestream_server.domain.model_name import ModelName, parse_model_name

MODELS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
ALIASES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,62}", fullmatch=True)
VERSIONS = st.integers(1, 999_999_999)
NAMES = st.one_of(
    st.builds(ModelName, MODELS),
    st.builds(ModelName, MODELS, VERSIONS),
    st.builds(ModelName, MODELS, alias=ALIASES),
)


@given(NAMES)
def test_a_name_is_taken_apart_into_what_it_was_made_of(name: ModelName) -> None:
    """On the server, and from what a person types, in each way that there is."""
    assert parse_model_name(name.resource) == name
    assert names.model_name("name", name.resource) == name
    typed = model_label(name.resource)
    assert model_name(typed) == model_name(name.resource) == name.resource
    if name.version:
        assert model_name(f"{name.model_id}/{name.version}") == name.resource
    if name.alias:
        assert names.model_alias("name", name.resource) == (name.model_id, name.alias)
    else:
        assert names.model_version("name", name.resource) == (name.model_id, name.version)


@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from(["models", "versions", "aliases", "m", "1", "é", ""])).map("/".join),
    )
)
@example("models/m/aliases/3")
@example("models/m/versions/0")
@example("models/m/versions/1\n")
@example("models/m/aliases/a/b")
def test_what_is_no_name_is_refused_and_nothing_else_is_lost(text: str) -> None:
    """A text either is the resource name of what it was taken apart into, or is refused with what is wanted."""
    found = parse_model_name(text)
    if found is not None:
        assert found.resource == text
        return
    for check in (names.model_name, names.model_version, names.model_alias):
        with pytest.raises(ScorestreamError) as caught:
            check("name", text)
        assert caught.value.reason == "INVALID_NAME"


@given(st.text())
def test_what_a_person_types_is_a_name_or_refused(text: str) -> None:
    """Nothing that is typed reaches another kind of resource."""
    with contextlib.suppress(InvalidArgumentError):
        assert model_name(text).startswith("models/")


@given(
    st.dictionaries(st.text(max_size=70), st.one_of(st.text(max_size=300), st.integers()), max_size=70),
    st.integers(0, 256),
)
def test_labels_are_named_and_printed_or_refused(labels: dict[str, object], longest: int) -> None:
    """What passes has at most 64 plain names and short texts; what does not is told by its name."""
    fault = labels_fault(labels, longest)
    if fault is None:
        assert len(labels) <= 64
        for name, text in labels.items():
            assert 1 <= len(name) <= 63
            assert name.isascii()
            assert isinstance(text, str)
            assert len(text) <= longest
            assert text.isprintable()
    else:
        assert fault[1]
        assert not fault[0] or fault[0] in labels
