"""What is told of a cache that is full, and of tables that cannot be brought back."""

from collections.abc import Sequence
from pathlib import Path

from scorestream_server.domain.cache import Bound
from scorestream_server.domain.errors import ErrorCode, ScorestreamError, counted, precondition
from scorestream_server.domain.limits import exhausted
from scorestream_server.domain.table import SourceFile, Table
from scorestream_server.engine.cache_contents import Contents, Entry
from scorestream_server.tables.checksums import CACHE_FULL
from scorestream_server.tables.identity import change
from scorestream_server.tables.uris import is_uri

MOST_TABLES_TOLD = 5


def what_changed(sources: Sequence[SourceFile]) -> str:
    """Return what is not as it was about sources, to be read after "because"; empty where nothing is."""
    for source in sources:
        # What is at a URI is looked at by the load itself.
        try:
            what = "" if is_uri(source.path) else change(source)
        except ScorestreamError as error:
            return error.message
        if what:
            return f"its source {source.path!r} {what}"
    return ""


def not_reloadable(table: Table, lost: ScorestreamError, changed: str) -> ScorestreamError:
    """Return why a table whose rows are gone from the cache cannot be made again."""
    why = changed or "it has no source that the server could read again"
    if table.data.evicted:
        return precondition(
            "TABLE_EVICTED",
            f"Table {table.table_id!r} was evicted from the cache to make room for others, and it cannot be loaded again: "
            f"{why}. Load it anew.",
            table=table.table_id,
        )
    return ScorestreamError(
        ErrorCode.DATA_LOSS,
        lost.reason,
        f"Table {table.table_id!r} is not whole, and cannot be loaded again as it was: {why}. {what_was_lost(lost)}. Load or upload it "
        "anew.",
        metadata={**lost.metadata, "table": table.table_id},
    )


def what_was_lost(lost: ScorestreamError) -> str:
    """Return what a worker found out about a cached file, without what it advises."""
    return lost.message.removesuffix(" Load the table again.").removesuffix(".")


def no_directory(directories: Sequence[Path]) -> ScorestreamError:
    """Return the error of a cache without a directory to write to."""
    named = ", ".join(map(str, directories))
    return ScorestreamError(
        ErrorCode.UNAVAILABLE,
        "CACHE_GONE",
        f"None of the server's cache directories is there: {named}. Have its disk mounted again, or the server started "
        "with another --cache-dir.",
    )


def _where(entry: Entry) -> str:
    return "(global)" if entry.table.is_global else f"in session {entry.table.session_name!r}"


def cache_full(contents: Contents, owner: str, bound: Bound, most_of_owner: int) -> ScorestreamError:
    """Return the error of a table that the cache has no room for: who has how much of it, and what can be done."""
    mine = [entry for entry in contents.entries if entry.table.owner == owner and entry.holding.files]
    sizes = {entry.table.uid: sum(entry.holding.files.values()) for entry in contents.entries}
    mine.sort(key=lambda entry: sizes[entry.table.uid], reverse=True)
    told = [
        f"{entry.table.table_id!r} {_where(entry)} ({sizes[entry.table.uid]:,} bytes)"
        for entry in mine[:MOST_TABLES_TOLD]
    ]
    if len(mine) > MOST_TABLES_TOLD:
        rest = sum(sizes[entry.table.uid] for entry in mine[MOST_TABLES_TOLD:])
        told.append(f"{counted(len(mine) - MOST_TABLES_TOLD, 'more table')} ({rest:,} bytes)")
    my_bytes = sum(sizes[entry.table.uid] for entry in mine)
    whose = f"Your tables take {my_bytes:,} bytes: {', '.join(told)}." if told else "You have no table in it."
    advice = (
        "Drop tables, or end sessions, that you no longer need. Tables in use, uploads, and tables whose sources changed "
        "are not evicted to make room."
    )
    if bound is Bound.OWNER:
        what = f"Your tables may take {most_of_owner:,} bytes of the cache. {whose}"
        return exhausted("TOO_MUCH_CACHED", "cache_bytes", most_of_owner, what, advice)
    theirs = contents.used - my_bytes
    what = (
        "The disk under the cache has no room left"
        if bound is Bound.DISK
        else f"The cache is full: it may take {contents.most:,} bytes, and tables take {contents.used:,}"
    )
    return ScorestreamError(
        ErrorCode.RESOURCE_EXHAUSTED,
        CACHE_FULL,
        f"{what}. {whose} Those of others take {max(0, theirs):,}. {advice} An operator gives the cache more with "
        "scorestream serve --cache-size or --cache-dir.",
        metadata={"used": str(contents.used), "most": str(contents.most)},
    )
