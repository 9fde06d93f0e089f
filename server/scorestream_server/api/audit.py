"""The audit log: a JSON line for each change and each refusal. It names things, and never holds a token or a row."""

import contextlib
import json
import logging
import logging.handlers
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger("scorestream.audit")

FILE_BYTES = 64 << 20
FILES_KEPT = 16
_LONGEST = 200
_READING = ("Get", "BatchGet", "List", "Head", "Read", "Tail", "Watch", "Wait", "Keep", "Describe")
_OURS = "/scorestream."


@contextlib.contextmanager
def audit_file(path: Path) -> Iterator[None]:
    """Write the audit log to a file while the block runs; the umask says who may read it."""
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8"
    )
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def changes_something(method: str) -> bool:
    """Whether a method, ``/package.Service/Method``, does more than read. One whose name does not say so does."""
    return method.startswith(_OURS) and not method.rpartition("/")[2].startswith(_READING)


def tell(method: str, principal: str, peer: str, resource: str, outcome: str, reason: str = "") -> None:
    """Write a line.

    Args:
        method: as gRPC names it.
        principal: who asked; empty: nobody knows.
        peer: where from.
        resource: what it was about.
        outcome: ``OK``, or the name of the status code.
        reason: the error's, by its stable name.
    """
    line = {
        "time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
        "principal": principal,
        "peer": peer,
        "method": method.lstrip("/"),
        "resource": resource[:_LONGEST],
        "outcome": outcome,
    }
    if reason:
        line["reason"] = reason
    logger.info("%s", json.dumps(line))


def resource_of(message: Any) -> str:
    """Return what a request or an answer is about, by name; nothing where it does not say."""
    fields = message.DESCRIPTOR.fields_by_name if hasattr(message, "DESCRIPTOR") else ()

    def text(field: str) -> str:
        return str(getattr(message, field)) if field in fields else ""

    for part in (
        "header",
        *(("context", "session", "library", "table", "model") if "update_mask" in fields else ()),
    ):
        if part in fields:
            return resource_of(getattr(message, part))
    if "token" in fields:
        return f"{message.token.name} of {message.token.principal}"
    if found := text("name") or text("principal"):
        return found
    for field, collection in (
        ("model_id", "models"),
        ("context_id", "contexts"),
        ("library_id", "libraries"),
    ):
        if found := text(field):
            return f"{collection}/{found}"
    table = text("table_id")
    return f"{text('session')}/tables/{table}" if table else text("session") or text("display_name")
