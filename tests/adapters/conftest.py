"""Fixtures of the adapters' tests."""

from collections.abc import AsyncIterator

import pytest_asyncio
from scripted import Scripted, running


@pytest_asyncio.fixture
async def scripted() -> AsyncIterator[Scripted]:
    async with running() as server:
        yield server
