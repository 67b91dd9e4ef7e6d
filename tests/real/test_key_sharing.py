"""Calls in which keys are handed out, on a real Synapse: among ourselves, and with matrix-js-sdk in both directions."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from js_sdk import JsSdk, Membership
from js_sdk import calling as calling_js
from nio.crypto import SessionStore
from rooms import make_room
from sharing import Ring

from mlsrtc import AUTO, MLS, PER_MEMBER, CallOver, LocalProtocolError, Policy, SharedKey, Trust
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.sharing_session import SharingSession
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Account, Synapse
from mlsrtc.wire import names
from mlsrtc.wire.membership import MembershipFormat

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

PATIENCE = 30.0
LOOK = 0.05


@asynccontextmanager
async def calling(room_id: str, device: TestDevice, **options: Any) -> AsyncIterator[tuple[Call, Ring]]:
    """A device in the call of the room, and a key ring that is kept by what it is told."""
    options.setdefault("encryption", PER_MEMBER)
    async with NioTransport(device.client) as transport, transport.call(room_id, **options) as call:
        ring = Ring(own=(call.session.user_id, call.session.device_id))
        call.attach(ring)
        yield call, ring


async def called(arguments: Sequence[str], ring: Ring, caller: Account, **secrets: str) -> list[str]:
    """What `mlsrtc call` says, as this user and in a call in which `ring` hears it, until it ends well."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mlsrtc", "call", *arguments),
        env=os.environ | {"MLSRTC_PASSWORD": caller.password, **secrets},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await until(lambda: any(held for place, held in ring.keys.items() if place[0] == caller.user_id))
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    return out.decode().splitlines()


async def until(seen: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if seen():
                return
            await asyncio.sleep(LOOK)


def opens(ring: Ring, peer: JsSdk) -> bool:
    """Whether what a peer sends now can be opened."""
    newest = peer.newest(peer)
    place = peer.account.user_id, peer.account.device_id
    return newest is not None and any(
        one[:2] == place and held.get(newest.index) == newest.key  # type: ignore[call-overload]
        for one, held in ring.keys.items()
    )


def is_opened(ring: Ring, device: TestDevice, peer: JsSdk) -> bool:
    """Whether a peer opens what we send now."""
    newest = peer.newest(device)
    return newest is not None and (newest.index, newest.key) == (ring.sending, ring.sent_under())


@pytest.mark.parametrize("membership", MembershipFormat)
async def test_three_devices_hear_each_other_and_a_leaver_is_locked_out(
    synapse: Synapse, three: list[TestDevice], membership: MembershipFormat
) -> None:
    room_id = await make_room(synapse, three, encrypted=True)
    async with AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(calling(room_id, device, membership=membership)) for device in three]
        rings = [ring for _, ring in calls]
        await until(lambda: all(one.opens(other) for one in rings for other in rings if one is not other))
        leaver, stayers = rings[0], rings[1:]
        held = [key for ring in leaver.keys.values() for key in ring.values()]
        await calls[0][0].leave()
        await until(lambda: all(ring.sent_under() not in held for ring in stayers))
        await until(lambda: stayers[0].opens(stayers[1]) and stayers[1].opens(stayers[0]))
        assert leaver.sending is None
        assert all(not ring for ring in leaver.keys.values())


async def test_a_key_that_was_lost_with_an_olm_session_comes_by_the_new_one(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three, encrypted=True)
    # Who is to lose it makes its own key later, so that no message of its own has begun a session meanwhile.
    paces = [Policy(leave_debounce=wait) for wait in (0.0, 0.0, 1.0)]
    async with AsyncExitStack() as stack:
        calls = [
            await stack.enter_async_context(calling(room_id, device, policy=pace))
            for device, pace in zip(three, paces, strict=True)
        ]
        (leaver, _), (_, ada), (_, ben) = calls
        await until(lambda: ben.opens(ada) and ada.opens(ben))
        before = ada.sent_under()
        three[2].client.olm.session_store = SessionStore()
        await leaver.leave()
        await until(lambda: ada.sent_under() != before)
        await until(lambda: ben.opens(ada))


@pytest.mark.slow
@pytest.mark.parametrize("membership", ["state", "sticky"])
async def test_matrix_js_sdk_and_we_hear_each_other_through_joins_leaves_rotations_and_a_rejoin(
    synapse: Synapse, onlooker: TestDevice, membership: Membership
) -> None:
    policy = Policy(trust=Trust.ANY_DEVICE, join_throttle=2.0)  # the peers have no cross-signing
    options: dict[str, Any] = {"policy": policy, "membership": MembershipFormat(membership), "encryption": AUTO}
    async with calling_js(synapse, onlooker, "ada", "ben") as (room_id, [ada, ben]):
        await ada.join(membership)
        await until(lambda: ada.members)
        async with calling(room_id, onlooker, **options) as (call, ring):
            assert isinstance(call.session, SharingSession), "nobody there has MLS"
            await until(lambda: opens(ring, ada) and is_opened(ring, onlooker, ada))
            await ben.join(membership)
            await until(lambda: opens(ring, ben) and is_opened(ring, onlooker, ben))
            first = ring.sent_under()
            await until(lambda: opens(ring, ada) and is_opened(ring, onlooker, ada))
            await ben.leave()
            await until(lambda: ring.sent_under() != first)
            assert len(ring.begun) >= 2
            await until(lambda: opens(ring, ada) and is_opened(ring, onlooker, ada))
            second = ring.sent_under()
            await asyncio.sleep(policy.join_throttle)
            await ben.join(membership)
            await until(lambda: opens(ring, ben) and is_opened(ring, onlooker, ben))
            await until(lambda: opens(ring, ada) and is_opened(ring, onlooker, ada))
            assert ring.sent_under() != second, "who comes back later opens nothing of what was said meanwhile"
        await until(lambda: len(ada.members) == 2)
        before = ada.newest(ada)
        async with calling(room_id, onlooker, **options) as (_, again):
            await until(lambda: opens(again, ada) and is_opened(again, onlooker, ada))
            await until(lambda: opens(again, ben) and is_opened(again, onlooker, ben))
            assert before is not None
            assert all(before.key not in held.values() for held in again.keys.values()) or ada.newest(ada) == before


async def test_where_the_room_says_mls_a_call_by_handed_out_keys_is_refused(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three, encrypted=True)
    slot = {"status": "open", "application": {"type": "m.call"}, "encryption": {"type": "dev.mlsrtc.mls"}}
    path = f"/_matrix/client/v3/rooms/{room_id}/state/{names.SLOT}/m.call%23ROOM"
    await synapse.demand("PUT", path, token=three[0].account.access_token, body=slot)
    with pytest.raises(CallOver) as caught:
        async with calling(room_id, three[1]):
            pass
    assert caught.value.reason == "slot_encryption"
    async with calling(room_id, three[1], encryption=AUTO) as (call, _):
        assert call.session.encryption is MLS


async def test_an_unencrypted_room_is_refused(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three)
    with pytest.raises(LocalProtocolError) as caught:
        async with calling(room_id, three[0]):
            pass
    assert caught.value.reason == "room_not_encrypted"


async def test_mlsrtc_call_takes_the_passphrase_of_a_call(
    synapse: Synapse, onlooker: TestDevice, tmp_path: Path
) -> None:
    caller = await synapse.register("passer")
    room_id = await make_room(synapse, [onlooker])
    arguments = [
        *("--homeserver", synapse.base_url, "--user", caller.user_id, "--store", str(tmp_path / "store")),
        *("--encryption", "passphrase", "--seconds", "3", room_id),
    ]
    async with calling(room_id, onlooker, encryption=SharedKey("open sesame")) as (_, ring):
        said = await called(arguments, ring, caller, MLSRTC_PASSPHRASE="open sesame")
    assert "sending under key 0 of ours" in said
    assert not any("sesame" in line for line in said)
    assert not any(line.startswith("warning") for line in said)


async def test_mlsrtc_call_hands_its_keys_out_where_the_others_do(
    synapse: Synapse, onlooker: TestDevice, tmp_path: Path
) -> None:
    caller = await synapse.register("caller")
    room_id = await make_room(synapse, [onlooker], encrypted=True)
    arguments = [
        *("--homeserver", synapse.base_url, "--user", caller.user_id, "--store", str(tmp_path / "store")),
        *("--trust", "any_device", "--seconds", "5", room_id),
    ]
    async with calling(room_id, onlooker, policy=Policy(trust=Trust.ANY_DEVICE)) as (_, ring):
        said = await called(arguments, ring, caller)
    assert "sending under key 1 of ours" in said
    assert [line.partition(":")[0] for line in said if "in the call: " in line] == ["2 in the call"]
    assert not any(line.startswith("warning") for line in said)
