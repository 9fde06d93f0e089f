"""What is said of batches on the wire."""

from typing import Any

from scorestream.v1 import job_pb2, job_service_pb2
from scorestream_server.api import names
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.job import JobSpec


def parallel_count_from_wire(spec: job_pb2.JobSpec) -> int:
    """Return how many partitions of a job may run at the same time; 0 for any number.

    Raises:
        ScorestreamError: INVALID_PARALLEL_COUNT.
    """
    if spec.parallel_count < 0:
        fault = FieldFault("spec.parallel_count", "negative")
        raise invalid(
            "INVALID_PARALLEL_COUNT", "parallel_count must be 1 or more, or 0 for no limit.", [fault]
        )
    return spec.parallel_count


def batch_to_wire(spec: JobSpec) -> dict[str, Any]:
    """Return the fields of a job on the wire that are about batches."""
    return {"parallel_count": spec.parallel_count, "is_batch": spec.is_batch}


def service_of(request: job_service_pb2.ListJobsRequest) -> tuple[str, int] | None:
    """Return the service whose batches are asked for: a model and its version, 0 for all; None: all jobs are."""
    return names.model_version("batches_of", request.batches_of) if request.batches_of else None
