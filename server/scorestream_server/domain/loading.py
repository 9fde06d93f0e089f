"""Where a table is mapped from: the server says it, a library more closely, a load most closely."""

from dataclasses import dataclass, replace

from scorestream_server.domain.library import Library
from scorestream_server.domain.table import (
    BackingStore,
    FileFormat,
    LoadedAs,
    LoadOptions,
    SourceChange,
    TableData,
)


@dataclass(frozen=True, slots=True)
class LoadWish:
    """What a load says itself.

    Attributes:
        backing_store: INHERIT, where it leaves that to its library or the server.
        columns: those that the table gets; empty: all.
        where: SQL predicate; empty: all rows.
        on_source_change: None, where it leaves that to its library or the server.
        copies: likewise.
    """

    backing_store: BackingStore = BackingStore.INHERIT
    columns: tuple[str, ...] = ()
    where: str = ""
    on_source_change: SourceChange | None = None
    copies: int | None = None


@dataclass(frozen=True, slots=True)
class Effective:
    """Where a table is to be mapped from, and who said so: ``server``, ``library NAME`` or ``load``."""

    store: BackingStore
    origin: str


def effective_store(server: BackingStore, library: Library | None, load: BackingStore) -> Effective:
    """Return what holds for a table: the closest level that does not inherit.

    Args:
        server: the server's default, which is not INHERIT.
        library: what the table is loaded from; None for none.
        load: what the load itself asks for.
    """
    if load is not BackingStore.INHERIT:
        return Effective(load, "load")
    if library is not None and library.backing_store is not BackingStore.INHERIT:
        return Effective(library.backing_store, f"library {library.library_id}")
    return Effective(server, "server")


def loaded_as(server: BackingStore, library: Library | None, load: LoadWish) -> LoadedAs:
    """Return how a table is to be loaded; arguments as of `effective_store`."""
    effective = effective_store(server, library, load.backing_store)
    change, copies = load.on_source_change, load.copies
    if library is not None:
        change = library.on_source_change if change is None else change
        copies = library.copies if copies is None else copies
    options = LoadOptions(
        disk_cache=effective.store is BackingStore.DISK_CACHE,
        columns=load.columns,
        where=load.where,
        on_source_change=SourceChange.FAIL if change is None else change,
        copies=copies,
    )
    name = "" if library is None else library.name
    return LoadedAs(effective.store, effective.origin, name, options)


def told(loaded: LoadedAs, data: TableData, *, sent: bool) -> LoadedAs:
    """Return how a table was loaded, with why it is not mapped from its sources, where it was to be and is not.

    Args:
        loaded: what was asked for.
        data: what it became.
        sent: whether its rows were sent, and not loaded from files.
    """
    if loaded.asked is not BackingStore.IN_PLACE_PREFERRED or (data.in_place and not sent):
        return loaded
    if sent:
        why = "rows that were sent have no source"
    elif loaded.options.where:
        why = "rows that a predicate chose at load are not what the source holds"
    elif data.format is FileFormat.ARROW:
        why = "Arrow files that are compressed, and Arrow streams, cannot be mapped"
    elif data.format is FileFormat.PARQUET:
        why = "these files cannot be read where they lie"
    else:
        why = f"{data.format.value.upper()} cannot be mapped"
    return _noted(loaded, why)


def taken_along(loaded: LoadedAs, before: TableData, after: TableData) -> LoadedAs:
    """Return how a table was loaded, with why it has copies of its sources where it had none before."""
    if not before.in_place or after.in_place:
        return loaded
    return _noted(loaded, "files of a session's home are its owner's to change, and were copied")


def _noted(loaded: LoadedAs, why: str) -> LoadedAs:
    note = (
        f"in_place_preferred ({loaded.origin}) does not apply: {why}. The table lies in the server's cache."
    )
    return replace(loaded, note=note)
