"""Artifacts that score code makes of each row: what a registration may declare, and how large they may be."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.model import Artifact, ColumnType, ModelSchema, OutputColumn
from scorestream_server.scoring.nearest import nearest
from scorestream_server.scoring.row_errors import RowErrors

ARTIFACT_NAME = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9_ .-]{0,126}[A-Za-z0-9_-])?")
"""A file's name on every system: nothing that leads to another directory, and nothing that is hidden."""
MOST_ARTIFACTS = 32
MOST_ROW_BYTES = 1 << 20
"""Of all artifacts of a row."""


def declared(schema: ModelSchema, artifacts: Mapping[str, str]) -> ModelSchema:
    """Return a model's schema with some of its outputs as artifacts.

    Args:
        schema: what the model's file says.
        artifacts: outputs by the names of the files.

    Raises:
        ScorestreamError: INVALID_ARTIFACTS, with every fault.
    """
    if not artifacts:
        return schema
    outputs = {output.name: output for output in schema.outputs}
    folded = [name.casefold() for name in artifacts]
    faults = []
    if len(artifacts) > MOST_ARTIFACTS:
        faults.append(FieldFault("artifacts", f"more than {MOST_ARTIFACTS}"))
    for name, output in sorted(artifacts.items())[:MOST_ARTIFACTS]:
        why = "only score code makes artifacts"
        if schema.kind.score_code:
            why = _why_not(name, output, outputs)
        if not why and folded.count(name.casefold()) > 1:
            why = "another artifact has this name, but for upper and lower case"
        if why:
            faults.append(FieldFault(f"artifacts[{name[:128]}]", why))
    if not faults and outputs.keys() <= set(artifacts.values()):
        faults.append(FieldFault("artifacts", "no output is left; a result has at least one column"))
    if faults:
        told = "; ".join(f"{fault.field}: {fault.description}" for fault in faults)
        raise invalid("INVALID_ARTIFACTS", f"The artifacts cannot be made: {told}.", faults)
    given = set(artifacts.values())
    return replace(
        schema,
        outputs=tuple(output for output in schema.outputs if output.name not in given),
        artifacts=tuple(Artifact(name, output) for name, output in sorted(artifacts.items())),
    )


def _why_not(name: str, output: str, outputs: Mapping[str, OutputColumn]) -> str:
    """Return what is wrong with an artifact, or nothing."""
    if ARTIFACT_NAME.fullmatch(name) is None:
        return (
            "the name of a file has 1 to 128 letters, digits, blanks and _ - . (no blank or point at its ends), such as "
            "letter.txt"
        )
    found = outputs.get(output)
    if found is None:
        near = nearest(output[:128], list(outputs))
        return f"there is no output {output[:128]!r}" + (f" (did you mean {near!r}?)" if near else "")
    if found.type is not ColumnType.STRING:
        return f"output {output!r} is {found.type}, and an artifact is text; write CAST(... AS VARCHAR) or FORMAT(...)"
    return ""


def refuse_large(artifacts: Sequence[Artifact], columns: Sequence[pa.Array], errors: RowErrors) -> None:
    """Note the rows whose artifacts are larger than allowed."""
    if not artifacts:
        return
    sizes = sum(
        pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        for column in columns
    )
    places = np.flatnonzero(sizes > MOST_ROW_BYTES)
    if len(places):
        told = [
            f"its artifacts have {size:,} bytes; at most {MOST_ROW_BYTES:,} are allowed"
            for size in sizes[places]
        ]
        errors.add(places, told)
