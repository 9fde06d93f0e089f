"""A private server ends with its client, and a start that fails says why.

The server here is a few lines of Python under the server's name: it keeps the agreement between client
and server process (one JSON line when ready, gone when its input ends), and fails as it is told to.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

import scorestream
import scorestream.aio
from scorestream import private_server
from scorestream.private_server import PrivateServer

READY = """
import json, os, sys
from pathlib import Path
directory = Path(sys.argv[sys.argv.index("--data-dir") + 1])
(directory / "arguments").write_text(" ".join(sys.argv[1:]))
print("words for the log", file=sys.stderr)
print(json.dumps({"address": "127.0.0.1:1", "data_dir": str(directory), "pid": os.getpid()}), flush=True)
sys.stdin.read()
"""
STUBBORN = READY.replace("sys.stdin.read()", "import time; time.sleep(600)")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in's program is to be written."""
    package = tmp_path / "path" / "scorestream_server"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return package / "__main__.py"


def processes_of(directory: Path) -> list[str]:
    """Return the processes that were started with a data directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(directory).encode() in words:
            found.append(process.parent.name)
    return found


def test_it_lives_as_long_as_its_client(stand_in: Path) -> None:
    """Flags are passed on; after the block neither process nor temporary directory is left."""
    stand_in.write_text(READY)
    with scorestream.local(device="cpu", workers=2) as client:
        assert client.address == "127.0.0.1:1"
        assert client._server is not None
        directory = client._server.data_dir
        assert (directory / "arguments").read_text() == (
            f"--private --host 127.0.0.1 --port 0 --data-dir {directory} --device cpu --workers 2"
        )
        assert len(processes_of(directory)) == 1
        assert (directory / "server.log").read_text() == "words for the log\n"
    assert not directory.exists()
    assert not processes_of(directory)
    client.close()


def test_a_given_directory_stays(stand_in: Path, tmp_path: Path) -> None:
    """State that the user asked to keep is kept."""
    stand_in.write_text(READY)
    with scorestream.local(tmp_path / "state"):
        assert processes_of(tmp_path / "state")
    assert (tmp_path / "state" / "server.log").exists()
    assert not processes_of(tmp_path / "state")


def test_a_server_that_does_not_listen_is_made_to_stop(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that ignores the end of its input is ended by a signal."""
    monkeypatch.setattr(private_server, "STOP_SECONDS", 0.1)
    stand_in.write_text(STUBBORN)
    server = PrivateServer()
    server.stop()
    assert not processes_of(server.data_dir)
    assert not server.data_dir.exists()


async def test_the_asyncio_client_has_one_too(stand_in: Path) -> None:
    """Starting and stopping do not block the event loop."""
    await asyncio.to_thread(stand_in.write_text, READY)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    async with await scorestream.aio.local() as client:
        assert client.address == "127.0.0.1:1"
    ticking.cancel()
    assert ticks > 10


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit('the disk is full')", "ended with code 1"),
        ("print('not JSON')", "Its last words"),
        ("print('[]')", "Its last words"),
    ],
)
def test_a_failed_start_shows_its_last_words(stand_in: Path, program: str, said: str) -> None:
    """The error has the end of the server's log, and nothing stays behind."""
    stand_in.write_text(program)
    with pytest.raises(scorestream.UnavailableError, match=said) as caught:
        PrivateServer()
    assert ("the disk is full" in caught.value.message) == ("disk" in program)
    assert caught.value.reason == "SERVER_DID_NOT_START"


def test_a_refused_flag_is_said_in_one_sentence(stand_in: Path) -> None:
    """Usage lines are about flags that nobody typed; the reason is what counts."""
    stand_in.write_text(
        "import argparse; parser = argparse.ArgumentParser(); parser.error('--device gpu: no such')"
    )
    with pytest.raises(
        scorestream.InvalidArgumentError, match=r"^The private server did not start: --device gpu: no such$"
    ):
        PrivateServer(device="gpu")


def test_an_interrupt_while_it_stops_leaves_nothing_behind(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C makes the end less polite; process and directory are gone all the same."""
    stand_in.write_text(STUBBORN)
    server = PrivateServer()
    waits = iter([KeyboardInterrupt])
    wait = subprocess.Popen.wait

    def interrupted(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        for error in waits:
            raise error
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.stop()
    assert not processes_of(server.data_dir)
    assert not server.data_dir.exists()


def test_a_start_that_takes_too_long_is_given_up(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says nothing is ended after a while."""
    monkeypatch.setattr(private_server, "START_SECONDS", 0.3)
    stand_in.write_text("import time; time.sleep(600)")
    with pytest.raises(scorestream.UnavailableError, match="did not say that it was ready"):
        PrivateServer()


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client-only installation is told the one command that helps."""
    monkeypatch.setattr(private_server, "SERVER_NEEDS", ("json", "no_such_module_anywhere"))
    with pytest.raises(
        scorestream.FailedPreconditionError, match=r"no_such_module_anywhere.*scorestream.server"
    ):
        PrivateServer()


def test_serve_passes_its_flags_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """`scorestream serve` becomes the server process, with the flags that it was given."""
    from scorestream.cli import main  # noqa: PLC0415 - the command line is what is tested here alone

    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _program, command: started.append(command))
    flags = ["--port", "1234", "--data-root", "/a", "--data-root", "/b", "--data-dir", "/c", "--workers", "3"]
    monkeypatch.setattr(sys, "argv", ["scorestream", "serve", *flags])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    expected = (
        "-m scorestream_server --host=127.0.0.1 --port=1234 --device=auto --data-dir=/c --data-root=/a --data-root=/b "
        "--workers=3"
    )
    assert started == [[sys.executable, *expected.split()]]
