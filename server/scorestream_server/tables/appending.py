"""A batch of rows that joins a data set: made as a data set of its own beside it, then moved into it.

The files come first, each under a name that no other batch has, and the manifest that lists them last. Whoever goes by
the manifest sees all of a batch or nothing; whoever reads the directory sees no file of a batch that is not complete
and decided on. A batch that has begun to move is moved to the end, by whoever comes next (`publication.settle`), and
one that its job's manifest entry shows to be there is never added again.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid, precondition
from scorestream_server.domain.output import OutputOptions
from scorestream_server.tables.dataset_output import write_text
from scorestream_server.tables.files import sync
from scorestream_server.tables.manifest import (
    MANIFEST,
    Column,
    Manifest,
    decoded,
    manifest_bytes,
    read_manifest,
)

WITHDRAWN = "_withdrawn.json"
"""What the manifest of a batch is called that is being taken out again."""
_MERGED = ".merged"


def check_append(directory: Path, schema: pa.Schema, options: OutputOptions) -> OutputOptions:
    """Return how rows are to be written that join a data set: partitioned as that is.

    Raises:
        ScorestreamError: OUTPUT_NOT_APPENDABLE; APPEND_DOES_NOT_MATCH, naming every column that differs.
    """
    found = read_manifest(directory)
    if found is None:
        raise _not_appendable(
            directory, "it is not a data set whose _manifest.json this version of scorestream knows"
        )
    columns = tuple(Column(field.name, str(field.type)) for field in schema)
    faults = _differences(found.schema, columns)
    if options.partition_by and options.partition_by != found.partition_by:
        there = ", ".join(found.partition_by) or "nothing"
        faults.append(
            FieldFault("partition_by", f"the data set is partitioned by {there}; leave partition_by out")
        )
    if faults:
        raise append_fault(f"the data set {directory.name!r}", faults)
    return replace(options, partition_by=found.partition_by)


def column_faults(there: pa.Schema, new: pa.Schema) -> list[FieldFault]:
    """Return how the columns of new rows differ from those of the rows that they are to join, in any order."""
    old, added = (tuple(Column(one.name, str(one.type)) for one in schema) for schema in (there, new))
    return _differences(old, added)


def append_fault(where: str, faults: list[FieldFault]) -> ScorestreamError:
    """Return the error for rows that do not fit to those that they are to join."""
    told = "; ".join(f"{fault.field}: {fault.description}" for fault in faults[:10])
    more = f"; and {len(faults) - 10:,} more" if len(faults) > 10 else ""
    return invalid(
        "APPEND_DOES_NOT_MATCH",
        f"The result cannot be appended to {where}: {told}{more}. Make the columns the same, or write to another place.",
        faults,
    )


def arrived(directory: Path, job: str) -> bool:
    """Return whether a data set has a job's batch.

    Raises:
        OSError: that cannot be known.
    """
    found = decoded(manifest_bytes(directory)) if job else None
    return found is not None and found.batch_of(job) is not None


def ordered_as(directory: Path, schema: pa.Schema) -> pa.Schema:
    """Return the columns in the order that a data set has them."""
    found = read_manifest(directory)
    return schema if found is None else pa.schema([schema.field(column.name) for column in found.schema])


def next_prefix(directory: Path, token: str) -> str:
    """Return what the names of the next batch's files begin with: sorted, they come behind all that are there."""
    found = read_manifest(directory)
    return f"part-a{len(found.batches) if found else 0:05d}-{token}"


def join(staged: Path, final: Path) -> None:
    """Move a batch that is complete into a data set; goes on where it was broken off.

    Args:
        staged: the batch, as a data set of its own on the same file system.
        final: the data set.

    Raises:
        ScorestreamError: OUTPUT_NOT_APPENDABLE, APPEND_DOES_NOT_MATCH: the data set is not what it was.
        OSError: of the disk.
    """
    new = read_manifest(staged)
    if new is None:
        raise _not_appendable(final, "the rows to be added are gone")
    _merged(final, new)  # refused before anything is moved
    folders = {final}
    for file in new.files:
        source, target = staged / file.name, final / file.name
        if os.path.lexists(source):
            if os.path.lexists(target):
                raise _not_appendable(final, f"it has a file {file.name!r} of somebody else's")
            folders.update(_make_folders(target.parent, final))
            source.rename(target)
            folders.add(target.parent)
        elif not os.path.lexists(target):
            raise _not_appendable(final, f"the new file {file.name!r} was removed")
    for folder in folders:
        sync(folder)
    merged = staged / _MERGED
    # Somebody else, another server perhaps, may have added rows meanwhile.
    while True:
        before = manifest_bytes(final)
        merged.unlink(missing_ok=True)
        write_text(merged, _merged(final, new, before).text())
        shutil.copymode(staged / MANIFEST, merged)
        if manifest_bytes(final) == before:
            break
    merged.replace(final / MANIFEST)
    sync(final)


def take_out(staged: Path, final: Path) -> None:
    """Undo what `join` did before the manifest was replaced; goes on where it was broken off.

    Raises:
        OSError: of the disk.
    """
    with contextlib.suppress(FileNotFoundError):
        (staged / MANIFEST).rename(staged / WITHDRAWN)
    try:
        new = decoded((staged / WITHDRAWN).read_bytes())
    except FileNotFoundError:
        return
    for file in new.files if new else ():
        target = final / file.name
        # One that never moved may have found its name taken by somebody else's.
        if not os.path.lexists(staged / file.name) and not _through_link(target.parent, final):
            target.unlink(missing_ok=True)
            for folder in _between(target.parent, final):
                with contextlib.suppress(OSError):  # it has other files, or is gone
                    folder.rmdir()


def _merged(final: Path, new: Manifest, text: bytes | None = None) -> Manifest:
    """Return the manifest of a data set with new rows, or refuse where they do not fit any more."""
    old = decoded(manifest_bytes(final) if text is None else text)
    if old is None:
        raise _not_appendable(
            final, "its _manifest.json was removed, or is not one of scorestream's any more"
        )
    faults = _differences(old.schema, new.schema)
    if old.partition_by != new.partition_by:
        faults.append(FieldFault("partition_by", "the data set is partitioned otherwise now"))
    if faults:
        raise append_fault(f"the data set {final.name!r}", faults)
    merged = old.plus(new)
    merged.text()
    return merged


def _differences(there: tuple[Column, ...], new: tuple[Column, ...]) -> list[FieldFault]:
    old, added = ({column.name: column.type for column in columns} for columns in (there, new))
    faults = [FieldFault(name, "it is missing in the result") for name in old if name not in added]
    faults += [FieldFault(name, "only the result has it") for name in added if name not in old]
    faults += [
        FieldFault(name, f"it is {kind} in the result, not {old[name]}")
        for name, kind in added.items()
        if name in old and kind != old[name]
    ]
    return faults


def _make_folders(folder: Path, final: Path) -> Iterator[Path]:
    """Make the directories of a partition, as open to others as the data set is; yield what changed."""
    if _through_link(folder, final):
        raise _not_appendable(final, f"{folder.relative_to(final)} in it is no directory of its own")
    mode = final.stat().st_mode & 0o7777
    for missing in reversed(list(_between(folder, final))):
        if not missing.is_dir():
            missing.mkdir()
            missing.chmod(mode)
            yield missing.parent


def _between(folder: Path, final: Path) -> Iterator[Path]:
    """Yield a folder and those above it, below the data set."""
    while folder != final:
        yield folder
        folder = folder.parent


def _through_link(folder: Path, final: Path) -> bool:
    """Return whether the way to a folder leads over something that is no directory of the data set's own."""
    return any(
        os.path.lexists(part) and (part.is_symlink() or not part.is_dir()) for part in _between(folder, final)
    )


def _not_appendable(path: Path, told: str) -> ScorestreamError:
    return precondition(
        "OUTPUT_NOT_APPENDABLE",
        f"Rows cannot be appended to {path.name!r}: {told}. Write to another place, or replace it.",
        path=str(path),
    )
