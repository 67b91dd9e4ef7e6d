"""What the tests on a real SFU share: the executable, whether this machine can use it, and participants."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from one_at_a_time import one_at_a_time
from wanting import wanting

rtc = pytest.importorskip("livekit.rtc", reason="the extra `test` installs it")
jwt = pytest.importorskip("jwt", reason="the extra `test` installs it")

INTEROP = Path(__file__).parents[2] / "interop" / "livekit"
NO_GO = 3  # exit status of what builds, where Go is missing


def built(script: Path) -> Path:
    """What a script builds if it is not there. Skips the test where Go is missing."""
    with one_at_a_time(script):
        done = subprocess.run([script], capture_output=True, text=True, check=False)
    if done.returncode == NO_GO:
        wanting(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@cache
def server() -> Path:
    """livekit-server. Skips the test where it cannot run (`wanting`)."""
    if shutil.which("ip") is not None:
        shown = subprocess.run(
            ["ip", "-oneline", "address", "show", "up", "scope", "global"], capture_output=True, text=True, check=True
        )
        if not shown.stdout:
            wanting("WebRTC needs an address besides loopback: run the tests by interop/livekit/alone")
    return built(INTEROP / "build")


def claims(token: str) -> dict[str, Any]:
    """What a LiveKit token says."""
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def options() -> rtc.RoomOptions:
    """End-to-end encryption as Element Call has it, and one wrong key is not taken for a reason to try others."""
    return rtc.RoomOptions(
        encryption=rtc.E2EEOptions(
            key_provider_options=rtc.KeyProviderOptions(
                key_ring_size=256,
                ratchet_window_size=0,
                failure_tolerance=10,
                key_derivation_function=rtc.KeyDerivationFunction.HKDF,
            )
        )
    )


@asynccontextmanager
async def participant(url: str, token: str, keys: Mapping[str, bytes], index: int) -> AsyncIterator[rtc.Room]:
    """A participant who holds these keys by identity, all at one index. The own one is set last."""
    room = rtc.Room()
    await room.connect(url, token, options())
    try:
        own = room.local_participant.identity
        provider = room.e2ee_manager.key_provider
        assert provider is not None
        for identity, key in sorted(keys.items(), key=lambda item: item[0] == own):
            provider.set_key(identity, key, index)
        yield room
    finally:
        await room.disconnect()
