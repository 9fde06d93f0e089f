"""What every kind of test shares: accounts of what was tried and measured, printed at the end."""

from collections.abc import Callable

import pytest

from cuda_host.log import KernelLog

_LOG = pytest.StashKey[KernelLog]()
_FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LOG] = KernelLog()
    config.stash[_FIGURES] = []


@pytest.fixture(scope="session")
def kernel_log(pytestconfig: pytest.Config) -> KernelLog:
    """Return where tests write down which CUDA kernels they compiled and ran."""
    return pytestconfig.stash[_LOG]


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
