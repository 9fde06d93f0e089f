"""Resource names and the names that clients give: what is allowed, and how they are taken apart."""

import re
from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration

from scorestream_server.contexts.rules import is_name
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.labels import labels_fault
from scorestream_server.domain.limits import MOST_SECONDS
from scorestream_server.domain.model_name import MODEL_ID, ModelName, parse_model_name
from scorestream_server.domain.variable import VARIABLE_NAME

_DISPLAY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .:-]{0,127}")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


def check_display_name(field: str, name: str) -> str:
    """Return a session's or job's name for people, if it is allowed."""
    if not _DISPLAY.fullmatch(name):
        raise _bad(field, name, "1 to 128 letters, digits, spaces or _ . : -, and no space or sign first")
    return name


def check_table_id(field: str, name: str) -> str:
    """Return a table's own name, if it is allowed."""
    if not _TABLE.fullmatch(name):
        raise _bad(field, name, "a letter or _, then up to 127 letters, digits or _")
    return name


def check_model_id(field: str, name: str) -> str:
    """Return a model's own name, if it is allowed."""
    if not MODEL_ID.fullmatch(name):
        raise _bad(field, name, "a letter, digit or _, then up to 127 letters, digits or _ . -")
    return name


def check_request_id(request_id: str) -> str:
    """Return a request id, if it is allowed; an empty one is."""
    if request_id and not _ID.fullmatch(request_id):
        raise _bad("request_id", request_id, "up to 64 letters, digits or hyphens, or nothing")
    return request_id


def check_labels(field: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels, if they are allowed."""
    if fault := labels_fault(labels):
        name, description = fault
        place = f"{field}[{name}]" if name else field
        raise invalid("INVALID_NAME", f"{place}: {description}.", [FieldFault(place, description)])
    return dict(labels)


def check_seconds(field: str, limit: Duration, *, least: float = 0.0, most: float = MOST_SECONDS) -> float:
    """Return a time limit in seconds, if it is allowed; 0 is none."""
    seconds = limit.seconds + limit.nanos / 1e9  # not ToTimedelta, which takes fewer than a message can hold
    if not least <= seconds <= most:
        none = " (no limit)" if most == MOST_SECONDS else ""
        raise _bad(field, str(seconds), f"from {least:g}{none} to {most:,.0f} seconds")
    return seconds


def session_id(field: str, name: str) -> str:
    """Take `sessions/{session}` apart."""
    match name.split("/"):
        case ["sessions", found] if _ID.fullmatch(found):
            return found
    raise _bad(field, name, "sessions/{session}")


def job_id(field: str, name: str) -> str:
    """Take `jobs/{job}` apart."""
    match name.split("/"):
        case ["jobs", found] if _ID.fullmatch(found):
            return found
    raise _bad(field, name, "jobs/{job}")


def single_id(field: str, name: str, wanted: str) -> str:
    """Take a name of two parts apart, `wanted` like ``jobs/{job}``, and return the second."""
    match name.split("/"):
        case [collection, found] if collection == wanted.partition("/")[0] and _ID.fullmatch(found):
            return found
    raise _bad(field, name, wanted)


def any_id(field: str, name: str) -> str:
    """Return the id of something that is named by it, or by its resource name `{collection}/{id}`."""
    found = name.rpartition("/")[2]
    if name.count("/") <= 1 and _ID.fullmatch(found):
        return found
    raise _bad(field, name, "an id, or a resource name such as jobs/{job}")


def session_or_job_id(field: str, name: str) -> tuple[str, str]:
    """Take `sessions/{session}` or `jobs/{job}` apart; the other one is empty."""
    match name.split("/"):
        case ["sessions", found] if _ID.fullmatch(found):
            return found, ""
        case ["jobs", found] if _ID.fullmatch(found):
            return "", found
    raise _bad(field, name, "sessions/{session} or jobs/{job}")


def table_ids(field: str, name: str) -> tuple[str, str]:
    """Take `sessions/{session}/tables/{table}` or `tables/{table}` apart; the session of a global one is empty."""
    match name.split("/"):
        case ["sessions", session, "tables", table] if _ID.fullmatch(session) and _TABLE.fullmatch(table):
            return session, table
        case ["tables", table] if _TABLE.fullmatch(table):
            return "", table
    raise _bad(field, name, "sessions/{session}/tables/{table} or tables/{table}")


def check_table(field: str, name: str) -> str:
    """Return what names a table within a session, its own name or `tables/{table}`, if it is allowed."""
    check_table_id(field, name.removeprefix("tables/"))
    return name


def library_ids(field: str, name: str) -> tuple[str, str]:
    """Take `sessions/{session}/libraries/{library}` or `libraries/{library}` apart; a global one's session is empty."""
    match name.split("/"):
        case ["sessions", session, "libraries", library] if _ID.fullmatch(session) and is_name(library):
            return session, library
        case ["libraries", library] if is_name(library):
            return "", library
    raise _bad(field, name, "sessions/{session}/libraries/{library} or libraries/{library}")


def model_name(field: str, name: str) -> ModelName:
    """Take `models/{model}`, `models/{model}/versions/{version}` or `models/{model}/aliases/{alias}` apart."""
    found = parse_model_name(name)
    if found is None:
        wanted = "models/{model}, models/{model}/versions/{version} or models/{model}/aliases/{alias}"
        raise _bad(field, name, wanted)
    return found


def model_version(field: str, name: str) -> tuple[str, int]:
    """Take `models/{model}` or `models/{model}/versions/{version}` apart; no version is 0."""
    found = parse_model_name(name)
    if found is None or found.alias:
        raise _bad(field, name, "models/{model} or models/{model}/versions/{version}")
    return found.model_id, found.version


def model_alias(field: str, name: str) -> tuple[str, str]:
    """Take `models/{model}/aliases/{alias}` apart."""
    found = parse_model_name(name)
    if found is None or not found.alias:
        wanted = (
            "models/{model}/aliases/{alias}; an alias is a letter, then up to 62 letters, digits or _ . -"
        )
        raise _bad(field, name, wanted)
    return found.model_id, found.alias


def token_id(field: str, name: str) -> str:
    """Take `tokens/{token}` apart."""
    match name.split("/"):
        case ["tokens", found] if _ID.fullmatch(found):
            return found
    raise _bad(field, name, "tokens/{token}")


def variable_ids(field: str, name: str) -> tuple[str, str]:
    """Take `sessions/{session}/variables/{variable}` apart."""
    match name.split("/"):
        case ["sessions", session, "variables", found] if _ID.fullmatch(session) and VARIABLE_NAME.fullmatch(
            found
        ):
            return session, found
    raise _bad(field, name, "sessions/{session}/variables/{variable}")


def option_ids(field: str, name: str) -> tuple[str, str]:
    """Take `sessions/{session}/options/{option}` apart."""
    match name.split("/"):
        case ["sessions", session, "options", found] if _ID.fullmatch(session) and VARIABLE_NAME.fullmatch(
            found
        ):
            return session, found
    raise _bad(field, name, "sessions/{session}/options/{option}")


def _bad(field: str, name: str, wanted: str) -> Exception:
    shown = name if len(name) <= 80 else name[:77] + "..."
    description = f"{shown!r} is not a valid name here; wanted: {wanted}"
    return invalid("INVALID_NAME", f"{field}: {description}.", [FieldFault(field, description)])
