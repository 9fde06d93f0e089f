"""The rules of a context's attributes: what is given by name becomes settings, or all that is wrong is named at once.

The rules are the Compute API's; where it leaves a range open, it is closed here.
"""

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scorestream_server.domain.account import Rights, find_account, why_not
from scorestream_server.domain.context import (
    DEFAULT_INACTIVE_TIMEOUT,
    ContextSettings,
    PoolSettings,
    mended_prefix,
)
from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.labels import LONGEST_LABEL, MOST_LABELS, labels_fault
from scorestream_server.domain.limits import MOST_SECONDS
from scorestream_server.domain.option import check_options
from scorestream_server.domain.queue import unknown_queue
from scorestream_server.tables.paths import DataRoots

MOST_WORKERS = 1024
MOST_SESSIONS = 1_000_000
LONGEST_DESCRIPTION = 1000
LONGEST_VALUE = 256
LONGEST_OPTION = 4096
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")

FIXED_IN_USE = ("device", "reuse_server_processes", "run_server_as", "home_directory")
"""What the workers and homes of open sessions are made of."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What of this server contexts have to fit.

    Attributes:
        devices: that it has, ``cpu`` and ``cuda:N``.
        queues: names of all there are.
        max_task_timeout: seconds that it lets any job run; 0 for ever.
        rights: as whom it runs, and may have workers run.
    """

    devices: Collection[str]
    queues: Collection[str]
    roots: DataRoots
    max_task_timeout: float
    rights: Rights


def is_name(name: str) -> bool:
    """Whether a context or a queue can be called this."""
    return _NAME.fullmatch(name) is not None


def check_name(field: str, name: str) -> str:
    """Return a context's or a queue's name, if it is allowed."""
    if not is_name(name):
        wanted = "1 to 63 letters, digits or _ . -, the first a letter, a digit or _"
        description = f"{_shown(name)} is not a valid name here; wanted: {wanted}"
        raise invalid("INVALID_NAME", f"{field}: {description}.", [FieldFault(field, description)])
    return name


def check_tag(field: str, tag: object) -> str:
    """Return a service tag or a stage, if it is allowed."""
    if not isinstance(tag, str) or not _TAG.fullmatch(tag):
        description = (
            f"{_shown(tag)} is no tag; wanted: 1 to 63 letters, digits or _ . -, first a letter or a digit"
        )
        raise invalid("INVALID_TAG", f"{field}: {description}.", [FieldFault(field, description)])
    return tag


def check_tags(field: str, value: object) -> tuple[str, ...]:
    """Return tags, each once and in the order of the alphabet, if they are allowed."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _bad(field, f"{_shown(value)} is no list of tags")
    if len(value) > MOST_LABELS:
        raise _bad(field, f"{len(value):,} are more than {MOST_LABELS}")
    return tuple(sorted({check_tag(field, tag) for tag in value}))


def settings_of(values: Mapping[str, object], server: ServerFacts, place: str) -> ContextSettings:
    """Return settings, the attributes that are not given at their defaults.

    Args:
        values: attributes by name, those of the pool beside the others; times in seconds.
        server: what they have to fit.
        place: what stands before their names in what is said of them.

    Raises:
        ScorestreamError: everything that is wrong.
    """
    faults, checked = Faults(), dict[str, Any]()
    for name, value in values.items():
        field = f"{place}.{name}"
        with faults.of(field):
            require_known(field, name, _CHECKS)
            checked[name] = _CHECKS[name](field, value, server)
    with faults.of(f"{place}.server_min_available"):
        least, most = checked.get("server_min_available", 0), checked.get("server_max_available", 0)
        if 0 < most < least:
            told = f"{least} workers ready are more than the {most} that server_max_available allows in all"
            raise _bad(f"{place}.server_min_available", told)
    faults.raise_any()
    checked.pop("allow_xcmd", None)
    pool = {name: checked.pop(name) for name in POOL_ATTRIBUTES if name in checked}
    return ContextSettings(**checked, pool=PoolSettings(**pool))


def require_known(field: str, name: str, known: Collection[str]) -> None:
    """Refuse a name that nobody knows, and name those that are near."""
    if name not in known:
        near = difflib.get_close_matches(name[:100], known, n=1)
        meant = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"
        raise _bad(field, f"there is no {_shown(name)}{meant}")


def number(field: str, value: object, least: float, most: float) -> float:
    """Return a number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _bad(field, f"{_shown(value)} is no number")
    if not least <= value <= most:
        raise _bad(field, f"{value:,.15g} is not from {least:,} to {most:,}")
    return float(value)


def count(field: str, value: object, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`."""
    if not isinstance(value, int):
        raise _bad(field, f"{_shown(value)} is no whole number")
    return int(number(field, value, least, most))


def _text(field: str, value: object, longest: int) -> str:
    if not isinstance(value, str):
        raise _bad(field, f"{_shown(value)} is no text")
    if len(value) > longest or not value.isprintable():
        raise _bad(field, f"it is not printable, or longer than {longest:,} characters")
    return value


def _texts(longest: int) -> "Callable[[str, object, ServerFacts], dict[str, str]]":
    def check(field: str, value: object, server: ServerFacts) -> dict[str, str]:
        del server
        if not isinstance(value, Mapping):
            raise _bad(field, f"{_shown(value)} is no set of names with texts")
        if fault := labels_fault(value, longest):
            raise _bad(f"{field}.{fault[0]}" if fault[0] else field, fault[1])
        return dict(value)

    return check


def _count(least: int, most: int) -> "_Check":
    return lambda field, value, _: count(field, value, least, most)


def _flag(field: str, value: object, server: ServerFacts) -> bool:
    del server
    if not isinstance(value, bool):
        raise _bad(field, f"{_shown(value)} is neither true nor false")
    return value


def _positive_seconds(field: str, value: object, most: float) -> float:
    seconds = number(field, value, 0, MOST_SECONDS)
    if not 0 < seconds <= most:
        raise _bad(field, f"{seconds:,.15g} seconds are not more than 0 and at most {most:,.15g}")
    return seconds


def _session_inactive_timeout(field: str, value: object, server: ServerFacts) -> float:
    del server
    if isinstance(value, int | float) and value < 0:
        return DEFAULT_INACTIVE_TIMEOUT
    return number(field, value, 0, MOST_SECONDS)


def _task_timeout(field: str, value: object, server: ServerFacts) -> float:
    return _positive_seconds(field, value, server.max_task_timeout or MOST_SECONDS)


def _device(field: str, value: object, server: ServerFacts) -> str:
    device = _text(field, value, LONGEST_VALUE) or "auto"
    cards = {"cuda"} if any(name.startswith("cuda") for name in server.devices) else set[str]()
    if device not in {"auto", *cards, *server.devices}:
        has = ", ".join(sorted({*cards, *server.devices}))
        raise _bad(
            field, f"{_shown(device)} is no device of this server, which has {has}; auto takes what there is"
        )
    return device


def _queue_name(field: str, value: object, server: ServerFacts) -> str:
    name = _text(field, value, LONGEST_VALUE)
    if name and name not in server.queues:
        raise unknown_queue(field, name, list(server.queues))
    return name


def _home_directory(field: str, value: object, server: ServerFacts) -> str:
    text = _text(field, value, LONGEST_OPTION)
    if not text:
        return ""
    try:
        folder = server.roots.resolve(text)
    except ScorestreamError as error:
        fault = FieldFault(field, error.message)
        raise ScorestreamError(error.code, error.reason, f"{field}: {error.message}", [fault]) from None
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise _bad(field, f"{_shown(text)} is no folder into which the server's user may write")
    return str(folder)


def _job_name_prefix(field: str, value: object, server: ServerFacts) -> str:
    del server
    if not isinstance(value, str):
        raise _bad(field, f"{_shown(value)} is no text")
    return mended_prefix(value)


def _options(field: str, value: object, server: ServerFacts) -> dict[str, str]:
    return check_options(_texts(LONGEST_OPTION)(field, value, server), field)


def _run_server_as(field: str, value: object, server: ServerFacts) -> str:
    name = _text(field, value, LONGEST_VALUE)
    if not name:
        return ""
    account = find_account(name)
    if account is None:
        raise _bad(field, f"there is no user {_shown(name)} on the server's machine")
    if told := why_not(account, server.rights):
        raise _bad(field, told)
    return name


def _allow_xcmd(field: str, value: object, server: ServerFacts) -> str:
    del server
    if value not in (False, "", "false"):
        raise _bad(
            field,
            f"{_shown(value)} cannot be: this server runs no shell commands; leave it out, or give false",
        )
    return ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _bad(field: str, description: str) -> ScorestreamError:
    return invalid("INVALID_CONTEXT", f"{field}: {description}.", [FieldFault(field, description)])


_Check = Callable[[str, object, ServerFacts], object]
_CHECKS: Mapping[str, _Check] = {
    "description": lambda field, value, _: _text(field, value, LONGEST_DESCRIPTION),
    "labels": _texts(LONGEST_LABEL),
    "service_tags": lambda field, value, _: check_tags(field, value),
    "stage_tags": lambda field, value, _: check_tags(field, value),
    "device": _device,
    "session_inactive_timeout": _session_inactive_timeout,
    "task_timeout": _task_timeout,
    "queue_name": _queue_name,
    "job_name_prefix": _job_name_prefix,
    "home_directory": _home_directory,
    "run_server_as": _run_server_as,
    "allow_xcmd": _allow_xcmd,
    "unsafe_job_characters": lambda field, value, _: _text(field, value, LONGEST_VALUE),
    "options": _options,
    "reuse_server_processes": _flag,
    "server_inactive_timeout": lambda field, value, _: number(field, value, 0, MOST_SECONDS),
    "server_reuse_limit": _count(0, MOST_SESSIONS),
    "server_min_available": _count(0, MOST_WORKERS),
    "server_max_available": _count(0, MOST_WORKERS),
    "server_pool_scale_threshold": _count(0, 100),
    "server_pool_scale_step": _count(1, MOST_WORKERS),
    "server_launch_timeout": lambda field, value, _: _positive_seconds(field, value, MOST_SECONDS),
}
ATTRIBUTES = tuple(_CHECKS)
"""The names of all that may be given."""
POOL_ATTRIBUTES = tuple(field.name for field in dataclasses.fields(PoolSettings))
