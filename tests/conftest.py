"""What every kind of test shares: machines with cards, and accounts of what was tried and measured, printed at the end."""

from collections.abc import Callable

import pytest

from cuda_host.harness import compiler
from cuda_host.log import KernelLog
from cuda_machine import CudaMachine, usual_kernels

_LOG = pytest.StashKey[KernelLog]()
_FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LOG] = KernelLog()
    config.stash[_FIGURES] = []


@pytest.fixture(scope="session")
def kernel_log(pytestconfig: pytest.Config) -> KernelLog:
    """Return where tests write down which CUDA kernels they compiled and ran."""
    return pytestconfig.stash[_LOG]


@pytest.fixture(scope="session")
def cuda_machine(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], CudaMachine]:
    """Return what makes machines with two cards; they share the kernels that were built for the host."""
    if compiler() is None:
        pytest.skip("needs a C++ compiler (g++ or clang++)")
    kernels = tmp_path_factory.mktemp("kernels")
    usual_kernels(kernels)
    return lambda: CudaMachine(tmp_path_factory.mktemp("machine"), kernels)


@pytest.fixture
def figures(pytestconfig: pytest.Config) -> Callable[[object], None]:
    """Return where tests write down what they counted and measured, a line each."""
    return lambda line: pytestconfig.stash[_FIGURES].append(str(line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[_LOG].lines():
        terminalreporter.section("CUDA kernels")
        for line in lines:
            terminalreporter.line(line)
    if figures := config.stash[_FIGURES]:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.line(line)
