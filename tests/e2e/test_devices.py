"""Device facts from a real server: through both clients, and through the command line."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import psutil
import pytest

import scorestream
import scorestream.aio

Run = Callable[..., subprocess.CompletedProcess[str]]
PROGRAM = [sys.executable, "-c", "from scorestream.cli import main; main()", "device"]


@pytest.fixture
def working(local: scorestream.Client, model: scorestream.Model) -> scorestream.Client:
    """The shared server, with its worker up: it has looked at a model."""
    assert model.version
    return local


@contextlib.contextmanager
def watching(*flags: str, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    """Run `device watch` until the block is done, and then end it as a person does."""
    command = [*PROGRAM, "watch", "--interval", "0.25", *flags]
    with subprocess.Popen(command, text=True, stderr=subprocess.PIPE, **streams) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == ""


def test_the_cpu_answers_whatever_else_there_is(working: scorestream.Client) -> None:
    """The last device is the CPU, with the machine's memory, and with the server's own worker on it."""
    cpu = working.devices()[-1]
    assert cpu.id == "cpu"
    assert cpu.name
    assert cpu.memory_total == psutil.virtual_memory().total
    assert cpu.memory_used is not None and cpu.memory_free is not None
    assert cpu.memory_used + cpu.memory_free == cpu.memory_total
    assert cpu.utilization is not None and 0 <= cpu.utilization <= 100
    assert (cpu.temperature, cpu.power) == (None, None)
    assert cpu.lanes == len(os.sched_getaffinity(0))
    assert 0 <= cpu.lanes_busy <= cpu.lanes
    (worker,) = cpu.processes
    assert worker.worker
    assert worker.memory is not None and worker.memory > 1 << 20
    assert "scorestream_server.workers.process" in psutil.Process(worker.pid).cmdline()


def test_watching_tells_again_and_again(working: scorestream.Client) -> None:
    """Readings come in the order of time, the first one at once; what is told are the same devices."""
    readings = list(islice(working.watch_devices(0.25), 3))
    times = [reading[-1].time for reading in readings]
    assert times == sorted(set(times))
    ids = [device.id for device in working.devices()]
    assert all([device.id for device in reading] == ids for reading in readings)


async def test_the_asyncio_client_watches_too(working: scorestream.Client) -> None:
    """The same names, awaited."""
    async with await scorestream.aio.connect(working.address) as client:
        listed = await client.devices()
        watch = client.watch_devices(0.25)
        readings = [await anext(watch), await anext(watch)]
        await watch.aclose()
    for reading in readings:
        assert [device.id for device in reading] == [device.id for device in listed]


@pytest.mark.parametrize("interval", [0.0, 0.1, 3601.0, -1.0, float("nan"), float("inf")])
def test_an_interval_out_of_bounds_is_refused(working: scorestream.Client, interval: float) -> None:
    """Neither a busy loop nor a watch that never tells anything can be asked for."""
    with pytest.raises(scorestream.InvalidArgumentError, match="interval"):
        next(working.watch_devices(interval))


def test_the_command_line_lists_devices(
    working: scorestream.Client, ask: Callable[..., Any], run: Run
) -> None:
    """As JSON all that the client knows; as a table what a person looks for."""
    cpu = ask("device", "list")[-1]
    told = working.devices()[-1]
    assert (cpu["id"], cpu["name"], cpu["memory_total"]) == (told.id, told.name, told.memory_total)
    assert (cpu["lanes"], cpu["temperature"]) == (told.lanes, None)
    assert cpu["processes"][0]["worker"] is True
    table = run("device", "list", "--server", working.address).stdout
    heading, _, *rows = table.splitlines()
    assert heading.split()[:2] == ["device", "name"]
    assert rows[-1].startswith("cpu ")
    assert told.name in rows[-1]
    assert f"of {told.lanes} " in rows[-1]
    refused = run("device", "watch", "--interval", "0.1", "--server", working.address, check=2)
    assert "from 0.25 to 3600" in refused.stderr


def test_the_command_line_watches_as_json(working: scorestream.Client) -> None:
    """All devices on one line each time, at once for a program that reads along; Ctrl-C ends it quietly."""
    with watching("-o", "json", "--server", working.address, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
    assert first[-1]["id"] == second[-1]["id"] == "cpu"
    assert first[-1]["time"] < second[-1]["time"]


def test_the_command_line_watches_as_lines(working: scorestream.Client) -> None:
    """Where nothing moves, a line a device each time."""
    with watching("--server", working.address, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while sum("  cpu  " in line for line in lines) < 2:
            lines.append(process.stdout.readline())
    assert "\x1b" not in "".join(lines)
    assert f" of {working.devices()[-1].lanes}  " in lines[-1]


def test_a_terminal_gets_a_table_that_moves(working: scorestream.Client) -> None:
    """What finds no room in a narrow terminal is left out or stands below."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "60", "LINES": "24"}
    with watching("--server", working.address, stdout=theirs, env=environment):
        os.close(theirs)
        shown = b""
        while shown.count(b"device") < 2:
            shown += os.read(ours, 65536)
    # Its writer is gone: what is left comes out, and then an error.
    with contextlib.suppress(OSError):
        while os.read(ours, 65536):
            pass
    os.close(ours)
    screen = shown.decode()
    assert "\x1b[1A" in screen or "\x1b[2K" in screen
    assert "cpu" in screen and "busy" in screen
    assert "processes" not in screen
