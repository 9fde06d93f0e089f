"""A machine with two cards, for servers that tests start: `fake_cuda/` on their module path."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

import scorestream
from cuda_host.harness import build
from scorestream_server.device.cuda_compile import all_programs
from served import served

MEMORY = 64 << 20
"""Bytes that each card has."""
_TESTS = Path(__file__).parent


def usual_kernels(folder: Path) -> None:
    """Build what a worker loads first, so that no worker waits for the compiler."""
    for program in all_programs():
        if program.name in {
            "rank uint8",
            "walk uint8 32-bit nodes float32",
            "walk uint8 32-bit nodes float64",
            "finish float32",
            "finish float64",
        }:
            build(program.source(), folder)


def both_work(client: scorestream.Client) -> None:
    """Wait until each card has a worker."""
    for first, second, _ in client.watch_devices(0.25):
        if first.lanes and second.lanes:
            return


@dataclass(frozen=True)
class CudaMachine:
    """Its files: `folder` is this machine's own, `kernels` may be shared; see ``fake_cuda/cupy/machine.py``."""

    folder: Path
    kernels: Path

    def break_at(self, device: str, launch: int) -> None:
        """Break a card, once, at a launch from now on."""
        self._write(f"{device}.break", launch)

    def fill_at(self, device: str, launch: int) -> None:
        """Let a launch from now on find no memory, once."""
        self._write(f"{device}.full", launch)

    def close(self, device: str) -> None:
        """Let nobody open a card."""
        (self.folder / f"{device}.busy").touch()

    def take_memory(self, device: str, spare: int) -> None:
        """Let other programs hold all of a card's memory but so many bytes."""
        self._write(f"{device}.taken", MEMORY - spare)

    def broken_rules(self) -> str:
        """Return which of CUDA's rules were broken."""
        path = self.folder / "broken"
        return path.read_text() if path.exists() else ""

    def environment(self) -> dict[str, str]:
        """Return the variables that make a process one of this machine's."""
        paths = [_TESTS / "fake_cuda", _TESTS, os.environ.get("PYTHONPATH", "")]
        return {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "CUDA_VISIBLE_DEVICES": "0,1",
            "FAKE_CUDA": str(self.folder),
            "FAKE_CUDA_KERNELS": str(self.kernels),
            "NUMBA_CACHE_DIR": str(self.folder / "cache"),
        }

    @contextlib.contextmanager
    def served(self, *flags: str) -> Iterator[tuple[scorestream.Client, psutil.Process]]:
        """Run a server on this machine; assert in the end that no rule of CUDA was broken."""
        with served(self.folder / "data", *flags, environment=self.environment()) as running:
            yield running
        assert not self.broken_rules()

    def _write(self, name: str, launch: int) -> None:
        written = self.folder / f"{name}.new"
        written.write_text(str(launch))
        written.replace(self.folder / name)
