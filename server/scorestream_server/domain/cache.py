"""The cache: what is in it, where a table goes, and what has to go to make room. Decisions only, no I/O."""

import enum
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

RESERVED_SHARE = 0.05
MOST_RESERVED = 1 << 30
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(KiB|MiB|GiB|TiB)?")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

FileKey = tuple[int, int]
"""Device and inode: several names of the same bytes have the same one."""


@dataclass(frozen=True, slots=True)
class CacheSize:
    """How much the cache may take in all.

    Attributes:
        bytes: so much; 0: as the share says.
        share: of the file systems that its directories are on; 0: all that the reserve of each disk leaves.
    """

    bytes: int = 0
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class DirectorySpace:
    """A cache directory and its file system, in bytes.

    Attributes:
        device: the file system; directories on the same one have the same.
        used: by files of tables; a file with several names is counted once.
    """

    path: Path
    device: int
    used: int
    free: int
    total: int

    @property
    def room(self) -> int:
        """How much may be written before only the reserve is left, a twentieth of the disk, at most 1 GiB.

        Less than nothing where others have taken of the reserve.
        """
        return self.free - min(int(self.total * RESERVED_SHARE), MOST_RESERVED)


@dataclass(frozen=True, slots=True)
class Holding:
    """A table in the cache.

    Attributes:
        files: bytes by file, copies too; files of a table that shares them have the same keys.
        idle: nobody uses it now.
        reloadable: it can be made again, because its sources are what they were.
        last_used: seconds since 1970, UTC.
    """

    uid: str
    owner: str
    files: Mapping[FileKey, int]
    idle: bool
    reloadable: bool
    last_used: float

    @property
    def evictable(self) -> bool:
        """Whether its files may go."""
        return self.idle and self.reloadable and bool(self.files)


def parse_cache_size(text: str) -> CacheSize:
    """Return the size that a flag such as ``500GiB`` or ``0.5`` asks for.

    Raises:
        ValueError: it is neither an amount nor a fraction.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size; write a fraction of the disks such as 0.5, or 500GiB")
    amount, unit = float(found[1]), found[2]
    if unit:
        size = int(amount * _UNITS[unit])
        if size < 1:
            raise ValueError(f"{text!r} is nothing")
        return CacheSize(bytes=size)
    if 0 < amount <= 1:
        return CacheSize(share=amount)
    raise ValueError(f"{text!r} is no fraction: more than 0, at most 1; or write MiB, GiB or TiB")


def taken(holdings: Iterable[Holding]) -> int:
    """Return the bytes of tables; what several share is counted once."""
    files: dict[FileKey, int] = {}
    for holding in holdings:
        files.update(holding.files)
    return sum(files.values())


def most_bytes(size: CacheSize, spaces: Sequence[DirectorySpace], used: int) -> int:
    """Return how many bytes the cache may take in all."""
    if size.bytes:
        return size.bytes
    disks = {space.device: space for space in spaces}
    if size.share:
        return int(size.share * sum(space.total for space in disks.values()))
    return used + sum(space.room for space in disks.values())


def choose_directory(spaces: Sequence[DirectorySpace], without: Sequence[Path] = ()) -> DirectorySpace | None:
    """Return the directory with the most room, of equals the first; None where all are left out."""
    left = [space for space in spaces if space.path not in without]
    return max(left, key=lambda space: space.room, default=None)


def what_to_evict(holdings: Sequence[Holding], wanted: int) -> tuple[str, ...] | None:
    """Return the tables whose end frees so many bytes, least recently used first; None where nothing does.

    A file that several tables share is free when the last of them is gone. None of those returned could be spared.
    """
    if wanted <= 0:
        return ()
    left = Counter(key for holding in holdings for key in holding.files)
    candidates = (one for one in holdings if one.evictable)
    chosen: list[Holding] = []
    freed = 0
    for one in sorted(candidates, key=lambda one: (one.last_used, one.uid)):
        chosen.append(one)
        left.subtract(one.files.keys())
        freed += sum(size for key, size in one.files.items() if not left[key])
        if freed >= wanted:
            break
    if freed < wanted:
        return None
    spared = set()
    for one in chosen:
        loss = sum(size for key, size in one.files.items() if not left[key])
        if freed - loss >= wanted:
            freed -= loss
            left.update(one.files.keys())
            spared.add(one.uid)
    return tuple(one.uid for one in chosen if one.uid not in spared)


class Bound(enum.StrEnum):
    """What a table does not fit into."""

    CACHE = "cache"
    OWNER = "owner"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Shortage:
    """There is no room for a table, even if everything goes that may.

    Attributes:
        missing: how many bytes more are needed than there are now.
    """

    bound: Bound
    missing: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many bytes there may be: in all, of the table's owner, and on the disk that it goes to.

    Attributes:
        owner: who the table belongs to.
        device: the file system that it goes to.
        disk_room: how much may be written there.
    """

    most: int
    owner: str
    most_of_owner: int
    device: int
    disk_room: int


def make_room(holdings: Sequence[Holding], bounds: Bounds, wanted: int) -> tuple[str, ...] | Shortage:
    """Return what to evict so that a table of so many bytes keeps within every bound."""
    gone: set[str] = set()
    for bound in (Bound.OWNER, Bound.DISK, Bound.CACHE):
        left = [one for one in holdings if one.uid not in gone]
        missing = wanted + _missing(holdings, left, bounds, bound)
        concerned = [one for one in left if bound is not Bound.OWNER or one.owner == bounds.owner]
        if bound is Bound.DISK:
            concerned = [_on(one, bounds.device) for one in concerned]
        found = what_to_evict(concerned, missing)
        if found is None:
            return Shortage(bound, missing)
        gone |= set(found)
    return tuple(sorted(gone))


def _missing(holdings: Sequence[Holding], left: Sequence[Holding], bounds: Bounds, bound: Bound) -> int:
    """Return how far a bound is passed already; less than nothing where it is not."""
    match bound:
        case Bound.OWNER:
            return taken(one for one in left if one.owner == bounds.owner) - bounds.most_of_owner
        case Bound.DISK:
            here = [[_on(one, bounds.device) for one in some] for some in (holdings, left)]
            return -bounds.disk_room - (taken(here[0]) - taken(here[1]))
        case Bound.CACHE:
            return taken(left) - bounds.most


def most_room(holdings: Sequence[Holding], bounds: Bounds, times: int) -> int:
    """Return how large a table may be that is stored so many times, if everything goes that may."""
    staying = [one for one in holdings if not one.evictable]
    mine = taken(one for one in staying if one.owner == bounds.owner)
    here = [taken(_on(one, bounds.device) for one in some) for some in (holdings, staying)]
    total = min(bounds.most - taken(staying), bounds.most_of_owner - mine) // times
    return max(0, min(total, bounds.disk_room + here[0] - here[1]))


def _on(holding: Holding, device: int) -> Holding:
    """Return a table with its files on one file system only."""
    return replace(holding, files={key: size for key, size in holding.files.items() if key[0] == device})
