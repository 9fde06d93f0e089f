"""What every kind of test shares: machines with cards, and accounts of what was tried and measured, printed at the end."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest
from hypothesis import HealthCheck, settings

from cuda_host.harness import compiler
from cuda_host.log import KernelLog
from cuda_machine import CudaMachine, usual_kernels
from scorestream_server.device.kernel_cache import kernel_folder

_LOG = pytest.StashKey[KernelLog]()
_FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LOG] = KernelLog()
    config.stash[_FIGURES] = []
    # How long something takes on a machine that is busy with other tests says nothing of it.
    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")
    # Some 300 servers and workers are started, and each would compile the whole program for itself.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # What one process has compiled, a worker or one that tests run in, is there for the others.
    numba.config.CACHE_DIR = str(kernel_folder())  # type: ignore[attr-defined]  # made when it is imported
    # A process of pytest-xdist ignores it, as a shell's background job does, and what tests start would do so too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kernel_log(pytestconfig: pytest.Config) -> KernelLog:
    """Return where tests write down which CUDA kernels they compiled and ran."""
    return pytestconfig.stash[_LOG]


@pytest.fixture(scope="session")
def host_kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where CUDA kernels are built for the host, each once for all tests and all processes that run them."""
    mine = tmp_path_factory.getbasetemp()
    folder = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "host_kernels"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cuda_machine(tmp_path_factory: pytest.TempPathFactory, host_kernels: Path) -> Callable[[], CudaMachine]:
    """Return what makes machines with two cards; they share the kernels that were built for the host."""
    if compiler() is None:
        pytest.skip("needs a C++ compiler (g++ or clang++)")
    usual_kernels(host_kernels)
    return lambda: CudaMachine(tmp_path_factory.mktemp("machine"), host_kernels)


@pytest.fixture
def figures(pytestconfig: pytest.Config) -> Callable[[object], None]:
    """Return where tests write down what they counted and measured, a line each."""
    return lambda line: pytestconfig.stash[_FIGURES].append(str(line))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where tests run in several processes, have each tell what it wrote down."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["figures"] = session.config.stash[_FIGURES]
        told["kernels"] = session.config.stash[_LOG].told()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take up what one of several processes wrote down; nothing where it died."""
    told = getattr(node, "workeroutput", {})
    node.config.stash[_FIGURES].extend(told.get("figures", []))
    node.config.stash[_LOG].take(told.get("kernels", ([], [])))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[_LOG].lines():
        terminalreporter.section("CUDA kernels")
        for line in lines:
            terminalreporter.line(line)
    if figures := config.stash[_FIGURES]:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.line(line)
