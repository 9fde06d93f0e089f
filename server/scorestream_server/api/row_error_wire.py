"""What is asked of rows that cannot be scored, from the wire."""

from scorestream.v1 import job_pb2
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.row_error import OnRowError

_ASKED = {
    job_pb2.ON_ROW_ERROR_UNSPECIFIED: None,
    job_pb2.ON_ROW_ERROR_KEEP: OnRowError.KEEP,
    job_pb2.ON_ROW_ERROR_FAIL: OnRowError.FAIL,
}


def on_row_error_from_wire(spec: job_pb2.JobSpec) -> OnRowError | None:
    """Return what becomes of rows that cannot be scored; None where nothing is said.

    Raises:
        ScorestreamError: INVALID_ON_ROW_ERROR.
    """
    if spec.on_row_error not in _ASKED:
        raise invalid(
            "INVALID_ON_ROW_ERROR",
            f"on_row_error is {spec.on_row_error}, which this server does not know; it is KEEP (1) or FAIL (2).",
            [FieldFault("spec.on_row_error", "unknown")],
        )
    return _ASKED[spec.on_row_error]
