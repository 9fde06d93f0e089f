"""Session options: what jobs take where they do not say it themselves.

A job's own word wins, then what its session sets, then its context, then the server's default.
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.job import Priority
from scorestream_server.domain.limits import MOST_SECONDS

_WHOLE = re.compile(r"[0-9]{1,18}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


class OptionType(enum.StrEnum):
    """How an option's value is written."""

    WHOLE = "whole number"
    SECONDS = "seconds"
    CHOICE = "choice"


class Origin(enum.StrEnum):
    """Who set an option's value."""

    SERVER = "server"
    CONTEXT = "context"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Option:
    """An option that there is.

    Attributes:
        default: the server's own value, written as all values are.
        most: the largest number; numbers begin at 0.
        choices: what a CHOICE may be.
        description: a sentence for a person.
    """

    name: str
    type: OptionType
    default: str
    description: str
    most: int = 0
    choices: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        """What values it takes, for a person."""
        return " or ".join(self.choices) if self.choices else f"0 to {self.most:,}"

    def canonical(self, text: str) -> str | None:
        """Return a value as it is kept, or None where the option does not take it."""
        text = text.strip()
        match self.type:
            case OptionType.CHOICE:
                return text.lower() if text.lower() in self.choices else None
            case OptionType.WHOLE:
                return str(int(text)) if _WHOLE.fullmatch(text) and int(text) <= self.most else None
            case OptionType.SECONDS:
                fits = _SECONDS.fullmatch(text) and float(text) <= self.most
                return f"{float(text):.9f}".rstrip("0").rstrip(".") if fits else None


OPTIONS: Mapping[str, Option] = {
    option.name: option
    for option in (
        Option(
            "partition_rows",
            OptionType.WHOLE,
            "0",
            "Input rows between two commits of a job, at most; 0: the server decides by the model's cost.",
            most=1 << 40,
        ),
        Option(
            "priority",
            OptionType.CHOICE,
            "normal",
            "How urgent jobs are.",
            choices=tuple(priority.name.lower() for priority in Priority),
        ),
        Option(
            "queue_timeout",
            OptionType.SECONDS,
            "0",
            "Seconds that a job may wait for a lane before it begins; 0: for ever.",
            most=MOST_SECONDS,
        ),
        Option(
            "timeout",
            OptionType.SECONDS,
            "0",
            "Seconds that a job may run; it then ends TIMED_OUT with what it has committed. 0: for ever.",
            most=MOST_SECONDS,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Setting:
    """An option's value, and who set it."""

    option: Option
    value: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """What the options say to jobs."""

    partition_rows: int
    priority: Priority
    queue_timeout: float
    timeout: float


def check_options(options: Mapping[str, str], field: str = "options") -> dict[str, str]:
    """Return options as they are kept.

    Args:
        options: values by name, as a client or a configuration file writes them.
        field: the request's field, for the error.

    Raises:
        ScorestreamError: INVALID_OPTION, with every fault of every option.
    """
    kept: dict[str, str] = {}
    faults = []
    for name, text in options.items():
        value = OPTIONS[name].canonical(text) if name in OPTIONS else None
        if value is not None:
            kept[name] = value
            continue
        if name in OPTIONS:
            told = f"{text[:80]!r} is no value of {name}; it takes {OPTIONS[name].range}"
        else:
            told = f"there is no option {name[:80]!r}; there are {', '.join(OPTIONS)}"
        faults.append(FieldFault(f"{field}.{name[:80]}", told))
    if faults:
        shown = "; ".join(fault.description for fault in faults[:10])
        raise invalid("INVALID_OPTION", f"{field}: {shown}.", faults)
    return kept


def effective(context: Mapping[str, str], session: Mapping[str, str]) -> dict[str, Setting]:
    """Return every option with the value that counts, and where it comes from.

    Args:
        context: options that the session's context sets, checked; names of another version are passed over.
        session: options that the session itself sets.
    """
    found = {}
    for name, option in OPTIONS.items():
        if name in session:
            found[name] = Setting(option, session[name], Origin.SESSION)
        elif name in context:
            found[name] = Setting(option, context[name], Origin.CONTEXT)
        else:
            found[name] = Setting(option, option.default, Origin.SERVER)
    return found


def job_defaults(settings: Mapping[str, Setting]) -> JobDefaults:
    """Return what `effective` options say to jobs."""
    return JobDefaults(
        partition_rows=int(settings["partition_rows"].value),
        priority=Priority[settings["priority"].value.upper()],
        queue_timeout=float(settings["queue_timeout"].value),
        timeout=float(settings["timeout"].value),
    )
