"""Contexts and queues on the wire."""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from google.protobuf.duration_pb2 import Duration

from scorestream.context_records import ContextInfo, ContextSettings, QueueInfo
from scorestream.errors import InvalidArgumentError
from scorestream.v1 import context_pb2
from scorestream.wire import last, time_or_none

ATTRIBUTES = tuple(ContextSettings.__annotations__)
_TOLD = {field.name for field in fields(ContextInfo)} & set(ATTRIBUTES)


def context_name(context: str) -> str:
    """Return the resource name of a context that is given by its name or its resource name."""
    return context if context.startswith("contexts/") else f"contexts/{context}"


def context_message(name: str, settings: Mapping[str, Any]) -> context_pb2.Context:
    """Return a context for the wire; None stays unset.

    Raises:
        InvalidArgumentError: a name that is no attribute, or a value of the wrong type.
    """
    message = context_pb2.Context(name=name)
    for attribute, value in settings.items():
        if attribute not in ATTRIBUTES:
            near = difflib.get_close_matches(attribute, ATTRIBUTES, n=1)
            meant = f"; did you mean {near[0]}?" if near else f": {', '.join(ATTRIBUTES)}."
            raise InvalidArgumentError(
                f"A context has no attribute {attribute!r}{meant}", reason="UNKNOWN_ATTRIBUTE"
            )
        if value is None:
            continue
        try:
            _set(message, attribute, value)
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise InvalidArgumentError(
                f"{attribute} cannot be {value!r}: {error}", reason="BAD_ATTRIBUTE"
            ) from None
    return message


def context_info(message: context_pb2.Context) -> ContextInfo:
    """Return a context's description."""
    told = {name: _plain(getattr(message, name)) for name in _TOLD}
    if not message.HasField("task_timeout"):
        told["task_timeout"] = None
    return ContextInfo(
        name=last(message.name),
        etag=message.etag,
        built_in=message.built_in,
        owner=message.owner,
        created=time_or_none(message, "create_time"),
        updated=time_or_none(message, "update_time"),
        **told,
    )


def queue_info(message: context_pb2.Queue) -> QueueInfo:
    """Return a queue's description."""
    return QueueInfo(**{field.name: getattr(message, field.name) for field in fields(QueueInfo)})


def _set(message: context_pb2.Context, attribute: str, value: Any) -> None:
    field = getattr(message, attribute)
    if isinstance(field, Duration):
        field.FromNanoseconds(round(value * 1e9))
        field.SetInParent()
    elif hasattr(field, "items"):
        field.update(value)
    elif hasattr(field, "extend"):
        field.extend(value)
    else:
        setattr(message, attribute, value)


def _plain(value: Any) -> Any:
    if isinstance(value, Duration):
        return value.ToTimedelta().total_seconds()
    if hasattr(value, "extend"):
        return tuple(value)
    return dict(value) if hasattr(value, "items") else value
