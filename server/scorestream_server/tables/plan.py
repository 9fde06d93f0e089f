"""How a table is cut into partitions: pure decisions, no I/O."""

from dataclasses import replace

from scorestream_server.domain.table import Fragment, FragmentSlice, Partition, TableData


def plan_partitions(table: TableData, target_rows: int) -> tuple[Partition, ...]:
    """Cut a table into contiguous row ranges of about ``target_rows`` rows, in order.

    A fragment is cut into equal parts, wherever that is; short fragments share a partition.

    Args:
        table: the table.
        target_rows: the wanted size, at least 1; no partition is larger.
    """
    partitions: list[Partition] = []
    slices: list[FragmentSlice] = []
    first = rows = 0

    def close() -> None:
        nonlocal first, rows, slices
        if slices:
            partitions.append(Partition(len(partitions), first, rows, tuple(slices)))
            first, rows, slices = first + rows, 0, []

    for number, fragment in enumerate(table.fragments):
        # Equal parts, so that no lane ends with a sliver. What does not fill a partition stays open.
        parts = -(-fragment.rows // target_rows)
        for part in range(parts):
            start, end = fragment.rows * part // parts, fragment.rows * (part + 1) // parts
            if rows + end - start > target_rows:
                close()
            slices.append(FragmentSlice(number, start, end - start))
            rows += end - start
    close()
    return tuple(partitions)


def beginning(table: TableData, rows: int) -> TableData:
    """Return a table of the first fragments of another, as many as hold so many rows."""
    wanted: list[Fragment] = []
    for fragment in table.fragments:
        if sum(one.rows for one in wanted) >= rows:
            break
        wanted.append(fragment)
    paths = {fragment.path for fragment in wanted}
    files = tuple(file for file in table.files if file.path in paths)
    return replace(table, fragments=tuple(wanted), files=files, sources=())
