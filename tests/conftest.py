"""What every kind of test shares: the account of the CUDA kernels, printed at the end."""

import pytest

from cuda_host.log import KernelLog

_LOG = pytest.StashKey[KernelLog]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LOG] = KernelLog()


@pytest.fixture(scope="session")
def kernel_log(pytestconfig: pytest.Config) -> KernelLog:
    """Return where tests write down which CUDA kernels they compiled and ran."""
    return pytestconfig.stash[_LOG]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[_LOG].lines():
        terminalreporter.section("CUDA kernels")
        for line in lines:
            terminalreporter.line(line)
