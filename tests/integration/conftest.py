"""A real server in a process of its own, on a free port, for all tests of this folder."""

from collections.abc import Iterator

import pytest

import scorestream


@pytest.fixture(scope="session")
def client() -> Iterator[scorestream.Client]:
    with scorestream.local() as connected:
        yield connected


@pytest.fixture
def session(client: scorestream.Client, request: pytest.FixtureRequest) -> Iterator[scorestream.Session]:
    made = client.create_session(request.node.name[:100].split("[")[0])
    yield made
    made.terminate(cancel=True)
