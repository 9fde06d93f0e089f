"""Nothing that a client may call a file leads out of its session's home."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.home import DEEPEST, RESERVED, home_path
from scorestream_server.tables.home import Home, remove_incoming
from scorestream_server.tables.paths import DataRoots

SECRET = b"secret"
TRICKS = [
    "..", ".", "", "link", "loop", "dangling", "pipe", "in", "in.txt", "secret.csv", RESERVED, "%2e%2e", "~", "~root",
    "..\\", "\\..\\secret.csv", "a\0b", "\n", "\x7f", "\u202e", "/", "//", "home:", "fileref:x", "/etc/passwd", "..;", "。。",
    "\uff0e\uff0e", "a" * 256, "é" * 128, "*", "$(id)", "-rf", "CON", " ", "\udcff",
]  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(TRICKS), st.text(max_size=12)), max_size=6).map("/".join)


@dataclass
class Place:
    """A home with what a user of the machine may have put there, and what lies outside of it."""

    top: Path
    home: Home

    def outside(self) -> dict[str, bytes]:
        """Return what lies outside of the home."""
        return {
            str(path.relative_to(self.top)): path.read_bytes() if path.is_file() else b""
            for path in self.top.rglob("*")
            if not path.is_relative_to(self.home.root)
        }


def make(top: Path) -> Place:
    home = Home(top / "home")
    home.make_directory(("in",))
    for path in ("secret.csv", "home/in.txt", "home/in/a.csv", "other/secret.csv"):
        (top / path).parent.mkdir(exist_ok=True)
        (top / path).write_bytes(b"v\n1\n" if path.startswith("home") else SECRET)
    (top / "home/link").symlink_to(top / "other")
    (top / "home/in/secret.csv").symlink_to(top / "secret.csv")
    (top / "home/dangling").symlink_to(top / "new")
    (top / "home/loop").symlink_to("loop")
    os.mkfifo(top / "home/pipe")
    return Place(top, home)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make(tmp_path)


def put(home: Home, text: str, content: bytes = b"mine", *, replace: bool = True, etag: str = "") -> None:
    with home.receive() as incoming:
        incoming.write(content)
        incoming.finish(home_path("path", text), replace=replace, etag=etag)


def calls(home: Home, text: str, other: str) -> Iterator[Callable[[], object]]:
    """Yield everything that a client can do with a path, and with two."""

    def names() -> tuple[str, ...]:
        return home_path("path", text)

    def read() -> None:
        with home.open(names()) as opened:
            assert opened.read(0, 100) != SECRET

    yield read
    yield lambda: home.look(names())
    yield lambda: home.page(names(), "", 100)
    yield lambda: home.make_directory(names())
    yield lambda: put(home, text)
    yield lambda: home.move(names(), home_path("path", other), replace=True, etag="")
    for roots in (DataRoots([]), DataRoots(None)):
        yield lambda roots=roots: inside(home, *roots.inputs([f"home:{text}"], home.root))  # type: ignore[misc]
        yield lambda roots=roots: inside(home, roots.resolve(f"home:{text}", home.root))  # type: ignore[misc]
        yield lambda roots=roots: inside(  # type: ignore[misc]
            home, Path(roots.output(f"home:{text}", home.root).path)
        )
    yield lambda: home.delete(names(), recursive=True, etag="")


def inside(home: Home, *paths: Path) -> None:
    for path in paths:
        assert Path(os.path.realpath(path)).is_relative_to(os.path.realpath(home.root))


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS)
@example("link/secret.csv", "in/x")
@example("in/secret.csv", "link/x")
@example("in.txt", "../secret.csv")
@example("dangling", "dangling")
@example("in", "link/in")
@example("pipe", "pipe")
@example("link", "")
def test_no_path_leaves_the_home(text: str, other: str) -> None:
    """Whatever is called for with whatever path, what lies outside stays as it was, and is not read."""
    with tempfile.TemporaryDirectory() as top:
        place = make(Path(top))
        before = place.outside()
        for call in calls(place.home, text, other):
            with suppress(ScorestreamError):
                call()
            assert place.outside() == before
        assert list((place.home.root / RESERVED).iterdir()) == []


@given(TEXTS)
def test_a_path_that_is_taken_is_what_it_says(text: str) -> None:
    """A path that is not refused has plain names alone, and only a scheme before and a slash behind fall away."""
    names: tuple[str, ...] | None = None
    with suppress(ScorestreamError):
        names = home_path("path", text)
    if names is None:
        with pytest.raises(ScorestreamError) as caught:
            home_path("path", text)
        assert (caught.value.code, caught.value.reason) == (ErrorCode.INVALID_ARGUMENT, "INVALID_PATH")
        return
    assert text.removeprefix("home:").removesuffix("/") in {"/".join(names), "."}
    assert all(name.isprintable() and name not in {"", ".", ".."} and "/" not in name for name in names)
    assert names[:1] != (RESERVED,)
    assert len(names) <= DEEPEST


def test_encoded_tricks_are_names_like_others(place: Place) -> None:
    for text in ("%2e%2e", "..%2fsecret.csv", "~", "~root", "..\\secret.csv", "$(id)", "-rf", "fileref:x"):
        put(place.home, text, text.encode())
        with place.home.open((text,)) as opened:
            assert opened.read(0, 100) == text.encode()


def test_a_link_is_no_file_and_no_way(place: Place) -> None:
    """Neither read nor listed nor replaced nor gone through; a link itself can be removed with its directory only."""
    home = place.home
    assert [file.path for file in home.page((), "", 100)[0]] == ["in", "in.txt"]
    assert [file.path for file in home.page(("in",), "", 100)[0]] == ["in/a.csv"]
    for text, reason in (
        ("link/secret.csv", "NOT_A_DIRECTORY"),
        ("in/secret.csv", "NOT_A_FILE"),
        ("pipe", "NOT_A_FILE"),
    ):
        with pytest.raises(ScorestreamError) as caught:
            home.open(home_path("path", text))
        assert caught.value.reason == reason
        with pytest.raises(ScorestreamError) as caught:
            put(home, text)
        assert caught.value.reason == reason
    with pytest.raises(ScorestreamError) as caught:
        DataRoots(None).inputs(["home:in"], home.root / "in")
    assert caught.value.code is ErrorCode.NOT_FOUND
    (home.root / "in/b.csv").symlink_to(home.root / "in.txt")
    with pytest.raises(ScorestreamError) as caught:
        DataRoots(None).inputs(["home:in"], home.root)
    assert caught.value.reason == "PATH_OUTSIDE_DATA_ROOTS"
    home.delete(("in",), recursive=True, etag="")
    assert (place.top / "secret.csv").read_bytes() == SECRET


def test_pages_follow_each_other(tmp_path: Path) -> None:
    """Every member comes once, in the order of names, whatever the size of pages."""
    home = Home(tmp_path / "home")
    wanted = sorted(f"f{number}" for number in range(23))
    for name in wanted:
        put(home, name)
    for limit in (1, 5, 23, 24):
        after, found, more = "", list[str](), True
        while more:
            files, more = home.page((), after, limit)
            found += [file.path for file in files]
            after = found[-1]
        assert found == wanted
    assert home.measure().files == 23
    assert home.measure().bytes == 23 * 4


def test_a_directory_does_not_go_where_it_is(place: Place) -> None:
    """Into itself, over something, or away altogether."""
    home = place.home
    home.make_directory(("other", "deep"))
    for target, reason in ((("in", "x"), "INVALID_MOVE"), (("other",), "FILE_EXISTS"), ((), "INVALID_MOVE")):
        with pytest.raises(ScorestreamError) as caught:
            home.move(("in",), target, replace=True, etag="")
        assert caught.value.reason == reason
    with pytest.raises(ScorestreamError) as caught:
        home.delete((), recursive=True, etag="")
    assert caught.value.reason == "HOME_STAYS"
    with pytest.raises(ScorestreamError) as caught:
        put(home, "in")
    assert caught.value.reason == "NOT_A_FILE"
    assert home.move(("in",), ("other", "in"), replace=False, etag="").path == "other/in"


def test_what_did_not_come_in_is_removed_at_a_start(place: Place) -> None:
    """And nothing that a client called so."""
    put(place.home, f"in/{RESERVED}")
    incoming = place.home.receive()
    incoming.write(b"half")
    assert [path.stat().st_size for path in (place.home.root / RESERVED).iterdir()] == [4]
    assert remove_incoming(place.home.root) == 1
    incoming.close()
    assert remove_incoming(place.home.root) == 0
    assert remove_incoming(place.top / "nothing") == 0
    assert (place.home.root / "in" / RESERVED).read_bytes() == b"mine"
