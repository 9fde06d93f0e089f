"""Cache directories: one store's, one server's, and holding nothing else; where the store finds its tables in them."""

import json
import os
from pathlib import Path

import pytest

from scorestream_server.domain.data_directory import DataDirectory, UnusableDirectoryError
from scorestream_server.domain.table import Block, CachedFile, FileFormat, Fragment, SourceFile, TableData
from scorestream_server.store.cache_dirs import MARKER, claimed
from scorestream_server.store.cached import moved

UID = "0" * 8 + "-0000-0000-0000-" + "0" * 12


def directory(root: Path, *caches: Path) -> DataDirectory:
    root.mkdir(exist_ok=True)
    return DataDirectory(root, caches)


def test_a_directory_is_claimed_again_by_its_own_store_alone(tmp_path: Path) -> None:
    mine, other = (directory(tmp_path / name, tmp_path / "cache") for name in ("mine", "other"))
    with claimed(mine) as locks:
        assert len(locks) == 1
        with pytest.raises(UnusableDirectoryError, match=rf"in use by the server of process {os.getpid()}\b"):
            claimed(other).__enter__()
    with pytest.raises(UnusableDirectoryError, match="belongs to another data directory"):
        claimed(other).__enter__()
    (tmp_path / "mine").rename(tmp_path / "moved")
    with claimed(directory(tmp_path / "moved", tmp_path / "cache")):
        pass


def test_without_a_flag_the_cache_lies_in_the_data_directory(tmp_path: Path) -> None:
    with claimed(directory(tmp_path / "data")):
        assert (tmp_path / "data" / "cache" / MARKER).is_file()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("photos", "holds files that are no server's cache"),
        ("no/such", "Is a disk not mounted"),
        ("data/models", "which the server has for something else"),
        ("good/inside", "which the server has for something else"),
    ],
)
def test_a_directory_that_is_no_cache_is_refused_and_not_touched(
    tmp_path: Path, name: str, told: str
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").touch()
    with pytest.raises(UnusableDirectoryError, match=told):
        claimed(directory(tmp_path / "data", tmp_path / "good", tmp_path / name)).__enter__()
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["one.jpg"]
    # What was claimed before is free again.
    with claimed(directory(tmp_path / "data", tmp_path / "good")):
        pass


@pytest.mark.parametrize("marker", ["", '{"store":', "[]", "null"])
def test_a_marker_that_was_not_finished_is_nobodys(tmp_path: Path, marker: str) -> None:
    """An empty one is of a server that was killed while it began; of any other it cannot be known whose it is."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / MARKER).write_text(marker)
    mine = directory(tmp_path / "mine", tmp_path / "cache")
    if marker:
        with pytest.raises(UnusableDirectoryError, match="belongs to another"):
            claimed(mine).__enter__()
        return
    with claimed(mine):
        told = json.loads((tmp_path / "cache" / MARKER).read_text())
        assert told["store"] == (tmp_path / "mine" / "store.id").read_text()


def table(path: Path, *copies: Path) -> TableData:
    file = SourceFile(str(path), 1, 1)
    cached = CachedFile(str(path), (Block(0, 1, 1),), tuple(map(str, copies)))
    fragment = Fragment(str(path), FileFormat.ARROW, 0, 1, 1)
    return TableData((fragment,), (file,), (file,), b"", 1, FileFormat.ARROW, in_place=True, cached=(cached,))


@pytest.fixture
def caches(tmp_path: Path) -> list[Path]:
    """Three directories; a file of a table in the second and in the third."""
    found = [tmp_path / name for name in ("a", "b", "c")]
    for path in found:
        (path / UID).mkdir(parents=True)
    for path in found[1:]:
        (path / UID / "t.arrow").touch()
    return found


def test_files_are_looked_for_in_the_directories_that_there_are(caches: list[Path]) -> None:
    """Each name stands for another file; what is where it was stays; what is nowhere keeps its name."""
    a, b, c = (path / UID / "t.arrow" for path in caches)
    away = caches[0].with_name("away") / UID / "t.arrow"
    assert moved(table(b, c), caches) == table(b, c)
    assert moved(table(away, c), caches) == table(b, c)
    assert moved(table(away, away.with_name("t2.arrow")), caches) == table(b, c)
    assert moved(table(b, away), caches) == table(b, c)
    assert moved(table(away), caches[:1]) == table(away)
    assert moved(table(a, b), caches) == table(a, b)


def test_a_copy_of_a_directory_does_not_follow_paths_into_the_first_one(caches: list[Path]) -> None:
    """Though the first one is still there."""
    b, c = (path / UID / "t.arrow" for path in caches[1:])
    assert moved(table(b), [caches[2]]) == table(c)
