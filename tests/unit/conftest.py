"""What the unit tests share: an engine that a test drives."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from engine_bench import Bench, started


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with started(tmp_path) as running:
        yield running
