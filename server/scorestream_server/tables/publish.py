"""Outputs: complete under their final name, or not there at all.

A file is written beside its destination under a temporary name, synced, and then renamed; without ``replace``
it is linked instead, so that a file that appears at the last moment is never overwritten. A directory is
built the same way. Replacing a directory takes two renames (the standard library has no exchange): between
them, for microseconds, the destination is absent, and the old directory has a hidden name beside it
(``.<name>.<random>.old``). A note (`publication.py`) says what an attempt does, so that the next one, or the next
server, puts right what a dead one left. Rows that are appended to a data set are written as one of their own, which
then joins it (`appending.py`).
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from scorestream_server.domain.errors import ErrorCode, ScorestreamError, precondition
from scorestream_server.domain.output import AS_USUAL, OutputOptions
from scorestream_server.domain.table import Destination, OutputFormat, PartitionFile, Published
from scorestream_server.tables.appending import arrived, check_append, join, next_prefix, ordered_as
from scorestream_server.tables.dataset_output import write_dataset
from scorestream_server.tables.files import cancelled_error, disk_errors, sync
from scorestream_server.tables.manifest import DataFile, is_ours, read_manifest
from scorestream_server.tables.publication import Identity, Note, settle, withdraw, write_note
from scorestream_server.tables.results import read_partition
from scorestream_server.tables.writers import write_file

DEFAULT_UMASK = 0o022
MOST_NAMED = 1000
"""Files of a data set that are told by name; of more, the directory is."""


def check_output(destination: Destination, *, replace: bool, append: bool = False) -> None:
    """Refuse an output that could not be published, before any work is done for it.

    Raises:
        ScorestreamError: OUTPUT_EXISTS; OUTPUT_NOT_REPLACEABLE (a link, another kind of thing, or a
            directory that this program did not write); DIRECTORY_NOT_WRITABLE.
    """
    path = Path(destination.path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "DIRECTORY_NOT_WRITABLE",
            f"The server's user may not write into the directory of {path.name!r}. Change its permissions.",
            metadata={"path": destination.path},
        )
    if not os.path.lexists(path):
        return
    if not replace and not append:
        raise _exists(path)
    if path.is_symlink():
        raise _not_replaceable(path, "it is a symbolic link")
    if destination.format is OutputFormat.DATASET:
        if not path.is_dir():
            raise _not_replaceable(path, "it is a file, and the output is a directory")
        if any(path.iterdir()) and not is_ours(path):
            raise _not_replaceable(path, "it is a directory that scorestream did not write")
    elif not path.is_file():
        raise _not_replaceable(path, "it is no regular file")


def joins(destination: Destination) -> bool:
    """Return whether there is a data set for rows to join; where there is none, they make one."""
    path = Path(destination.path)
    return path.is_dir() and any(path.iterdir())


@dataclass(frozen=True, slots=True)
class Rows:
    """Committed partitions as a stream of rows, to be gone through as often as is needed.

    Attributes:
        files: the partitions, in row order.
        cancelled: asked between batches; True ends it.
        report: called with the rows read so far, each time that all columns are read.
    """

    files: Sequence[PartitionFile]
    cancelled: Callable[[], bool]
    report: Callable[[int], None]

    def __call__(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows with these columns, None: all."""
        rows = 0
        for file in self.files:
            for batch in read_partition(file):
                if self.cancelled():
                    raise cancelled_error()
                yield batch if columns is None else batch.select(list(columns))
                rows += batch.num_rows
                if columns is None:
                    self.report(rows)


def publish(
    files: Sequence[PartitionFile],
    schema: pa.Schema,
    destination: Destination,
    journal: Path,
    *,
    replace: bool = False,
    append: bool = False,
    batch: str = "",
    options: OutputOptions = AS_USUAL,
    umask: int = DEFAULT_UMASK,
    cancelled: Callable[[], bool] = lambda: False,
    report: Callable[[int], None] = lambda _: None,
    before: Callable[[Path], None] = lambda _: None,
) -> Published:
    """Write committed partitions, in order, as one output.

    Args:
        files: the partitions, in row order.
        schema: of all of them.
        destination: from `DataRoots.output`.
        journal: file for the note on this output, of its job alone. It stays where the output was published, until
            whoever asked for that has written it down.
        replace: whether an output that is there may be replaced.
        append: whether the rows join the data set that is there; nobody else may write to it meanwhile.
        batch: the job under which a data set lists the rows. It appends once, however often it is asked to.
        options: how it is written.
        umask: what others may not do with the output; this process's own is stricter, for the files of clients.
        cancelled: asked between batches; True ends it.
        report: called with the rows written so far.
        before: called with the complete output, file or directory, just before it gets its name; an error of it ends
            that.

    Raises:
        ScorestreamError: what `check_output` and `check_append` raise, also when something appears meanwhile;
            DISK_FULL; RESULT_DAMAGED; TOO_MANY_DIRECTORIES; CANCELLED. Nothing is left behind then.
    """
    final = Path(destination.path)
    with disk_errors(final):
        told = settle(journal)
        if told is None and append and arrived(final, batch):
            sync(final)
            told = _published(final, batch)
    if told is not None:
        return told
    check_output(destination, replace=replace, append=append)
    joining = append and joins(destination)
    note = Note.begun(final, batch, joins=joining)
    kept = replace and destination.format is not OutputFormat.DATASET and final.exists()
    rows = Rows(files, cancelled, report)
    try:
        if joining:
            options = check_append(final, schema, options)
        with disk_errors(journal):
            write_note(journal, note)
        with disk_errors(final):
            published = _write(note, destination.format, rows, schema, options)
            _share(note.temporary, umask)
            sync(note.temporary)
        note = changed(note, identity=Identity.of(note.temporary), published=published)
        with disk_errors(journal):
            write_note(journal, note)
        before(note.temporary)
        with disk_errors(final):
            if joining:
                join(note.temporary, final)
            elif destination.format is OutputFormat.DATASET:
                _move_directory(note, destination, replace=replace, append=append)
            else:
                _move_file(note.temporary, final, replace=replace)
            sync(final.parent)
    except BaseException as error:
        # A note that cannot be followed now stays, for the next attempt or the next start.
        with contextlib.suppress(OSError):
            if withdraw(journal, keep=kept) and isinstance(error, ScorestreamError):
                error.message += (
                    f" {final.name!r} is complete and in its place, but a power cut may undo that."
                )
        raise
    if note.temporary.is_dir():
        shutil.rmtree(note.temporary, ignore_errors=True)
    else:
        note.temporary.unlink(missing_ok=True)
    shutil.rmtree(note.aside, ignore_errors=True)
    return published


def _write(
    note: Note, form: OutputFormat, rows: Rows, schema: pa.Schema, options: OutputOptions
) -> Published:
    """Write the output under its temporary name, synced."""
    final = note.final
    if form is not OutputFormat.DATASET:
        count = write_file(note.temporary, final, form, rows(), schema, options)
        return Published((str(final),), count, note.temporary.stat().st_size)
    manifest = write_dataset(
        note.temporary,
        rows,
        ordered_as(final, schema) if note.joins else schema,
        options,
        job=note.batch,
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        prefix=next_prefix(final, note.token) if note.joins else "part",
    )
    return Published(_named(final, manifest.files), manifest.rows, manifest.bytes)


def _published(final: Path, batch: str) -> Published | None:
    """Return what a data set lists of a batch."""
    manifest = read_manifest(final)
    number = None if manifest is None else manifest.batch_of(batch)
    if manifest is None or number is None:
        return None
    files = [file for file in manifest.files if file.batch == number]
    found = manifest.batches[number]
    return Published(_named(final, files), found.rows, found.bytes)


def _named(final: Path, files: Sequence[DataFile]) -> tuple[str, ...]:
    return (str(final),) if len(files) > MOST_NAMED else tuple(str(final / file.name) for file in files)


def _move_file(temporary: Path, final: Path, *, replace: bool) -> None:
    if replace:
        temporary.replace(final)
        return
    try:
        os.link(temporary, final)
    except FileExistsError:
        raise _exists(final) from None


def _move_directory(note: Note, destination: Destination, *, replace: bool, append: bool) -> None:
    check_output(destination, replace=replace, append=append)
    # One that is empty is taken by the rename itself, and one that is not fails it.
    if replace and os.path.lexists(note.final):
        note.final.rename(note.aside)
    try:
        note.temporary.rename(note.final)
    except OSError as error:
        if os.path.lexists(note.final):
            raise _exists(note.final) from error
        raise


def _share(path: Path, umask: int) -> None:
    """Give an output, a file or a directory and all in it, the modes that it would have had under `umask`."""
    if not path.is_dir():
        path.chmod(0o666 & ~umask)
        return
    for folder, _, names in os.walk(path):
        place = Path(folder)
        for name in names:
            (place / name).chmod(0o666 & ~umask)
        # From a directory that gives its group to what is in it.
        inherited = place.stat().st_mode & stat.S_ISGID
        place.chmod(0o777 & ~umask | inherited)


def _exists(path: Path) -> ScorestreamError:
    return ScorestreamError(
        ErrorCode.ALREADY_EXISTS,
        "OUTPUT_EXISTS",
        f"The output {path.name!r} exists. Give another name, or allow it to be replaced.",
        metadata={"path": str(path)},
    )


def _not_replaceable(path: Path, told: str) -> ScorestreamError:
    return precondition(
        "OUTPUT_NOT_REPLACEABLE",
        f"The output {path.name!r} cannot be replaced: {told}. Remove it yourself, or give another name.",
        path=str(path),
    )
