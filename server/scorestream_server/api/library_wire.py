"""Libraries: where their wire type and the domain's meet."""

from collections.abc import Sequence
from typing import Any

from scorestream.v1 import data_pb2
from scorestream_server.api.convert import timestamp
from scorestream_server.contexts.library_rules import ATTRIBUTES
from scorestream_server.contexts.rules import require_known
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.library import WORK, Library, library_name
from scorestream_server.domain.table import BackingStore, SourceChange

ALL = "*"
MOST_PATHS = 100
_STORE, _CHANGE = "BACKING_STORE_PREFERENCE_", "SOURCE_CHANGE_"


def store(value: BackingStore) -> "data_pb2.BackingStorePreference.ValueType":
    """Return where a table is to be mapped from, for the wire."""
    return data_pb2.BackingStorePreference.Value(_STORE + value.name)


def change(value: SourceChange) -> "data_pb2.SourceChange.ValueType":
    """Return what becomes of jobs when a source changes, for the wire."""
    return data_pb2.SourceChange.Value(_CHANGE + value.name)


def library(value: Library, tables: int) -> data_pb2.Library:
    """Return a library, with how many tables there are of it, for the wire."""
    return data_pb2.Library(
        name=value.name,
        library_id=value.library_id,
        transient=bool(value.session_id),
        tables=tables,
        path=value.path,
        backing_store=store(value.backing_store),
        on_source_change=change(value.on_source_change),
        copies=value.copies,
        description=value.description,
        owner=value.owner,
        etag=value.etag,
        create_time=None if value.origin else timestamp(value.create_time),
        update_time=None if value.origin else timestamp(value.update_time),
        built_in=bool(value.origin),
    )


def work_library(session_id: str, tables: int) -> data_pb2.Library:
    """Return the library of a session's own tables for the wire."""
    name = library_name(session_id, WORK)
    return data_pb2.Library(name=name, library_id=WORK, transient=True, tables=tables)


def attributes(message: data_pb2.Library) -> dict[str, Any]:
    """Return the attributes that a message sets, by name, as the rules take them."""
    found: dict[str, Any] = {"path": message.path, "description": message.description}
    if message.backing_store:
        found["backing_store"] = _word(data_pb2.BackingStorePreference, message.backing_store, _STORE)
    if message.on_source_change:
        found["on_source_change"] = _word(data_pb2.SourceChange, message.on_source_change, _CHANGE)
    if message.HasField("copies"):
        found["copies"] = message.copies
    return {name: value for name, value in found.items() if value or name == "copies"}


def changed(old: Library, message: data_pb2.Library, paths: Sequence[str]) -> dict[str, Any]:
    """Return the attributes of a library after an update.

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
    kept = attributes(library(old, 0))
    return {name: said for name, said in kept.items() if name not in moved} | {
        name: said for name, said in given.items() if name in moved
    }


def _word(kind: Any, number: int, prefix: str) -> str:
    """Return the word for a number of an enum; one that is none of its is told as it is."""
    known = number in kind.values()
    return str(kind.Name(number)).removeprefix(prefix).lower() if known else str(number)
