"""A device of ours and matrix-js-sdk's, in one call on a real Synapse: key events of the deployed format, by Olm."""

import base64

import pytest
from js_sdk import FOCUS, HeldKey, calling, until
from rooms import announce

from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.nio.olm import Opened, Told
from mlsrtc.adapters.nio.olm_send import SendEncrypted
from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.media.keys import livekit_identity
from mlsrtc.outbox import Accepted
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Synapse

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

KEY_EVENT = "io.element.call.encryption_keys"


async def test_a_device_of_ours_and_the_sdk_s_give_each_other_keys_by_olm(
    synapse: Synapse, onlooker: TestDevice
) -> None:
    """The messages of either side's Olm are taken by the other, whatever fields it leaves out."""
    account = onlooker.account
    told: list[Told] = []
    async with (
        calling(synapse, onlooker, "ada") as (room_id, [ada]),
        NioTransport(onlooker.client) as transport,
    ):
        transport._olm._tell = told.append
        await ada.join("state")
        await until(lambda: ada.told, ada)
        await announce(synapse, onlooker, room_id, FOCUS)
        await until(lambda: told, ada)
        [event] = told
        key = ada.newest(ada)
        assert isinstance(event, Opened)
        assert key is not None
        assert event.type == KEY_EVENT
        assert (event.device.user_id, event.device.device_id) == (key.user_id, key.device_id)
        assert event.content["keys"] == {"index": key.index, "key": base64.b64encode(key.key).decode()}

        ours = HeldKey(
            account.user_id,
            account.device_id,
            f"{account.user_id}:{account.device_id}",
            livekit_identity(UserId(account.user_id), DeviceId(account.device_id)),
            7,
            bytes(range(32)),
        )
        content = {
            "keys": {"index": ours.index, "key": base64.b64encode(ours.key).decode()},
            "member": {"id": ours.member_id, "claimed_device_id": ours.device_id},
            "room_id": room_id,
            "session": {"call_id": "", "application": "m.call", "scope": "m.room"},
            "sent_ts": 0,
        }
        recipient = key.user_id, key.device_id
        request = SendEncrypted("t", KEY_EVENT, {recipient: content})
        assert await transport._olm.send(request) == {recipient: Accepted()}
        await until(lambda: ada.newest(onlooker) == ours, ada)
        assert ada.received[-1].device_id == ours.device_id
        assert ada.received[-1].content == content
