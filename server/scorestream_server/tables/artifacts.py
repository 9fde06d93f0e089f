"""Artifacts of rows, in the files of partitions: columns that are marked, and that results do not show.

They lie where their rows lie, so what is committed, checked, linked and removed stays whole rows. Whoever reads a
partition's rows leaves them out, and so does a table that is made of such files.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.model import Artifact
from scorestream_server.domain.table import PartitionFile

_MARK = b"scorestream.artifact"


def with_artifacts(result: pa.Schema, artifacts: Sequence[Artifact]) -> pa.Schema:
    """Return the columns of a partition's file: those of the result, then its artifacts."""
    for artifact in artifacts:
        name = unused_name(f"artifact {artifact.name}", result.names)
        result = result.append(pa.field(name, pa.string(), metadata={_MARK: artifact.name.encode()}))
    return result


def unused_name(wanted: str, names: Sequence[str]) -> str:
    """Return a name for a column that no other one has."""
    while wanted in names:
        wanted += "_"
    return wanted


def artifact_columns(schema: pa.Schema) -> dict[str, int]:
    """Return the places of the columns with artifacts, by the artifacts' names."""
    marks = {place: (field.metadata or {}).get(_MARK) for place, field in enumerate(schema)}
    return {mark.decode(errors="replace"): place for place, mark in marks.items() if mark is not None}


def shown(schema: pa.Schema) -> pa.Schema:
    """Return a schema without artifacts."""
    hidden = set(artifact_columns(schema).values())
    if not hidden:
        return schema
    fields = [field for place, field in enumerate(schema) if place not in hidden]
    return pa.schema(fields, metadata=schema.metadata)


def without_artifacts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows without artifacts."""
    hidden = set(artifact_columns(batch.schema).values())
    if not hidden:
        return batch
    return batch.select([place for place in range(batch.num_columns) if place not in hidden])


def read_artifacts(
    file: PartitionFile, first: int, rows: int
) -> Iterator[tuple[int, dict[str, pa.StringScalar]]]:
    """Yield the artifacts of a partition's rows, by name in order; rows without any are passed over.

    Args:
        file: a committed partition.
        first: the first row of it.
        rows: how many.

    Yields:
        The row, from the beginning of the partition, and what it has.

    Raises:
        ScorestreamError: RESULT_DAMAGED.
    """
    try:
        with pa.memory_map(file.path) as mapped:
            reader = pa.ipc.open_file(mapped)
            places = sorted(artifact_columns(reader.schema).items())
            begin, end = 0, first + rows
            for part in range(reader.num_record_batches if places else 0):
                batch = reader.get_batch(part)
                skip = max(0, first - begin)
                here = batch.slice(skip, max(0, end - begin - skip))
                yield from _present(here, places, begin + skip)
                begin += batch.num_rows
                if begin >= end:
                    return
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ScorestreamError(
            ErrorCode.INTERNAL,
            "RESULT_DAMAGED",
            "The file of a partition is missing or damaged. Run the job again.",
            metadata={"path": file.path},
        ) from error


def _present(
    batch: pa.RecordBatch, places: Sequence[tuple[str, int]], at: int
) -> Iterator[tuple[int, dict[str, pa.StringScalar]]]:
    """Yield the rows with artifacts of a batch that begins at a row."""
    columns = {name: batch.column(place) for name, place in places}
    there = np.zeros(batch.num_rows, np.bool_)
    for column in columns.values():
        column.validate(full=True)
        there |= column.is_valid().to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(there).tolist():
        found = {name: column[row] for name, column in columns.items()}
        yield at + row, {name: value for name, value in found.items() if value.is_valid}
