"""Notes on outputs that are being written, by which the traces of a dead attempt are found again.

An output lies in a user's folder, where nothing may be removed that is not known to be ours. So before the first
file is made there, a note in the data directory says under which hidden names an attempt works, and before the
output gets its name, which file or directory that will be. Whoever comes after a dead attempt reads the note.
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

from scorestream_server.domain.table import Published
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
    """

    final: Path
    token: str
    identity: Identity | None = None
    published: Published | None = None

    @classmethod
    def begun(cls, final: Path) -> Self:
        """Return the note of a new attempt."""
        return cls(final, secrets.token_hex(6))

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
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        logger.warning("%s cannot be read; what it was about may have left hidden files", journal)
        return None
    return note if _TOKEN.fullmatch(note.token) and note.final.is_absolute() else None


def settle(journal: Path) -> Published | None:
    """Undo what a dead attempt left half done; return the output if it had got its name before the end.

    A directory that was moved aside is put back, unless the new one or something else has its name by now.

    Raises:
        OSError: the folder of the output cannot be changed now.
    """
    note = read_note(journal)
    if note is None:
        journal.unlink(missing_ok=True)
        return None
    there = Identity.of(note.final)
    arrived = there is not None and there == note.identity
    if os.path.lexists(note.aside):
        if arrived:
            _remove(note.aside)
        elif there is None:
            note.aside.rename(note.final)
        else:
            logger.warning(
                "%s was replaced by something else; what it was before is %s", note.final, note.aside
            )
    _remove(note.temporary)
    if arrived:
        return note.published
    journal.unlink()
    return None


def withdraw(journal: Path, *, keep: bool) -> bool:
    """Undo an attempt that failed, even where its output has its name, because it may not have it for good.

    Args:
        journal: with the attempt's note.
        keep: whether an output stays that has its name, because the file that it replaced is gone.

    Returns:
        Whether it stays.

    Raises:
        OSError: as `settle`.
    """
    note = read_note(journal)
    there = None if note is None else Identity.of(note.final)
    if note is not None and there is not None and there == note.identity and not keep:
        _remove(note.final)
    stays = settle(journal) is not None
    journal.unlink(missing_ok=True)
    return stays


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(NotADirectoryError):
            path.unlink(missing_ok=True)
