"""Notes on outputs that are being written, by which the traces of a dead attempt are found again.

An output lies in a user's folder, where nothing may be removed that is not known to be ours. So before the first
file is made there, a note in the data directory says under which hidden names an attempt works, and before the
output gets its name, which file or directory that will be. Whoever comes after a dead attempt reads the note.

For rows that are appended the note decides: once it says that they are complete, they join their data set, whoever
does it; before, they never do.
"""

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.table import Published
from scorestream_server.tables.appending import WITHDRAWN, arrived, join, take_out
from scorestream_server.tables.files import sync

logger = logging.getLogger(__name__)

_TOKEN = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What stays the same of a file or directory when it gets another name."""

    device: int
    inode: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return the identity of what has this name now, if anything has."""
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return cls(found.st_dev, found.st_ino, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Note:
    """One attempt at an output.

    Attributes:
        final: its name in the end.
        token: makes the hidden names its own.
        identity: of the complete output, once it is complete.
        published: what to tell of it.
        batch: of a data set: the job under which its manifest lists the rows.
        joins: whether the rows join the data set that is there.
    """

    final: Path
    token: str
    identity: Identity | None = None
    published: Published | None = None
    batch: str = ""
    joins: bool = False

    @classmethod
    def begun(cls, final: Path, batch: str = "", *, joins: bool = False) -> Self:
        """Return the note of a new attempt."""
        token = secrets.token_hex(6)
        return cls(final, token, batch=batch or token, joins=joins)

    @property
    def temporary(self) -> Path:
        """Where the output is made."""
        return self.final.with_name(f".{self.final.name}.{self.token}.tmp")

    @property
    def aside(self) -> Path:
        """Where the directory that it replaces waits."""
        return self.final.with_name(f".{self.final.name}.{self.token}.old")


def write_note(journal: Path, note: Note) -> None:
    """Have a note on the disk, whole."""
    told = {
        "final": str(note.final),
        "token": note.token,
        "identity": note.identity and asdict(note.identity),
        "published": note.published and asdict(note.published),
        "batch": note.batch,
        "joins": note.joins,
    }
    journal.parent.mkdir(exist_ok=True)
    temporary = journal.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(told, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(journal)
    sync(journal.parent)


def read_note(journal: Path) -> Note | None:
    """Return a note, or None where there is none, or none that can be read."""
    try:
        told = json.loads(journal.read_text("utf-8"))
        identity, published = told["identity"], told["published"]
        note = Note(
            Path(told["final"]),
            str(told["token"]),
            Identity(**identity) if identity else None,
            Published(tuple(published["paths"]), published["rows"], published["bytes"])
            if published
            else None,
            str(told.get("batch", "")),
            bool(told.get("joins", False)),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        logger.warning("%s cannot be read; what it was about may have left hidden files", journal)
        return None
    return note if _TOKEN.fullmatch(note.token) and note.final.is_absolute() else None


def settle(journal: Path) -> Published | None:
    """Undo what a dead attempt left half done; return the output if it had got its name before the end.

    A directory that was moved aside is put back, unless the new one or something else has its name by now. Rows that
    were decided to join a data set do so now.

    Raises:
        OSError: the folder of the output cannot be changed now.
    """
    note = read_note(journal)
    if note is None:
        journal.unlink(missing_ok=True)
        return None
    if note.joins:
        there = _joined(note)
    else:
        there = _in_place(note)
        _settle_aside(note, there=there)
    _remove(note.temporary)
    if there:
        return note.published
    journal.unlink()
    return None


def withdraw(journal: Path, *, keep: bool) -> bool:
    """Undo an attempt that failed, even where its output has its name, because it may not have it for good.

    Args:
        journal: with the attempt's note.
        keep: whether an output stays that has its name, because the file that it replaced is gone.

    Returns:
        Whether it stays. Rows that the manifest of their data set lists do, too: who comes again with them finds them.

    Raises:
        OSError: as `settle`.
    """
    note = read_note(journal)
    there = None if note is None else Identity.of(note.final)
    if note is not None and note.joins and not arrived(note.final, note.batch):
        take_out(note.temporary, note.final)
    elif note is not None and there is not None and there == note.identity and not keep:
        _remove(note.final)
    stays = settle(journal) is not None
    journal.unlink(missing_ok=True)
    return stays


def _in_place(note: Note) -> bool:
    """Return whether an output has its name; others may have added rows to a data set since."""
    if note.published is None:
        return False
    there = Identity.of(note.final)
    return there is not None and (there == note.identity or arrived(note.final, note.batch))


def _joined(note: Note) -> bool:
    """Return whether rows are in their data set, after having them join it if that was decided."""
    if note.published is None:
        return False
    if arrived(note.final, note.batch):
        return True
    if not note.temporary.is_dir():
        return False
    if not os.path.lexists(note.temporary / WITHDRAWN):
        try:
            join(note.temporary, note.final)
        except ScorestreamError as error:
            logger.warning("%s", error)
        else:
            return True
    take_out(note.temporary, note.final)
    return False


def _settle_aside(note: Note, *, there: bool) -> None:
    if not os.path.lexists(note.aside):
        return
    if there:
        _remove(note.aside)
    elif Identity.of(note.final) is None:
        note.aside.rename(note.final)
    else:
        logger.warning("%s was replaced by something else; what it was before is %s", note.final, note.aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(NotADirectoryError):
            path.unlink(missing_ok=True)
