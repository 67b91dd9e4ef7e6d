"""What we lean on in nio 0.26 beyond its documented methods, pinned; the traps that need no homeserver."""

import importlib.metadata
import inspect
from typing import Any

import nio
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from scripted import Scripted

from mlsrtc.adapters.nio import NioTransport, device_for
from mlsrtc.adapters.nio import megolm as megolm_module
from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.nio.olm import OlmDoor
from mlsrtc.adapters.nio.sieve import UNREADABLE_KEPT, Sieve
from mlsrtc.adapters.nio.transport import _changed_users
from mlsrtc.errors import LocalProtocolError
from mlsrtc.policy import MLS, PER_MEMBER, Policy
from mlsrtc.session import Session
from mlsrtc.sharing_session import SharingSession
from mlsrtc.wire.incoming import DevicesChanged, RoomEvent

BLOCK = {"version": 1}


def test_nio_is_the_version_whose_private_names_we_use() -> None:
    assert importlib.metadata.version("matrix-nio").startswith("0.26.")
    from nio.crypto.olm_machine import Olm
    from nio.crypto.sessions import OlmAccount

    assert list(inspect.signature(OlmAccount.sign).parameters) == ["self", "message"]
    shared = inspect.signature(Olm.share_group_session_parallel).parameters
    assert list(shared) == ["self", "room_id", "users", "ignore_unverified_devices"]
    for name in ("share_keys", "should_share_group_session"):
        assert callable(getattr(Olm, name))


async def test_account_sign_takes_str_only(scripted: Scripted) -> None:
    device = device_for(scripted.client)
    signature = device.sign("mlsrtc join 1 00ff")
    assert len(signature) == 64
    Ed25519PublicKey.from_public_bytes(device.device_key).verify(signature, b"mlsrtc join 1 00ff")
    with pytest.raises(LocalProtocolError):
        device.sign("naïve")
    assert scripted.client.olm is not None
    with pytest.raises(AttributeError):
        scripted.client.olm.account.sign(b"bytes")  # type: ignore[arg-type]


async def test_a_device_shows_no_signer_in_its_repr(scripted: Scripted) -> None:
    device = device_for(scripted.client)
    assert (device.user_id, device.device_id) == ("@ada:localhost", "DEVICE")
    assert "sign" not in repr(device)


def test_a_client_that_is_not_logged_in_has_no_device() -> None:
    client = nio.AsyncClient("http://127.0.0.1:1", "@a:h")
    with pytest.raises(LocalProtocolError):
        device_for(client)


async def test_a_client_without_encryption_has_no_device() -> None:
    client = nio.AsyncClient("http://127.0.0.1:1", "@a:h", config=nio.AsyncClientConfig(encryption_enabled=False))
    client.restore_login("@a:h", "D", "t")
    with pytest.raises(LocalProtocolError, match="encryption"):
        device_for(client)


@pytest.mark.parametrize("counts", [{"signed_curve25519": 0}, {"curve25519": 5}, {}, None])
async def test_a_one_time_key_count_of_zero_leads_to_an_upload(
    scripted: Scripted, counts: dict[str, int] | None
) -> None:
    """nio ignores a zero, and one that is left out because it is zero, so that a drained device stays unreachable."""
    olm = scripted.client.olm
    assert olm is not None
    olm.account.shared = True
    olm.uploaded_key_count = 50
    raw: dict[str, Any] = {"next_batch": "s1", "rooms": {}, "device_lists": {}}
    if counts is not None:
        raw["device_one_time_keys_count"] = counts
    response = nio.SyncResponse.from_dict(dict(raw))
    assert isinstance(response, nio.SyncResponse)
    await scripted.client.receive_response(response)
    assert not scripted.client.should_upload_keys
    NioTransport(scripted.client)._mend_key_count(raw)
    assert scripted.client.should_upload_keys


async def test_all_calls_of_a_transport_share_one_budget(scripted: Scripted) -> None:
    transport = NioTransport(scripted.client)
    policy = Policy(key_messages_per_minute=60, mixed=True)
    shared = transport.call("!a:h", encryption=PER_MEMBER, policy=policy).session
    mixed = transport.call("!b:h", encryption=MLS, policy=policy).session
    assert isinstance(shared, SharingSession)
    assert isinstance(mixed, Session)
    budgets = [shared._sharing.handing.budget, mixed._mixing.handing.budget]
    assert sum(budgets[number % 2].take(1.0) for number in range(200)) == 60


def _encrypted(event_id: str, **content: Any) -> dict[str, Any]:
    return {
        "type": "m.room.encrypted",
        "event_id": event_id,
        "sender": "@b:h",
        "origin_server_ts": 1,
        "content": {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", **content},
        "msc4354_sticky": {"duration_ms": 60_000},
    }


@pytest.mark.parametrize(
    ("lists", "users"),
    [
        ({"changed": ["@b:h", "@c:h"], "left": ["@c:h", "@d:h"]}, ("@b:h", "@c:h", "@d:h")),
        ({"left": ["@d:h"]}, ("@d:h",)),
        ({"changed": ["@b:h", 5, None], "left": "@d:h"}, ("@b:h",)),
        ({}, ()),
        ([], ()),
        (None, ()),
    ],
)
def test_device_lists_are_read_in_whatever_form_they_come(lists: object, users: tuple[str, ...]) -> None:
    assert _changed_users(lists) == users


async def test_a_call_is_told_whose_devices_a_sync_says_have_changed(scripted: Scripted) -> None:
    transport = NioTransport(scripted.client, sync=False)
    channel = NioChannel(
        scripted.client, "!r:h", "m.call#ROOM", olm=OlmDoor(scripted.client, print), attachment_limit=1
    )
    transport._channels.append(channel)
    raw = {"next_batch": "s1", "device_lists": {"changed": ["@b:h"]}}
    scripted.answer = lambda method, path, query: web.json_response(raw)
    response = await scripted.client.sync()
    assert isinstance(response, nio.SyncResponse)
    await transport._on_response(response)
    assert await channel.receive(0) == [DevicesChanged(("@b:h",))]


async def test_a_membership_becomes_readable_when_its_room_key_comes(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: set[str] = set()

    def decrypt(client: object, room_id: str, raw: dict[str, Any]) -> dict[str, Any] | None:
        if raw["event_id"] not in keys:
            return None
        return {"type": "m.rtc.member", "content": {"slot_id": "s", "dev.mlsrtc.mls": {"forged": True}}}

    monkeypatch.setattr(megolm_module, "decrypt", decrypt)
    sieve = Sieve(scripted.client, "!r:h")
    raws = [_encrypted("$with", **{"dev.mlsrtc.mls": BLOCK}), _encrypted("$without")]
    [sealed] = sieve.fresh(raws)
    assert isinstance(sealed, RoomEvent)
    assert (sealed.type, sealed.decrypted, sealed.content["dev.mlsrtc.mls"]) == (
        "m.room.encrypted",
        False,
        BLOCK,
    )
    assert sieve.readable() == []
    keys |= {"$with", "$without"}
    opened = [event for event in sieve.readable() if isinstance(event, RoomEvent)]
    assert [(event.event_id, event.decrypted, event.sticky_ms) for event in opened] == [
        ("$with", True, 60_000),
        ("$without", True, 60_000),
    ]
    assert [event.content for event in opened] == [
        {"slot_id": "s", "dev.mlsrtc.mls": BLOCK},
        {"slot_id": "s"},
    ]
    assert sieve.fresh(raws) == []


async def test_unreadable_events_are_kept_in_bounds(scripted: Scripted) -> None:
    sieve = Sieve(scripted.client, "!r:h")
    sieve.fresh(_encrypted(f"${n}") for n in range(2 * UNREADABLE_KEPT))
    assert len(sieve._unreadable) == UNREADABLE_KEPT


@pytest.mark.parametrize(
    "change",
    [
        {"content": []},
        {"content": None},
        {"event_id": 5},
        {"sender": None},
        {"origin_server_ts": "1"},
        {"state_key": 7},
        {"type": ["dev.mlsrtc.word"]},
        {"unsigned": []},
    ],
)
async def test_a_broken_event_is_left_out(scripted: Scripted, change: dict[str, Any]) -> None:
    raw: dict[str, Any] = {
        "type": "dev.mlsrtc.word",
        "event_id": "$w",
        "sender": "@b:h",
        "origin_server_ts": 1,
        "content": {},
    }
    assert len(Sieve(scripted.client, "!r:h").fresh([raw])) == 1
    got = Sieve(scripted.client, "!r:h").fresh([{**raw, **change}])
    assert got == [] or "unsigned" in change
