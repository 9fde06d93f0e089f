"""An error becomes a status that every gRPC client takes, whatever it holds."""

from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.api.errors import MESSAGE_BYTES, TRAILER_BYTES, to_status
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, invalid

TEXTS = st.text(st.characters(exclude_categories=["Cs"])).map(lambda text: text * 50) | st.text(
    "ab é\n%", max_size=5_000
)
ERRORS = st.builds(
    ScorestreamError,
    st.sampled_from(ErrorCode),
    st.just("A_REASON"),
    TEXTS,
    st.lists(st.builds(FieldFault, TEXTS, TEXTS)),
    st.dictionaries(st.sampled_from(["line", "column", "text", "path"]), TEXTS),
)


def encoded(message: str) -> int:
    """Return how long a message is in ``grpc-message``."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != ord("%") else 3 for byte in message.encode())


@given(ERRORS)
def test_a_status_fits_into_the_trailers_that_clients_take(error: ScorestreamError) -> None:
    """With the message beside it and as base64 it has less than 8 KiB; gRPC drops all of what is larger."""
    status = to_status(error)
    assert encoded(status.message) <= MESSAGE_BYTES
    assert encoded(status.message) + status.ByteSize() * 4 / 3 <= TRAILER_BYTES
    assert status.message == error.message or (
        status.message.endswith("...") and error.message.startswith(status.message[:-3])
    )


def test_of_many_faults_the_first_are_told_and_the_rest_counted() -> None:
    """Nothing is left out in silence."""
    faults = [FieldFault(f"column_{place}", "missing") for place in range(2_000)]
    request = error_details_pb2.BadRequest()
    to_status(invalid("MODEL_DOES_NOT_FIT", "It does not fit.", faults)).details[1].Unpack(request)
    *told, last = request.field_violations
    assert len(told) > 100
    assert [violation.field for violation in told] == [fault.field for fault in faults[: len(told)]]
    assert last.description == f"and {2_000 - len(told):,} more"


def test_a_short_error_is_told_in_full() -> None:
    """What fits is not touched."""
    faults = [FieldFault("é" * 20, "missing"), FieldFault("b", "has type string")]
    status = to_status(invalid("MODEL_DOES_NOT_FIT", "100 % é\n  here", faults, line="1"))
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info) and status.details[1].Unpack(request)
    assert (status.message, info.reason, dict(info.metadata)) == (
        "100 % é\n  here",
        "MODEL_DOES_NOT_FIT",
        {"line": "1"},
    )
    assert [FieldFault(told.field, told.description) for told in request.field_violations] == faults
