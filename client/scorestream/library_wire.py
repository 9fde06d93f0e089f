"""Where the client's values meet the wire for libraries, loads and descriptions of tables."""

import difflib
import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration

from scorestream.errors import InvalidArgumentError
from scorestream.library_records import (
    BackingStore,
    LibraryInfo,
    LibrarySettings,
    LoadSettings,
    SourceChange,
    TableDescription,
    TableSettings,
    TableSource,
)
from scorestream.v1 import data_pb2, job_pb2, table_action_service_pb2, table_service_pb2
from scorestream.wire import duration, table_info, time_of, time_or_none

Choice = TypeVar("Choice", bound=enum.StrEnum)
ATTRIBUTES = ("path", *LibrarySettings.__annotations__)
_STORE, _CHANGE = "BACKING_STORE_PREFERENCE_", "SOURCE_CHANGE_"
_OF_LOADS = tuple(LoadSettings.__annotations__)
_OF_TABLES = tuple(TableSettings.__annotations__)


def library_name(session_id: str, library: str) -> str:
    """Return the resource name of a library, given by its name or its resource name."""
    if "/" in library:
        return library
    return f"sessions/{session_id}/libraries/{library}" if session_id else f"libraries/{library}"


def library_message(name: str, settings: Mapping[str, Any]) -> data_pb2.Library:
    """Return a library for the wire; None stays unset.

    Raises:
        InvalidArgumentError: a name that is no attribute, or a value that none may have.
    """
    message = data_pb2.Library(name=name)
    for attribute, value in settings.items():
        _require_known("A library", attribute, ATTRIBUTES)
        if value is None:
            continue
        if attribute == "backing_store":
            message.backing_store = store_number(value)
        elif attribute == "on_source_change":
            message.on_source_change = change_number(value)
        else:
            try:
                setattr(message, attribute, str(value) if isinstance(value, Path) else value)
            except (TypeError, ValueError) as error:
                raise InvalidArgumentError(
                    f"{attribute} cannot be {value!r}: {error}", reason="BAD_ATTRIBUTE"
                ) from None
    return message


def library_info(message: data_pb2.Library) -> LibraryInfo:
    """Return a library's description."""
    return LibraryInfo(
        name=message.library_id,
        session_id=message.name.split("/")[1] if message.name.startswith("sessions/") else "",
        read_only=message.read_only,
        transient=message.transient,
        tables=message.tables,
        path=message.path,
        backing_store=_store(message.backing_store),
        on_source_change=_change(message.on_source_change),
        copies=message.copies if message.HasField("copies") else None,
        description=message.description,
        owner=message.owner,
        etag=message.etag,
        built_in=message.built_in,
        created=time_or_none(message, "create_time"),
        updated=time_or_none(message, "update_time"),
    )


def load_request(
    session: str,
    table_id: str,
    paths: Sequence[str],
    settings: LoadSettings,
    *,
    replace: bool,
    request_id: str,
) -> table_service_pb2.LoadTableRequest:
    """Return the request for a load.

    Raises:
        InvalidArgumentError: a name that is no setting, or a value that none may have.
    """
    for name in settings:
        _require_known("A load", name, _OF_LOADS)
    request = table_service_pb2.LoadTableRequest(
        session=session,
        table_id=table_id,
        paths=paths,
        replace=replace,
        request_id=request_id,
        library=settings.get("library") or "",
        backing_store=store_number(settings.get("backing_store") or BackingStore.INHERIT),
        columns=settings.get("columns") or (),
        where=settings.get("where") or "",
        label=settings.get("label") or "",
        lifetime=lifetime_of(settings.get("lifetime")),
        copies=settings.get("copies"),
        promote=settings.get("promote") or False,
    )
    change = settings.get("on_source_change")
    if change is not None:
        request.on_source_change = change_number(change)
    return request


def upload_header(
    session: str, table_id: str, settings: LoadSettings, *, replace: bool, request_id: str
) -> table_service_pb2.UploadTableHeader:
    """Return the header of an upload.

    Raises:
        InvalidArgumentError: a setting that rows which are sent cannot have.
    """
    for name, value in settings.items():
        _require_known("A load", name, _OF_LOADS)
        if name not in (*_OF_TABLES, "copies") and value:
            raise InvalidArgumentError(
                f"{name} is for files on the server; these rows are sent.", reason="NOT_FOR_UPLOADS"
            )
    return table_service_pb2.UploadTableHeader(
        session=session,
        table_id=table_id,
        replace=replace,
        request_id=request_id,
        label=settings.get("label") or "",
        lifetime=lifetime_of(settings.get("lifetime")),
        promote=settings.get("promote") or False,
        copies=settings.get("copies"),
    )


def set_output_table(spec: job_pb2.JobSpec, settings: TableSettings) -> None:
    """Say of the table that a job makes what it is to be told."""
    for name in settings:
        _require_known("An output table", name, _OF_TABLES)
    spec.out_label = settings.get("label") or ""
    spec.out_promote = settings.get("promote") or False
    lifetime = lifetime_of(settings.get("lifetime"))
    if lifetime is not None:
        spec.out_lifetime.CopyFrom(lifetime)


def description(message: table_action_service_pb2.TableDescription) -> TableDescription:
    """Return all that is known of a table."""
    return TableDescription(
        info=table_info(message.table),
        asked=_store(message.asked),
        origin=message.origin,
        note=message.note,
        library=message.library,
        columns=tuple(message.columns),
        where=message.where,
        on_source_change=_change(message.on_source_change),
        copies=message.copies if message.HasField("copies") else None,
        sources=tuple(
            TableSource(source.path, source.size_bytes, time_of(source.modify_time))
            for source in message.sources
        ),
        source_count=message.source_count,
        sharing=message.sharing,
        readers=message.readers,
        hides_global=message.hides_global,
    )


def lifetime_of(seconds: float | None) -> Duration | None:
    """Return a table's lifetime for the wire; None and 0 are none."""
    return duration(seconds, "lifetime") if seconds else None


def store_number(value: BackingStore | str) -> "data_pb2.BackingStorePreference.ValueType":
    """Return where a table is to be mapped from, for the wire."""
    return data_pb2.BackingStorePreference.Value(_STORE + _choice(BackingStore, value, "backing_store").name)


def change_number(value: SourceChange | str) -> "data_pb2.SourceChange.ValueType":
    """Return what becomes of jobs when a source changes, for the wire."""
    return data_pb2.SourceChange.Value(_CHANGE + _choice(SourceChange, value, "on_source_change").name)


def _choice(kind: type[Choice], value: str, what: str) -> Choice:
    try:
        return kind(value.lower())
    except (ValueError, AttributeError):
        raise InvalidArgumentError(
            f"{what} cannot be {value!r}; use one of: {', '.join(kind)}.", reason="BAD_ATTRIBUTE"
        ) from None


def _store(number: int) -> BackingStore:
    """Return what a number stands for; a newer server may send others."""
    return next((value for value in BackingStore if store_number(value) == number), BackingStore.INHERIT)


def _change(number: int) -> SourceChange:
    """Return what a number stands for; a newer server may send others."""
    return next((value for value in SourceChange if change_number(value) == number), SourceChange.FAIL)


def _require_known(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"; did you mean {near[0]}?" if near else f": {', '.join(known)}."
        raise InvalidArgumentError(f"{what} has no {name!r}{meant}", reason="UNKNOWN_ATTRIBUTE")
