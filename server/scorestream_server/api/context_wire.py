"""Contexts and queues: where their wire types and the domain's meet."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from scorestream.v1 import context_pb2, context_service_pb2, worker_pb2
from scorestream_server.api.convert import duration, timestamp
from scorestream_server.contexts.rules import ATTRIBUTES, check_name, check_tags, require_known
from scorestream_server.domain.context import Context, ContextTags, attributes_of
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.queue import QueueLoad
from scorestream_server.workers.contexts import ContextWorker

_FIELDS = context_pb2.Context.DESCRIPTOR.fields_by_name
_OPTIONAL = ("task_timeout",)
"""Times that mean nothing where they are 0."""
ALL = "*"
MOST_PATHS = 100


def context_name(context_id: str) -> str:
    """Return a context's resource name."""
    return f"contexts/{context_id}"


def context_id(field: str, name: str) -> str:
    """Take `contexts/{context}` apart."""
    collection, _, found = name.partition("/")
    if collection != "contexts":
        description = f"{name[:80]!r} is not a valid name here; wanted: contexts/{{context}}"
        raise invalid("INVALID_NAME", f"{field}: {description}.", [FieldFault(field, description)])
    return check_name(field, found)


def context(value: Context) -> context_pb2.Context:
    """Return a context for the wire."""
    message = context_pb2.Context(
        name=context_name(value.id),
        owner=value.owner,
        etag=value.etag,
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
        built_in=value.built_in,
        allow_xcmd="false",
    )
    for name, said in attributes_of(value.settings).items():
        _set(message, name, said)
    return message


def attributes(message: context_pb2.Context) -> dict[str, Any]:
    """Return the attributes that a message sets, by name; times in seconds."""
    return {field.name: _plain(value) for field, value in message.ListFields() if field.name in ATTRIBUTES}


def changed(old: Context, message: context_pb2.Context, paths: Sequence[str]) -> dict[str, Any]:
    """Return the attributes of a context after an update.

    Args:
        old: as it is.
        message: the new values.
        paths: of the update's mask.

    Raises:
        ScorestreamError: INVALID_ARGUMENT, where a path is no attribute that can be changed.
    """
    given = attributes(message)
    if ALL in paths:
        return given
    faults = Faults()
    for path in paths[:MOST_PATHS]:
        with faults.of("update_mask"):
            require_known("update_mask", path, ATTRIBUTES)
    faults.raise_any()
    moved = set(paths or given)
    kept = attributes(context(old))
    return {name: said for name, said in kept.items() if name not in moved} | {
        name: said for name, said in given.items() if name in moved
    }


def tag_changes(request: context_service_pb2.TagContextRequest) -> tuple[ContextTags, ContextTags]:
    """Return the tags to add and those to remove, or refuse all that are none."""
    faults, found = Faults(), dict[str, tuple[str, ...]]()
    for name in ("add_service_tags", "add_stage_tags", "remove_service_tags", "remove_stage_tags"):
        with faults.of(name):
            found[name] = check_tags(name, list(getattr(request, name)))
    faults.raise_any()
    return (
        ContextTags(found["add_service_tags"], found["add_stage_tags"]),
        ContextTags(found["remove_service_tags"], found["remove_stage_tags"]),
    )


def queue(value: QueueLoad) -> context_pb2.Queue:
    """Return a queue for the wire."""
    return context_pb2.Queue(
        name=value.queue.name,
        weight=value.queue.weight,
        running_jobs=value.running,
        waiting_jobs=value.waiting,
        running_jobs_limit=value.queue.running_jobs,
        waiting_jobs_limit=value.queue.waiting_jobs,
    )


def worker(value: ContextWorker) -> worker_pb2.Worker:
    """Return a worker for the wire."""
    return worker_pb2.Worker(
        pid=value.pid,
        device=value.device,
        lanes=value.lanes,
        state=worker_pb2.WorkerState.Value(f"WORKER_STATE_{value.state.value}"),
        sessions=value.sessions,
        sessions_given=value.sessions_given,
        state_duration=None if value.seconds is None else duration(value.seconds),
    )


def _set(message: context_pb2.Context, name: str, said: Any) -> None:
    if isinstance(said, dict):
        getattr(message, name).update(said)
    elif isinstance(said, tuple):
        getattr(message, name).extend(said)
    elif _FIELDS[name].message_type is Duration.DESCRIPTOR:
        if said or name not in _OPTIONAL:
            getattr(message, name).FromNanoseconds(round(said * 1e9))
            getattr(message, name).SetInParent()
    else:
        setattr(message, name, said)


def _plain(value: Any) -> Any:
    """Return a field's value as the rules take it."""
    if isinstance(value, Duration):
        return value.seconds + value.nanos / 1e9  # not ToTimedelta, which takes fewer than a message can hold
    if isinstance(value, str | bytes | bool | int | float):
        return value
    return dict(value) if hasattr(value, "items") else list(value)
