"""Media that somebody keeps us out of. A real SFU, and a call that is made up."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from seats import Door
from test_livekit_ends import DEVICE, USER, FakeCall, connect, place, until

from mlsrtc.adapters.focus import FocusError
from mlsrtc.adapters.livekit import (
    DecryptionChanged,
    MediaConnected,
    MediaLost,
)
from mlsrtc.errors import MlsrtcError
from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.media.keys import livekit_identity
from mlsrtc.testing.livekit import LiveKitServer

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsrtc.adapters.livekit.trying.PAUSE", 0.05)


def told(call: FakeCall) -> list[Any]:
    """What became of our connection."""
    return [one for one in call.told if not isinstance(one, DecryptionChanged)]


@dataclass
class Guide(Door):
    """A door that may be shut."""

    shut: MlsrtcError | None = None

    @classmethod
    def into(cls, server: LiveKitServer, room: str) -> "Guide":
        return cls(server.url, server, room, livekit_identity(UserId(USER), DeviceId(DEVICE)))

    async def grant(self) -> Any:
        if self.shut is not None:
            raise self.shut
        return await super().grant()


async def test_why_a_connection_does_not_come_back_is_told_and_warned_of(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mlsrtc.adapters.livekit.trying.NEWS_SECONDS", 0.0)
    call = FakeCall()
    async with place(livekit) as here:
        door = Guide.into(livekit, here.name)
        async with connect(call, door) as media:
            door.shut = FocusError("token_refused", "not you")
            await media.room.disconnect()
            await until(lambda: MediaLost("token_refused", retried=True) in call.told)
            door.shut = FocusError("service_unavailable")
            await until(lambda: MediaLost("service_unavailable", retried=True) in call.told)
            door.shut = None
            await until(lambda: MediaConnected() in call.told)
        assert len(told(call)) == 4
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warned[0].getMessage().startswith("media cannot be connected: token_refused: not you; again in ")


async def test_a_service_that_asks_for_time_has_it(livekit: LiveKitServer) -> None:
    call = FakeCall()
    async with place(livekit) as here:
        door = Guide.into(livekit, here.name)
        async with connect(call, door) as media:
            door.shut = FocusError("service_unavailable", retry_after=1.5)
            await media.room.disconnect()
            await until(lambda: bool(told(call)))
            door.shut = None
            begun = asyncio.get_running_loop().time()
            await until(lambda: MediaConnected() in call.told)
            assert asyncio.get_running_loop().time() - begun > 1.2
