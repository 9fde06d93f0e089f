"""Signals: what is one, and what is told of what is none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.signal import (
    DEPLOYED_BATCH_JOB,
    MOST_BYTES,
    OPTIONAL,
    REQUIRED,
    check_pattern,
    filled,
    parse,
)

DOCUMENT = b"""{
"name": "com.modelop.mlc.definitions.Signals_DEPLOYED_BATCH_JOB",
"variables": {
"TAG": {
"value": "model-service-tag"
},
"MODEL_STAGE": {
"value": "PROD"
}
}
}"""
"""As the source system's documentation has it, byte for byte."""
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*REQUIRED, *OPTIONAL, "name", "variables", "value", "type", "TAGS"])
NEAR_SIGNALS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from([DEPLOYED_BATCH_JOB, "other", "", 1]),
        "variables": st.dictionaries(
            NAMES, st.dictionaries(NAMES, JSON | st.just("PROD"), max_size=3) | JSON, max_size=4
        ),
        "executionId": JSON,
    },
)


def signal(name: Any = DEPLOYED_BATCH_JOB, **variables: Any) -> bytes:
    """Return a document with TAG and MODEL_STAGE, or with what is given instead; None leaves one out."""
    given = {"TAG": {"value": "cc-fraud"}, "MODEL_STAGE": {"value": "PROD"}} | variables
    return json.dumps(
        {"name": name, "variables": {key: value for key, value in given.items() if value is not None}}
    ).encode()


def refused(document: bytes) -> ScorestreamError:
    with pytest.raises(ScorestreamError) as caught:
        parse(document)
    return caught.value


def test_the_documents_of_the_source_system_are_signals() -> None:
    """The example as it stands; a byte order mark, Camunda's type and the optional variables are taken, too."""
    found = parse(DOCUMENT)
    assert found.name == DEPLOYED_BATCH_JOB
    assert found.variables == {"TAG": "model-service-tag", "MODEL_STAGE": "PROD"}
    assert parse(b"\xef\xbb\xbf" + DOCUMENT) == found
    typed = {"value": "scores/{date}/{process}.parquet", "type": "String"}
    assert parse(signal(OUTPUT=typed, INPUT={"value": "in.parquet"})).variables == {
        "TAG": "cc-fraud",
        "MODEL_STAGE": "PROD",
        "INPUT": "in.parquet",
        "OUTPUT": "scores/{date}/{process}.parquet",
    }


@pytest.mark.parametrize(
    ("document", "reason", "told"),
    [
        (b"", "BAD_SIGNAL", "no JSON"),
        (b"\xff\xfe", "BAD_SIGNAL", "no JSON"),
        (b"[" * 50_000, "BAD_SIGNAL", "nested too deeply"),
        (b"[]", "BAD_SIGNAL", "it is a list"),
        (b"NaN", "BAD_SIGNAL", "NaN is no JSON"),
        (b'{"name": "a", "name": "b"}', "BAD_SIGNAL", "'name' is there twice"),
        (b'{"variables": {}}', "BAD_SIGNAL", "The signal has no name"),
        (signal(name=7), "BAD_SIGNAL", "The signal's name is a number"),
        (signal(name=DEPLOYED_BATCH_JOB.lower()), "UNKNOWN_SIGNAL", f"did you mean {DEPLOYED_BATCH_JOB}?"),
        (signal(name="rubbish"), "UNKNOWN_SIGNAL", f"there is {DEPLOYED_BATCH_JOB}"),
        (signal(TAG=None), "MISSING_VARIABLE", "Variable TAG is missing"),
        (signal(MODEL_STAGE={"value": " "}), "MISSING_VARIABLE", "Variable MODEL_STAGE is empty"),
        (signal(TAG="cc-fraud"), "BAD_SIGNAL", "Variable TAG has to be an object with a value"),
        (signal(TAG={"value": 1}), "BAD_SIGNAL", "Variable TAG is a number"),
        (signal(TAG={"value": "a\nb"}), "BAD_SIGNAL", "can be printed"),
        (signal(TAG={"value": "\ud800"}), "BAD_SIGNAL", "can be printed"),
        (signal(TAG={"value": "a", "type": "Integer"}), "BAD_SIGNAL", "type 'Integer'"),
        (signal(TAG={"value": "a", "valueInfo": {}}), "BAD_SIGNAL", "no 'valueInfo'"),
        (signal(OUTPT={"value": "a"}), "BAD_SIGNAL", "no variable 'OUTPT'; did you mean OUTPUT?"),
        (signal(OUTPUT={"value": "{day}.csv"}), "BAD_SIGNAL", "no placeholder {day}"),
        (DOCUMENT[:-1] + b', "withoutTenantId": true}', "BAD_SIGNAL", "no 'withoutTenantId'"),
    ],
)
def test_what_is_wrong_with_a_signal_is_told(document: bytes, reason: str, told: str) -> None:
    """Each fault by its name, with what was probably meant."""
    error = refused(document)
    assert (error.code, error.reason) == (ErrorCode.INVALID_ARGUMENT, reason)
    assert told in error.message


def test_all_faults_are_told_at_once() -> None:
    """Both variables that are missing, and the one too many."""
    error = refused(b'{"name": "%s", "variables": {"TAGS": {"value": "a"}}}' % DEPLOYED_BATCH_JOB.encode())
    assert {fault.field for fault in error.faults} >= {
        "signal.variables.TAG",
        "signal.variables.MODEL_STAGE",
    }
    assert "'TAGS'; did you mean TAG?" in error.message


def test_a_signal_too_large_is_refused_before_it_is_read() -> None:
    """With the limit."""
    error = refused(b" " * (MOST_BYTES + 1))
    assert (error.code, error.metadata["limit"]) == (ErrorCode.RESOURCE_EXHAUSTED, str(MOST_BYTES))


@given(st.binary(max_size=200) | st.builds(lambda value: json.dumps(value).encode(), JSON | NEAR_SIGNALS))
def test_any_document_is_a_signal_or_is_refused_in_words(document: bytes) -> None:
    """Whatever it is: texts by the known names, or one error that can be sent."""
    try:
        found = parse(document)
    except ScorestreamError as refusal:
        error = refusal
    else:
        assert set(REQUIRED) <= set(found.variables) <= {*REQUIRED, *OPTIONAL}
        assert all(value.strip() for value in found.variables.values())
        return
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.message.encode()
    assert all(fault.description.encode() for fault in error.faults)


@given(st.text("ab/{}processdate", max_size=30))
def test_placeholders_that_are_let_in_are_filled(text: str) -> None:
    """What the check lets pass has nothing left to fill, and nothing else changes."""
    try:
        check_pattern("output", text)
    except ScorestreamError:
        return
    made = filled(text, "P", "2026-11-22")
    assert made == text.replace("{process}", "P").replace("{date}", "2026-11-22")
