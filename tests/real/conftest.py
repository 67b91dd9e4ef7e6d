"""One real Synapse for all tests that need one, one that keeps its own rate limits, and one real SFU."""

from collections.abc import AsyncIterator
from itertools import count
from typing import TYPE_CHECKING

import pytest_asyncio

from mlsrtc.testing.devices import TestDevice, cross_signed_devices
from mlsrtc.testing.synapse import Synapse

if TYPE_CHECKING:
    from mlsrtc.testing.livekit import LiveKitServer

_numbers = count()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def synapse() -> AsyncIterator[Synapse]:
    async with Synapse() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def limited_synapse() -> AsyncIterator[Synapse]:
    async with Synapse(default_limits=True) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def livekit() -> AsyncIterator["LiveKitServer"]:
    import sfu  # skips what needs it where LiveKit is not installed

    from mlsrtc.testing.livekit import LiveKitServer

    async with LiveKitServer(sfu.server()) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def three(synapse: Synapse) -> AsyncIterator[list[TestDevice]]:
    """Three new users, each with one cross-signed device; the first one owns the rooms."""
    number = next(_numbers)
    names = [f"{name}{number}" for name in ("ada", "ben", "cem")]
    async with cross_signed_devices(synapse, names) as devices:
        yield devices
