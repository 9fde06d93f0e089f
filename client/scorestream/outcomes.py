"""What jobs leave for people to read, as plain frozen values: lines of logs, results; and how they come off the wire."""

import enum
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scorestream.errors import AlreadyExistsError, InvalidArgumentError
from scorestream.v1 import log_pb2, report_pb2
from scorestream.wire import last, time_of, value_of


class LogLineType(enum.StrEnum):
    """What kind of line it is, by the Compute API's names."""

    NORMAL = "normal"
    SOURCE = "source"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"
    TITLE = "title"


LINE_TYPES = {int(log_pb2.LogLineType.Value(f"LOG_LINE_TYPE_{kind.name}")): kind for kind in LogLineType}
"""By their numbers on the wire; a newer server may send others."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a session's log.

    Attributes:
        position: where it stands; grows from line to line and is never reset: give it to ``log(after=…)``.
        number: its number for people, from 0; a job can have it begin again.
        type: what kind of line it is.
        time: when what it tells happened.
        job_id: the job that it tells of; empty for the session itself.
        text: the line.
    """

    position: int
    number: int
    type: LogLineType
    time: datetime
    job_id: str
    text: str


class ResultType(enum.StrEnum):
    """What a result is."""

    TABLE = "TABLE"
    FILE = "FILE"
    LIBRARY = "LIBRARY"
    REPORT = "REPORT"


@dataclass(frozen=True, slots=True)
class ResultLink:
    """Something that a job has made, or that it is read by.

    Attributes:
        type: what it is.
        name: for people.
        job_id: the job that it belongs to, also where that was deleted.
        job: the job's name.
        link: a table's resource name, a path on the server, or the name of a report.
        size_bytes: 0 where it is not known, as of a report, which is made when it is asked for.
        time: when its job ended.
    """

    type: ResultType
    name: str
    job_id: str
    job: str
    link: str
    size_bytes: int
    time: datetime


def log_line(message: log_pb2.LogLine) -> LogLine:
    """Return a line of a log."""
    return LogLine(
        message.position,
        message.number,
        LINE_TYPES.get(message.type, LogLineType.NORMAL),
        time_of(message.create_time),
        last(message.job),
        message.text,
    )


def line_types(types: "Iterable[LogLineType | str]") -> "list[log_pb2.LogLineType.ValueType]":
    """Return types of lines for the wire.

    Raises:
        InvalidArgumentError: one is none; the message names those that there are.
    """
    found = []
    for asked in types:
        try:
            found.append(log_pb2.LogLineType.Value(f"LOG_LINE_TYPE_{LogLineType(asked.lower()).name}"))
        except ValueError:
            known = ", ".join(LogLineType)
            raise InvalidArgumentError(
                f"{asked!r} is no type of a log's lines; use {known}.", reason="BAD_LINE_TYPE"
            ) from None
    return found


def result_link(message: report_pb2.Result) -> ResultLink:
    """Return a result."""
    return ResultLink(
        value_of(ResultType, report_pb2.ResultType, message.type, ResultType.FILE),
        message.display_name,
        last(message.job),
        message.job_display_name,
        message.link,
        message.size_bytes,
        time_of(message.create_time),
    )


def write_page(path: Path, html: str, *, replace: bool) -> None:
    """Write a page to a file, whole or not at all.

    Raises:
        AlreadyExistsError: it is there and `replace` is false.
        InvalidArgumentError: there is no directory for it.
    """
    if not path.absolute().parent.is_dir():
        raise InvalidArgumentError(
            f"There is no directory {path.absolute().parent} to write {path.name} in.",
            reason="NO_OUTPUT_DIRECTORY",
        )
    if path.exists() and not replace:
        raise AlreadyExistsError(
            f"{path} is there already; use --replace to replace it.", reason="OUTPUT_EXISTS"
        )
    scratch = path.absolute().with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        scratch.write_text(html, encoding="utf-8")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
