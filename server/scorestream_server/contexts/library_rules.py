"""The rules of a library's attributes: what is given by name becomes a library, or all that is wrong is named at once."""

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from scorestream_server.contexts.rules import check_name, count, require_known
from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.library import WORK, Library
from scorestream_server.domain.table import BackingStore, SourceChange
from scorestream_server.tables.paths import DataRoots

MOST_COPIES = 16
LONGEST_DESCRIPTION = 1000
ATTRIBUTES = ("path", "backing_store", "on_source_change", "copies", "description")
"""What is said of a library, by its maker."""
Choice = TypeVar("Choice", bound=enum.StrEnum)


def check_library_id(field: str, name: str) -> str:
    """Return a library's own name, if it is allowed."""
    if check_name(field, name) == WORK:
        raise _bad(field, f"{WORK!r} is the library of a session's own tables; take another name")
    return name


def library_of(
    library_id: str,
    session_id: str,
    values: Mapping[str, object],
    roots: DataRoots,
    place: str,
    *,
    owner: str = "",
    create_time: float = 0.0,
    update_time: float = 0.0,
    origin: str = "",
) -> Library:
    """Return a library, the attributes that are not given at their defaults.

    Args:
        library_id: its name, which was checked.
        session_id: the session that it is for; empty: it is global.
        values: attributes by name.
        roots: where its path may lie.
        place: what stands before their names in what is said of them.
        owner: who makes it.
        create_time: seconds since 1970.
        update_time: seconds since 1970.
        origin: the configuration file that it comes from.

    Raises:
        ScorestreamError: everything that is wrong.
    """
    faults, checked = Faults(), dict[str, Any]()
    for name, value in {"path": "", **values}.items():
        field = f"{place}.{name}"
        with faults.of(field):
            require_known(field, name, ATTRIBUTES)
            checked[name] = _check(field, name, value, roots)
    faults.raise_any()
    return Library(
        library_id,
        session_id,
        checked["path"],
        checked.get("backing_store", BackingStore.INHERIT),
        checked.get("on_source_change", SourceChange.FAIL),
        checked.get("copies"),
        checked.get("description", ""),
        owner,
        create_time,
        update_time,
        origin,
    )


def _check(field: str, name: str, value: object, roots: DataRoots) -> object:
    match name:
        case "path":
            return _directory(field, _text(field, value), roots)
        case "backing_store":
            return _one_of(BackingStore, field, value)
        case "on_source_change":
            return _one_of(SourceChange, field, value)
        case "copies":
            return count(field, value, 0, MOST_COPIES)
        case _:
            text = _text(field, value)
            if len(text) > LONGEST_DESCRIPTION or not text.isprintable():
                raise _bad(field, f"it is not printable, or longer than {LONGEST_DESCRIPTION:,} characters")
            return text


def _directory(field: str, text: str, roots: DataRoots) -> str:
    """Return the path of a directory below the data roots, as its maker wrote it."""
    if not text:
        raise _bad(field, "it is missing; name a directory below the server's data roots")
    try:
        found = roots.resolve(text)
    except ScorestreamError as error:
        faults = [FieldFault(field, error.message)]
        raise ScorestreamError(
            error.code, error.reason, f"{field}: {error.message}", faults, error.metadata
        ) from None
    if isinstance(found, Path) and not found.is_dir():
        raise _bad(field, f"{text!r} is no directory")
    return text


def _one_of(kind: type[Choice], field: str, value: object) -> Choice:
    """Return one of a few words, in upper or lower case."""
    if isinstance(value, str) and value.lower() in set(kind):
        return kind(value.lower())
    raise _bad(field, f"{value!r:.80} is none of: {', '.join(kind)}")


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise _bad(field, f"{value!r:.80} is no text")
    return value


def _bad(field: str, told: str) -> ScorestreamError:
    return invalid("INVALID_LIBRARY", f"{field}: {told}.", [FieldFault(field, told)])
