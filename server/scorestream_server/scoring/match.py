"""Matching a model's features to a table's columns; every fault at once, before a job starts."""

import pyarrow as pa
import pyarrow.types as pat

from scorestream_server.domain.errors import FieldFault, counted, invalid
from scorestream_server.domain.model import Feature, ModelKind, ModelSchema
from scorestream_server.scoring.nearest import MOST_SHOWN, nearest


def match_columns(model: ModelSchema, columns: pa.Schema) -> tuple[str, ...]:
    """Return the column that feeds each feature, in the order of the features.

    Features are matched by name; those of a model without names by position, and then the table must have
    exactly as many columns as the model has features. Further columns are ignored.

    Raises:
        ScorestreamError: INVALID_ARGUMENT, MODEL_DOES_NOT_FIT, with one fault for each missing column and
            each column of a wrong type.
    """
    if model.positional:
        if len(columns) != len(model.features):
            raise invalid(
                "MODEL_DOES_NOT_FIT",
                "The model has no feature names, so it takes the table's columns in their order: "
                f"{counted(len(model.features), 'column')}, and the table has {len(columns)}. Load a table with "
                "just these columns, or train the model on named columns.",
            )
        names = tuple(columns.names)
    else:
        names = tuple(feature.name for feature in model.features)
    faults: list[FieldFault] = []
    for name, feature in zip(names, model.features, strict=True):
        description = _description(model.kind, name, feature, columns, suggest=len(faults) < MOST_SHOWN)
        if description:
            faults.append(FieldFault(name, description))
    if faults:
        shown = "; ".join(f"{fault.field}: {fault.description}" for fault in faults[:MOST_SHOWN])
        more = f"; and {len(faults) - MOST_SHOWN:,} more" if len(faults) > MOST_SHOWN else ""
        raise invalid("MODEL_DOES_NOT_FIT", f"The table does not fit the model. {shown}{more}.", faults)
    return names


def _description(kind: ModelKind, name: str, feature: Feature, columns: pa.Schema, *, suggest: bool) -> str:
    """Return what is wrong with the column of a feature, or nothing."""
    index = columns.get_field_index(name)
    if index < 0:
        near = nearest(name, columns.names) if suggest else None
        return f"missing (did you mean {near!r}?)" if near else "missing"
    if kind.score_code:  # its own compiler knows which types each place takes
        return ""
    found = columns.field(index).type
    number = pat.is_integer(found) or pat.is_floating(found) or pat.is_boolean(found) or pat.is_null(found)
    text = pat.is_string(found) or pat.is_large_string(found)
    if number or (text and feature.categories):
        return ""
    wanted = "text or a number" if feature.categories else "a number"
    return f"has type {found}, the model takes {wanted}"
