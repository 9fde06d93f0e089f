"""Where a table is mapped from: server, library, load; every case of it."""

import itertools
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.library import Library
from scorestream_server.domain.loading import Effective, LoadWish, effective_store, loaded_as, told
from scorestream_server.domain.table import (
    BackingStore,
    FileFormat,
    LoadedAs,
    LoadOptions,
    SourceChange,
    TableData,
)

INHERIT, IN_PLACE, CACHE = (
    BackingStore.INHERIT,
    BackingStore.IN_PLACE_PREFERRED,
    BackingStore.DISK_CACHE,
)
SALES = Library("sales", "", "sales", INHERIT, SourceChange.FAIL, None, "", "root", 1.0)
DATA = TableData((), (), (), b"", 0, FileFormat.PARQUET, in_place=True)


def of_library(store: BackingStore | None) -> Library | None:
    return None if store is None else replace(SALES, backing_store=store)


@pytest.mark.parametrize(
    ("server", "library", "load", "effective", "origin"),
    [
        (IN_PLACE, None, INHERIT, IN_PLACE, "server"),
        (CACHE, None, INHERIT, CACHE, "server"),
        (IN_PLACE, INHERIT, INHERIT, IN_PLACE, "server"),
        (CACHE, INHERIT, INHERIT, CACHE, "server"),
        (IN_PLACE, CACHE, INHERIT, CACHE, "library sales"),
        (CACHE, IN_PLACE, INHERIT, IN_PLACE, "library sales"),
        (IN_PLACE, IN_PLACE, INHERIT, IN_PLACE, "library sales"),
        (IN_PLACE, CACHE, IN_PLACE, IN_PLACE, "load"),
        (CACHE, IN_PLACE, CACHE, CACHE, "load"),
        (IN_PLACE, None, CACHE, CACHE, "load"),
        (CACHE, INHERIT, IN_PLACE, IN_PLACE, "load"),
    ],
)
def test_d3_the_closest_level_that_does_not_inherit_decides(
    server: BackingStore,
    library: BackingStore | None,
    load: BackingStore,
    effective: BackingStore,
    origin: str,
) -> None:
    assert effective_store(server, of_library(library), load) == Effective(effective, origin)


def test_d3_every_combination_has_a_store_and_tells_whose_word_it_is() -> None:
    """All 2 x 4 x 3 of them: what is effective was said by the level that is named, and no closer one said anything."""
    for server, library, load in itertools.product(
        (IN_PLACE, CACHE), (None, INHERIT, IN_PLACE, CACHE), BackingStore
    ):
        found = effective_store(server, of_library(library), load)
        levels = {"load": load, "library sales": library or INHERIT, "server": server}
        closer = list(levels)[: list(levels).index(found.origin)]
        assert all(levels[origin] is INHERIT for origin in closer)
        assert levels[found.origin] is found.store is not INHERIT


@pytest.mark.parametrize(
    ("data", "where", "sent", "why"),
    [
        (replace(DATA, in_place=True), "", False, ""),
        (replace(DATA, in_place=False, format=FileFormat.CSV), "", False, "CSV cannot be mapped"),
        (replace(DATA, in_place=False, format=FileFormat.ARROW), "", False, "compressed"),
        (replace(DATA, in_place=False), "a > 1", False, "predicate"),
        (replace(DATA, in_place=True), "", True, "sent"),
    ],
)
def test_d3_where_in_place_cannot_be_the_table_says_so(
    data: TableData, where: str, sent: bool, why: str
) -> None:
    """And a table that was to lie in the cache, and does, says nothing."""
    asked = loaded_as(IN_PLACE, None, LoadWish(where=where))
    note = told(asked, data, sent=sent).note
    assert why in note
    assert bool(note) == bool(why)
    assert not note or "in_place_preferred (server) does not apply" in note
    cached = loaded_as(CACHE, None, LoadWish(where=where))
    assert told(cached, data, sent=sent) == cached


@given(
    st.sampled_from([IN_PLACE, CACHE]),
    st.sampled_from([None, *BackingStore]),
    st.sampled_from(list(BackingStore)),
    st.sampled_from([None, *SourceChange]),
    st.sampled_from(list(SourceChange)),
    st.none() | st.integers(0, 8),
    st.none() | st.integers(0, 8),
)
def test_d3_a_load_wins_over_its_library_in_all_that_it_says(
    server: BackingStore,
    store: BackingStore | None,
    load: BackingStore,
    change: SourceChange | None,
    of_it: SourceChange,
    copies: int | None,
    its_copies: int | None,
) -> None:
    library = of_library(store)
    if library is not None:
        library = replace(library, on_source_change=of_it, copies=its_copies)
    found = loaded_as(server, library, LoadWish(load, ("a",), "a > 1", change, copies))
    usual = SourceChange.FAIL if library is None else of_it
    assert found.options.on_source_change is (usual if change is None else change)
    inherited = None if library is None else its_copies
    assert found.options.copies == (inherited if copies is None else copies)
    assert found.options.disk_cache == (effective_store(server, library, load).store is CACHE)
    assert (found.options.columns, found.options.where) == (("a",), "a > 1")
    assert found.library == ("" if library is None else "libraries/sales")


def test_records_of_stores_before_libraries_decode() -> None:
    """What a table was loaded as, where that was not written down, is what it was then: in place where that could be."""
    assert msgspec.json.decode(b"{}", type=LoadedAs) == LoadedAs()
    assert msgspec.json.decode(b'{"disk_cache":true}', type=LoadOptions) == LoadOptions(disk_cache=True)
    loaded = LoadedAs(CACHE, "library sales", "libraries/sales", LoadOptions(True, ("a",), "a > 1"), "why")
    assert msgspec.json.decode(msgspec.json.encode(loaded), type=LoadedAs) == loaded
