"""Which row groups of a Parquet file a condition excludes, by the statistics in the file's footer."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from scorestream_server.domain.table import SourceFile
from scorestream_server.tables.columns import READ_ERRORS
from scorestream_server.tables.conditions import Condition, accepts_nan
from scorestream_server.tables.parquet_files import Probe


def excluded_row_groups(
    file: SourceFile, metadata: pq.FileMetaData, where: Sequence[Condition], target: pa.Schema
) -> frozenset[int]:
    """Return the row groups of which no row passes all of the conditions, as far as statistics tell.

    One that is damaged is not among them: whoever reads it finds out, and says so.

    Args:
        file: the file.
        metadata: its footer.
        where: the conditions; those that read columns which are not in ``target`` are left out.
        target: the columns with the types that the conditions are for.

    Raises:
        READ_ERRORS: the file cannot be opened.
    """
    where = [one for one in where if one.columns and set(one.columns) <= set(target.names)]
    if not where:
        return frozenset()
    import pyarrow.dataset as ds  # noqa: PLC0415  # see tables/conditions.py `filtered`

    source = ds.ParquetFileFormat().make_fragment(file.path, pafs.LocalFileSystem())
    physical = source.physical_schema
    where = [one for one in where if _tells(one, physical, target)]
    # Arrow ends the process where it looks at a damaged one.
    probe = Probe(file, metadata, {name for one in where for name in one.columns})
    sound = [part for part in range(metadata.num_row_groups) if _sound(probe, part)]
    if not where or not sound:
        return frozenset()
    left = source.subset(row_group_ids=sound)
    for one in where:
        left = _matching(left, one, physical)
    return frozenset(sound) - {group.id for group in left.row_groups}


def _tells(condition: Condition, physical: pa.Schema, target: pa.Schema) -> bool:
    """Return whether statistics may be asked: they are of the types in the file, and leave out NaN."""
    converted = any(physical.field(name).type != target.field(name).type for name in condition.columns)
    return not converted and not accepts_nan(condition, target)


def _sound(probe: Probe, part: int) -> bool:
    try:
        probe.look(part)
    except READ_ERRORS:
        return False
    return True


def _matching(groups: Any, condition: Condition, physical: pa.Schema) -> Any:
    """Return the row groups that a condition does not exclude."""
    if not groups.row_groups:  # Arrow would take that for all
        return groups
    try:
        return groups.subset(filter=condition.expression, schema=physical)
    except (pa.ArrowException, TypeError):  # told when it is applied to rows
        return groups
