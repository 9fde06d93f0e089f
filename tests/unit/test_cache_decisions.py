"""What the cache decides: where tables go, and what has to go for them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.cache import (
    Bound,
    Bounds,
    CacheSize,
    DirectorySpace,
    Holding,
    Shortage,
    choose_directory,
    make_room,
    most_bytes,
    most_room,
    parse_cache_size,
    taken,
    what_to_evict,
)

GIB = 1 << 30
SPACES = st.lists(
    st.builds(
        DirectorySpace,
        path=st.integers(0, 9).map(lambda number: Path(f"/cache{number}")),
        device=st.integers(1, 3),
        used=st.just(0),
        free=st.integers(0, 100),
        total=st.just(100),
    ),
    unique_by=lambda space: space.path,
)


@st.composite
def holdings(draw: st.DrawFn) -> list[Holding]:
    """Tables of two owners; files may be shared, and a file has one size."""
    sizes = draw(st.lists(st.integers(1, 50), min_size=1, max_size=8))
    count = draw(st.integers(0, 7))
    found = []
    for number in range(count):
        mine = draw(st.sets(st.integers(0, len(sizes) - 1), max_size=3))
        found.append(
            Holding(
                f"t{number}",
                draw(st.sampled_from(["ann", "bob"])),
                {(1 + key % 2, key): sizes[key] for key in mine},
                idle=draw(st.booleans()),
                reloadable=draw(st.booleans()),
                last_used=draw(st.floats(0, 5)),
            )
        )
    return found


def without(tables: list[Holding], gone: tuple[str, ...]) -> list[Holding]:
    return [one for one in tables if one.uid not in gone]


@given(holdings(), st.integers(-5, 200))
def test_what_is_evicted_is_idle_reloadable_enough_and_needed(tables: list[Holding], wanted: int) -> None:
    """Bytes that others share are not counted as freed, and nothing goes that could have stayed."""
    found = what_to_evict(tables, wanted)
    everything = tuple(one.uid for one in tables if one.evictable)
    if found is None:
        assert taken(tables) - taken(without(tables, everything)) < wanted
        return
    assert set(found) <= set(everything)
    assert taken(tables) - taken(without(tables, found)) >= wanted
    for spared in found:
        rest = tuple(uid for uid in found if uid != spared)
        assert taken(tables) - taken(without(tables, rest)) < wanted


@given(st.lists(st.integers(1, 20), min_size=1, max_size=10), st.integers(1, 100))
def test_the_least_recently_used_go_first(sizes: list[int], wanted: int) -> None:
    """Of tables that share nothing, one stays only if it is not needed, or all that are older do not suffice."""
    tables = [
        Holding(f"t{at}", "ann", {(1, at): size}, True, True, float(at)) for at, size in enumerate(sizes)
    ]
    found = what_to_evict(tables, wanted)
    if found is None:
        assert sum(sizes) < wanted
        return
    newest = max(int(uid[1:]) for uid in found)
    assert sum(sizes[:newest]) < wanted


@given(holdings(), st.integers(0, 120), st.integers(0, 300), st.integers(0, 300), st.integers(-20, 300))
def test_room_is_made_within_every_bound_or_the_bound_is_named(
    tables: list[Holding], wanted: int, most: int, mine: int, disk: int
) -> None:
    """After what is evicted, a table of that size keeps within cache, owner's share and disk."""
    bounds = Bounds(most, "ann", mine, 1, disk)
    found = make_room(tables, bounds, wanted)
    room = most_room(tables, bounds, 1)
    if isinstance(found, Shortage):
        assert found.missing > 0
        assert wanted > room or wanted == 0
        return
    left = without(tables, found)

    def on_disk(some: list[Holding]) -> int:
        return taken(
            Holding(one.uid, one.owner, {k: v for k, v in one.files.items() if k[0] == 1}, True, True, 0.0)
            for one in some
        )

    assert taken(left) + wanted <= most
    assert taken(one for one in left if one.owner == "ann") + wanted <= mine
    assert wanted <= disk + on_disk(tables) - on_disk(left)
    assert wanted <= room or wanted == 0


@given(SPACES)
def test_a_table_goes_where_most_room_is(spaces: list[DirectorySpace]) -> None:
    """The first of those that have most; a copy somewhere else."""
    found = choose_directory(spaces)
    if not spaces:
        assert found is None
        return
    assert found is not None
    assert all(space.room <= found.room for space in spaces)
    other = choose_directory(spaces, [found.path])
    assert (other is None) == (len(spaces) == 1)
    assert other is None or other.path != found.path


def test_directories_of_one_disk_share_its_room() -> None:
    """By default a twentieth of each disk stays free, at most 1 GiB; a share is of all disks."""
    one = DirectorySpace(Path("/a"), 1, 5, 50, 100)
    spaces = [one, DirectorySpace(Path("/b"), 1, 5, 50, 100), DirectorySpace(Path("/c"), 2, 0, 3, 100)]
    assert most_bytes(CacheSize(), spaces, 10) == 10 + (50 - 5) + (3 - 5)
    assert most_bytes(CacheSize(share=0.5), spaces, 10) == 100
    assert most_bytes(CacheSize(bytes=7), spaces, 10) == 7
    assert DirectorySpace(Path("/d"), 3, 0, 100 * GIB, 1000 * GIB).room == 99 * GIB


def test_a_shortage_says_which_bound_is_passed() -> None:
    upload = Holding("up", "ann", {(1, 1): 60}, idle=True, reloadable=False, last_used=1.0)
    loaded = Holding("csv", "bob", {(1, 2): 30}, idle=True, reloadable=True, last_used=2.0)
    tables = [upload, loaded]
    assert make_room(tables, Bounds(100, "ann", 100, 1, 100), 10) == ()
    assert make_room(tables, Bounds(100, "ann", 100, 1, 100), 20) == ("csv",)
    assert make_room(tables, Bounds(100, "ann", 100, 1, 100), 41) == Shortage(Bound.OWNER, 1)
    assert make_room(tables, Bounds(100, "bob", 100, 1, 100), 41) == Shortage(Bound.CACHE, 31)
    assert make_room(tables, Bounds(1000, "bob", 1000, 1, 10), 41) == Shortage(Bound.DISK, 31)
    assert make_room(tables, Bounds(1000, "bob", 1000, 1, 10), 40) == ("csv",)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500GiB", CacheSize(bytes=500 * GIB)),
        ("1.5 MiB", CacheSize(bytes=3 << 19)),
        ("0.5", CacheSize(share=0.5)),
        ("1", CacheSize(share=1.0)),
    ],
)
def test_a_size_is_an_amount_or_a_share(text: str, size: CacheSize) -> None:
    assert parse_cache_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "2", "-1", "many", "0KiB", "500 GB", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|nothing"):
        parse_cache_size(text)
