"""One real Synapse for all tests that need one, one that keeps its own rate limits, and one real SFU."""

from collections.abc import AsyncIterator
from itertools import count
from typing import TYPE_CHECKING

import pytest_asyncio

from mlsrtc.testing.devices import TestDevice, cross_signed_devices
from mlsrtc.testing.synapse import Synapse

if TYPE_CHECKING:
    from mlsrtc.testing.livekit import LiveKitServer
    from mlsrtc.testing.token_service import TokenService

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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def announcing(livekit: "LiveKitServer") -> AsyncIterator[tuple[Synapse, "TokenService"]]:
    """A homeserver that announces a token service, which announces an SFU."""
    from mlsrtc.testing.token_service import TokenService

    homeservers: dict[str, str] = {}
    async with TokenService(livekit, homeservers) as service:
        foci = [{"type": "livekit", "livekit_service_url": service.url}]
        extra = {
            "matrix_rtc": {"transports": foci},
            "public_baseurl": "http://localhost/",
            "serve_client_wellknown": True,
            "extra_well_known_client_content": {"org.matrix.msc4143.rtc_foci": foci},
        }
        async with Synapse(extra=extra) as synapse:
            homeservers["localhost"] = synapse.base_url
            yield synapse, service


@pytest_asyncio.fixture(loop_scope="session")
async def three(synapse: Synapse) -> AsyncIterator[list[TestDevice]]:
    """Three new users, each with one cross-signed device; the first one owns the rooms."""
    number = next(_numbers)
    names = [f"{name}{number}" for name in ("ada", "ben", "cem")]
    async with cross_signed_devices(synapse, names) as devices:
        yield devices


@pytest_asyncio.fixture(loop_scope="session")
async def onlooker(synapse: Synapse) -> AsyncIterator[TestDevice]:
    """A new user with one cross-signed device, for a room in which others have a call."""
    async with cross_signed_devices(synapse, [f"onlooker{next(_numbers)}"]) as (device,):
        yield device
