"""How much one principal may have and do at a time, so that nobody takes the server from the others."""

import dataclasses
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from scorestream_server.domain.errors import ErrorCode, ScorestreamError

MOST_SECONDS = 366 * 24 * 3600
"""The longest time that anything may be given."""
_GIB = 1 << 30
_AMOUNT = re.compile(r"(\d+)\s*(KiB|MiB|GiB|TiB)?")
_UNITS = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator may set with ``--limit NAME=VALUE``; all but the last two are for each principal.

    Attributes:
        sessions: open sessions.
        open_jobs: jobs that have not ended, running and waiting.
        running_jobs: jobs that run; what is beyond waits for one to end.
        calls: calls at a time, streams of answers left out.
        streams: streams of answers at a time: subscriptions, and results that are being read.
        stored_bytes: models, tables that the server holds, results, and files in homes, of sessions that have not ended.
        cache_bytes: files of tables in the cache, copies too; a file that several tables share is counted once.
        upload_bytes: rows of one upload, or one uploaded file.
        model_bytes: one model file.
        session_files: files and directories in the home of a session.
        all_calls: calls and streams of everybody at a time.
        context_workers: worker processes of all contexts together, the server's own not among them.
    """

    sessions: int = 5_000
    open_jobs: int = 20_000
    running_jobs: int = 1_000
    calls: int = 1_000
    streams: int = 5_000
    stored_bytes: int = 1024 * _GIB
    cache_bytes: int = 1024 * _GIB
    upload_bytes: int = 64 * _GIB
    model_bytes: int = 2 * _GIB
    session_files: int = 10_000
    all_calls: int = 20_000
    context_workers: int = 64


NAMES = tuple(field.name for field in dataclasses.fields(Limits))


def parse_limits(texts: Sequence[str]) -> Limits:
    """Return the limits that flags such as ``sessions=200`` and ``stored_bytes=50GiB`` ask for.

    Raises:
        ValueError: what is wrong with one of them.
    """
    values: dict[str, int] = {}
    for text in texts:
        name, _, amount = text.partition("=")
        name = name.strip()
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            meant = f"; did you mean {near[0]}?" if near else f": {', '.join(NAMES)}"
            raise ValueError(f"there is no limit {name!r}{meant}")
        found = _AMOUNT.fullmatch(amount.strip())
        if found is None or (not name.endswith("bytes") and found[2]):
            example = "50GiB" if name.endswith("bytes") else "200"
            raise ValueError(f"{amount.strip()!r} is no amount; write for example {name}={example}")
        values[name] = int(found[1]) * _UNITS[found[2]]
        if values[name] < 1:
            raise ValueError(f"{name} must be at least 1")
    return Limits(**values)


def exhausted(
    reason: str, name: str, most: int, what: str, advice: str, retry_seconds: float = 0.0
) -> ScorestreamError:
    """Return the error of a limit that is reached.

    Args:
        reason: for programs.
        name: the limit's.
        most: its value.
        what: what there is so much of, in a sentence of its own.
        advice: what the caller can do.
        retry_seconds: when waiting alone may help.
    """
    message = f"{what} {advice} An operator raises the limit with: scorestream serve --limit {name}=..."
    return ScorestreamError(
        ErrorCode.RESOURCE_EXHAUSTED,
        reason,
        message,
        metadata={"limit": name, "most": str(most)},
        retry_seconds=retry_seconds,
    )
