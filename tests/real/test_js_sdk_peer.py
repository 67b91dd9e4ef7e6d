"""matrix-js-sdk's MatrixRTC, as Element Call runs it, on a real Synapse: how it makes, sends and takes keys.

What is held here is what interop/matrix-js-sdk/peer.mjs tells about the SDK, and the samples that our codecs are tried
on. MLSRTC_SAMPLES=1 has the first test write them anew.
"""

import base64
import json
import os
import re
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from js_sdk import FOCUS, HeldKey, JsSdk, Membership, calling, until
from rooms import MEMBER, STICKY, announce, withdraw

from mlsrtc.identifiers import DeviceId, MemberId, UserId
from mlsrtc.media.keys import hashed_livekit_identity, livekit_identity
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Synapse

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

SAMPLES = Path(__file__).parents[1] / "keyshare" / "samples"
KEY_EVENT = "io.element.call.encryption_keys"
LONG = 3_600_000  # ms

_transactions = count()


def agreed(*peers: JsSdk) -> bool:
    """Whether each is told of each other what that one encrypts under."""
    return all(one.newest(other) == other.newest(other) is not None for one in peers for other in peers)


@pytest.mark.parametrize("membership", ["state", "sticky"])
async def test_peers_share_their_keys_through_a_leave_and_a_rejoin(
    synapse: Synapse, onlooker: TestDevice, membership: Membership
) -> None:
    async with calling(synapse, onlooker, "ada", "ben") as (room_id, [ada, ben]):
        ada_id = await ada.join(membership, keyRotationGracePeriodMs=LONG)
        await until(lambda: ada.members, ada)
        ben_id = await ben.join(membership, keyRotationGracePeriodMs=LONG)
        await until(lambda: agreed(ada, ben), ada, ben)
        assert [_facts(ada.newest(ada)), _facts(ada.newest(ben))] == [(ada_id, 0, 16), (ben_id, 0, 16)]
        assert await ben.keys() == ben.told
        for key in ben.told:
            names = UserId(key.user_id), DeviceId(key.device_id)
            hashed = hashed_livekit_identity(*names, MemberId(key.member_id))
            assert key.identity == (hashed if membership == "sticky" else livekit_identity(*names))
        _compare_samples(membership, room_id, ada, ben)

        began = time.monotonic()
        await ben.leave()
        await until(lambda: _index(ada, ada) == 1, ada)
        assert time.monotonic() - began >= 1.0
        # To the leaver, its own leave is one too: it sends a new key to those who stay. That waits for a membership.
        await until(lambda: _index(ben, ben) == 1, ben)
        await until(lambda: ada.received[-1].content["keys"]["index"] == 1, ada)
        assert _index(ada, ben) == 0
        assert _index(ben, ada) == 0

        again = await ben.join(membership)
        assert (again != ben_id) is (membership == "sticky")
        await until(lambda: agreed(ada, ben) and _index(ben, ben) == 0, ada, ben)
        # In time of grace the joiner is given the key that is in use, and the others nothing new.
        assert _index(ada, ada) == 1
        # What had waited is told under the identity of the new participation.
        late, first = ada.told[-2:]
        assert (late.member_id, late.index) == (ben_id, 1)
        assert (first.member_id, first.index) == (again, 0)
        assert late.identity == first.identity

        if membership == "state":  # with a sticky one, everybody in the room gets the sender's Megolm key
            sync = await synapse.demand("GET", "/_matrix/client/v3/sync", token=onlooker.account.access_token)
            assert "to_device" not in sync


async def test_what_it_looks_at_in_a_key_event(synapse: Synapse, onlooker: TestDevice) -> None:
    """The events go in the clear, for that is not looked at either."""
    user_id, device_id = onlooker.account.user_id, onlooker.account.device_id
    async with calling(synapse, onlooker, "ada") as (room_id, [ada]):

        async def send(number: int, change: Mapping[str, Any]) -> None:
            keys = {"index": 0, "key": base64.b64encode(_marked(number)).decode()}
            member = {"id": f"{user_id}:{device_id}", "claimed_device_id": device_id}
            session = {"call_id": "", "application": "m.call", "scope": "m.room"}
            content = {"keys": keys, "member": member, "room_id": room_id, "session": session, "sent_ts": 0}
            for path, value in change.items():
                *parents, name = path.split(".")
                place: dict[str, Any] = content
                for parent in parents:
                    place = place[parent]
                place[name] = value(place[name]) if callable(value) else value
            messages = {ada.account.user_id: {ada.account.device_id: content}}
            path = f"/_matrix/client/v3/sendToDevice/{KEY_EVENT}/t{next(_transactions)}"
            await synapse.demand("PUT", path, token=onlooker.account.access_token, body={"messages": messages})

        await ada.join("state")
        await until(lambda: ada.members, ada)
        await send(0, {})
        await until(lambda: ada.received, ada)
        assert ada.received[0].device_id is None
        assert ada.newest(onlooker) is None
        # It waits for the membership.
        await announce(synapse, onlooker, room_id, FOCUS)
        await until(lambda: ada.newest(onlooker), ada)

        cases = list(enumerate([*TAKEN, *REFUSED], 1))
        for number, change in cases:
            await send(number, change)
        await send(0, {"keys.index": 200})
        await until(lambda: _index(ada, onlooker) == 200, ada)
        told = {key.key[0]: key for key in ada.told if key.user_id == user_id}
        assert {number for number in told if number} == {number for number, change in cases if change in TAKEN}
        assert {key.identity for key in told.values()} == {f"{user_id}:{device_id}"}
        assert told[1 + TAKEN.index({"keys.index": -1})].index == -1
        assert told[1 + TAKEN.index({"member.id": "another"})].member_id == "another"

        # What is no base64 is an exception in the middle of a sync.
        await send(len(cases) + 1, {"keys.key": "no base64!"})
        await until(lambda: any("InvalidCharacterError" in warning for warning in ada.warnings), ada)


TAKEN: list[dict[str, Any]] = [
    {"keys.key": lambda text: text.rstrip("=")},
    {"keys.key": lambda text: text.replace("/", "_").replace("+", "-")},
    {"keys.index": 255},
    {"keys.index": 256},
    {"keys.index": -1},
    {"member.id": "another"},
    {"member.id": None},
    {"session": None},
    {"session": {"call_id": "another", "application": "another"}},
    {"sent_ts": None},
]

REFUSED: list[dict[str, Any]] = [
    {"keys.key": ""},
    {"keys.index": "0"},
    {"keys": lambda keys: [keys]},
    {"member": None},
    {"member.claimed_device_id": None},
    {"member.claimed_device_id": "ANOTHER"},  # waits for a membership
    {"room_id": None},
    {"room_id": "!another:one.test"},
]


async def test_for_a_device_without_one_time_keys_everybody_goes_without_the_key(
    synapse: Synapse, onlooker: TestDevice
) -> None:
    """The SDK encrypts for all or for none, says nothing of it, and uses the key nevertheless."""
    async with calling(synapse, onlooker, "ada", "ben") as (room_id, [ada, ben]):
        # There is no time of grace: a new key whenever somebody comes, itself included.
        await ada.join("state", keyRotationGracePeriodMs=0)
        await until(lambda: _index(ada, ada) == 1, ada)
        await ben.join("state", keyRotationGracePeriodMs=LONG)
        await until(lambda: _index(ada, ada) == _index(ben, ada) == 2, ada, ben)
        await _drain(synapse, onlooker, ben)
        await announce(synapse, onlooker, room_id, FOCUS)
        await until(lambda: _index(ada, ada) == 3, ada)
        await withdraw(synapse, onlooker, room_id)
        await until(lambda: _index(ada, ada) == _index(ben, ada) == 4, ada, ben)
        # One device's Olm messages come in their order: the key in between was never sent.
        assert [key.index for key in ben.told if key.user_id == ada.account.user_id] == [2, 4]


def _index(one: JsSdk, other: JsSdk | TestDevice) -> int | None:
    key = one.newest(other)
    return None if key is None else key.index


def _facts(key: HeldKey | None) -> tuple[str, int, int]:
    assert key is not None
    return key.member_id, key.index, len(key.key)


def _marked(number: int) -> bytes:
    """A key that shows a number, and whose base64 has the two characters that are others in the URL-safe alphabet."""
    return bytes([number]) + bytes.fromhex("fbeffe") * 10 + b"\xff"


async def _drain(synapse: Synapse, device: TestDevice, by: JsSdk) -> None:
    """Claim all one-time keys of a device."""
    user_id, device_id = device.account.user_id, device.account.device_id
    body = {"one_time_keys": {user_id: {device_id: "signed_curve25519"}}}
    path = "/_matrix/client/v3/keys/claim"
    for _ in range(1000):
        answer = await synapse.demand("POST", path, token=by.account.access_token, body=body)
        if not answer["one_time_keys"]:
            return
    raise AssertionError("it has more than a client gives out, or a fallback key")


def _compare_samples(membership: Membership, room_id: str, ada: JsSdk, ben: JsSdk) -> None:
    """What ada has sent is what the samples are, with names, keys and times of their own."""
    names = {room_id: "!room:one.test"}
    for peer, name in ((ada, "ada"), (ben, "ben")):
        names |= {peer.account.user_id: f"@{name}:one.test", peer.account.device_id: f"{name.upper()}DEVICE"}
    if membership == "sticky":
        names[ada.members[0].member_id] = "5b0a1c1e-3a5f-4d0c-9c3e-6d0f2f8a7b11"
    message = ben.received[0].message
    names[message["content"]["keys"]["key"]] = base64.b64encode(bytes(range(16))).decode()
    names[str(message["content"]["sent_ts"])] = "1764400000000"
    event = ben.members[0].event
    assert event["type"] == {"state": MEMBER, "sticky": STICKY}[membership]
    event = {
        name: event[name] for name in ("type", "sender", "state_key", "content", "msc4354_sticky") if name in event
    }
    SAMPLES.mkdir(exist_ok=True)
    for kind, value in (("key", message), ("membership", event)):
        text = json.dumps(value, indent=2, sort_keys=True)
        for name, other in names.items():
            text = text.replace(name, other)
        # Public keys and signatures.
        text = re.sub(r'"[A-Za-z0-9+/]{43,}"', lambda found: '"' + "A" * (len(found[0]) - 2) + '"', text) + "\n"
        sample = SAMPLES / f"js_sdk_{membership}_{kind}.json"
        if os.environ.get("MLSRTC_SAMPLES"):
            sample.write_text(text)
        assert text == sample.read_text()
