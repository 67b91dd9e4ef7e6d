"""What comes in by Olm, with the traps of nio 0.26: each shown in nio alone, and that the door is not in it."""

import asyncio
import inspect
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import nio
import pytest
import pytest_asyncio
from nio.crypto import Olm
from olm_peers import KEY_EVENT, Homeserver, Peer, machine
from scripted import Scripted

from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.nio import olm as olm_module
from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.nio.olm import NotOpened, OlmDoor, Opened, Told
from mlsrtc.errors import LocalProtocolError
from mlsrtc.wire.encoding import decode_base64
from mlsrtc.wire.incoming import ToDevice, Unopened

CONTENT = {"keys": {"index": 0, "key": "c2VjcmV0IGtleSBvZiBiZW4"}, "room_id": "!r:localhost"}


class _Open:
    """A client with an open door; `told` is what came in."""

    def __init__(self, scripted: Scripted) -> None:
        self.ben = Peer("@ben:localhost", "PHONE")
        self.home = Homeserver(scripted, self.ben)
        self.client = scripted.client
        self.ours: Olm = scripted.client.olm
        self.told: list[Told] = []
        self.door = OlmDoor(scripted.client, self.told.append)

    async def gets(self, *events: Any) -> list[Told]:
        """What the events come to, once nothing is being asked for any more."""
        self.told.clear()
        await self.home.bring(*events)
        if self.door._errands is not None:
            await self.door._errands
        return self.told


@pytest_asyncio.fixture
async def here(scripted: Scripted) -> AsyncIterator[_Open]:
    here = _Open(scripted)
    here.door.open()
    yield here
    await here.door.close()


def _of(peer: Peer, type: str = KEY_EVENT, content: Any = None) -> Opened:
    device = olm_module.SenderDevice(peer.user_id, peer.device_id, peer.ed25519, peer.curve25519)
    return Opened(device, type, CONTENT if content is None else content)


def _refused(peer: Peer, reason: str, type: str | None = None) -> NotOpened:
    return NotOpened(peer.user_id, peer.curve25519, reason, type)


def test_nio_has_the_private_names_that_the_door_stands_on() -> None:
    parameters = {
        "handle_to_device_event": ["self", "event"],
        "_handle_key_query": ["self", "response"],
        "_handle_key_claiming": ["self", "response"],
        "_handle_olm_event": ["self", "sender", "sender_key", "payload"],
        "_try_decrypt": ["self", "sender", "sender_key", "message"],
        "_create_inbound_session": ["self", "sender", "sender_key", "message"],
        "_mark_device_for_unwedging": ["self", "sender", "sender_key"],
        "_olm_encrypt": ["self", "session", "recipient_device", "message_type", "content"],
        "verify_json": ["self", "json", "user_key", "user_id", "device_id"],
    }
    for name, expected in parameters.items():
        assert list(inspect.signature(getattr(Olm, name)).parameters) == expected, name
    parse = inspect.signature(nio.AsyncClient.create_matrix_response)
    assert list(parse.parameters) == ["self", "response_class", "transport_response", "data", "save_to"]


# ---- what nio drops ----


async def test_an_olm_event_of_a_type_that_nio_does_not_know_is_told_with_its_device(here: _Open) -> None:
    """nio decrypts it, logs a warning, and its callbacks get the ciphertext."""
    seen: list[Any] = []
    here.client.add_to_device_callback(seen.append, nio.ToDeviceEvent)
    assert await here.gets(here.ben.event(here.ours, content=CONTENT)) == [_of(here.ben)]
    assert [type(event) for event in seen] == [nio.OlmEvent]


async def test_without_the_door_it_is_lost(scripted: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    ben = Peer("@ben:localhost", "PHONE")
    response = await Homeserver(scripted, ben).bring(ben.event(scripted.client.olm, content=CONTENT))
    assert isinstance(response, nio.SyncResponse)
    assert isinstance(response.to_device_events[0], nio.OlmEvent)
    assert f"unsupported Olm event of type {KEY_EVENT}" in caplog.text


async def test_a_second_message_of_a_known_device_asks_for_nothing(here: _Open) -> None:
    for _ in range(3):
        assert await here.gets(here.ben.event(here.ours, content=CONTENT)) == [_of(here.ben)]
    assert here.home.asked("keys/query") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": None},
        {"keys": {}},
        {"keys": None, "sender_device": "PHONE"},
        {"sender_device": "PHONE"},
        {"something": ["else"]},
    ],
)
async def test_a_payload_without_nios_extra_fields_is_taken(here: _Open, changes: dict[str, Any]) -> None:
    """nio's schema asks for `keys`, and its dummy event for `sender_device` as well; other SDKs leave them out."""
    assert await here.gets(here.ben.event(here.ours, content=CONTENT, **changes)) == [_of(here.ben)]


async def test_nio_itself_wants_keys_and_not_sender_device(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    ben = Peer("@ben:localhost", "PHONE")
    home = Homeserver(scripted, ben)
    ours = scripted.client.olm
    room_key = _room_key()
    await home.bring(ben.event(ours, "m.room_key", room_key, keys=None))
    assert "'keys' is a required property" in caplog.text
    assert not list(ours.inbound_group_store)
    await home.bring(ben.event(ours, "m.room_key", room_key))
    assert len(list(ours.inbound_group_store)) == 1


async def test_a_room_key_without_nios_extra_fields_reaches_nio(here: _Open) -> None:
    assert await here.gets(here.ben.event(here.ours, "m.room_key", _room_key(), keys=None)) == []
    [session] = here.ours.inbound_group_store
    assert (session.sender_key, session.ed25519) == (here.ben.curve25519, here.ben.ed25519)


async def test_what_nio_knows_itself_goes_to_its_callbacks_as_before(here: _Open) -> None:
    seen: list[Any] = []
    here.client.add_to_device_callback(seen.append, nio.ToDeviceEvent)
    dummy = here.ben.event(here.ours, "m.dummy", sender_device="PHONE")
    clear = {"type": KEY_EVENT, "sender": "@ben:localhost", "content": CONTENT}
    assert await here.gets(here.ben.event(here.ours, "m.room_key", _room_key()), dummy, clear) == []
    assert [type(event) for event in seen] == [nio.RoomKeyEvent, nio.DummyEvent, nio.UnknownToDeviceEvent]


@pytest.mark.parametrize("changes", [{"sender_device": "PHONE"}, {"keys": None}])
async def test_a_dummy_of_a_known_device_is_told_as_well(here: _Open, changes: dict[str, Any]) -> None:
    """Its sender has begun a new session: what it was sent by the one before may be lost."""
    seen: list[Any] = []
    here.client.add_to_device_callback(seen.append, nio.DummyEvent)
    assert await here.gets(here.ben.event(here.ours, content=CONTENT)) == [_of(here.ben)]
    assert await here.gets(here.ben.event(here.ours, "m.dummy", **changes)) == [_of(here.ben, "m.dummy", {})]
    assert len(seen) == 1
    strange = here.ben.event(here.ours, "m.dummy", keys={"ed25519": here.ben.curve25519})
    assert await here.gets(strange) == [_refused(here.ben, "wrong_sender_key", "m.dummy")]


def _room_key() -> dict[str, Any]:
    import vodozemac

    session = vodozemac.GroupSession()
    return {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": "!r:localhost",
        "session_id": session.session_id,
        "session_key": session.session_key.to_base64(),
    }


# ---- whose it is ----


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sender": "@eve:localhost"}, "wrong_sender"),
        ({"recipient": "@eve:localhost"}, "wrong_recipient"),
        ({"recipient_keys": {"ed25519": "A" * 43}}, "wrong_recipient_key"),
        ({"recipient_keys": {}}, "missing_field"),
        ({"recipient_keys": None}, "missing_field"),
        ({"recipient_keys": 5}, "wrong_type"),
        ({"keys": {"ed25519": 5}}, "wrong_type"),
        ({"keys": []}, "wrong_type"),
        ({"sender": None}, "missing_field"),
        ({"type": ["x"]}, "wrong_type"),
        ({"content": "x"}, "wrong_type"),
    ],
)
async def test_a_payload_that_is_not_for_us_is_refused_with_a_reason(
    here: _Open, changes: dict[str, Any], reason: str
) -> None:
    event = here.ben.event(here.ours, **{"content": CONTENT, **changes})
    assert await here.gets(event) == [_refused(here.ben, reason)]
    assert await here.gets(here.ben.event(here.ours, content=CONTENT)) == [_of(here.ben)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"keys": {"ed25519": "A" * 43}}, "wrong_sender_key"),
        ({"sender_device": "LAPTOP"}, "wrong_sender_device"),
        ({"sender_device": 5}, "wrong_type"),
        ({"sender_device_keys": {"user_id": "@ben:localhost"}}, "missing_field"),
    ],
)
async def test_a_claim_that_the_device_does_not_bear_out_is_refused(
    here: _Open, changes: dict[str, Any], reason: str
) -> None:
    told = await here.gets(here.ben.event(here.ours, content=CONTENT, **changes))
    assert told == [_refused(here.ben, reason, KEY_EVENT)]


@pytest.mark.parametrize("name", ["sender_device_keys", "org.matrix.msc4147.device_keys"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda keys: None, None),
        (lambda keys: keys.update(user_id="@eve:localhost"), "wrong_sender_device"),
        (lambda keys: keys.update(device_id="LAPTOP"), "wrong_sender_device"),
        (lambda keys: keys["keys"].update({"curve25519:PHONE": "A" * 43}), "wrong_sender_device"),
        (lambda keys: keys["keys"].pop("ed25519:PHONE"), "missing_field"),
    ],
)
async def test_the_senders_own_device_keys_in_the_payload_have_to_be_the_homeservers(
    here: _Open, name: str, change: Any, reason: str | None
) -> None:
    """MSC4147: matrix-js-sdk sends them along."""
    keys = json.loads(json.dumps(here.ben.published["device_keys"]))
    change(keys)
    told = await here.gets(here.ben.event(here.ours, content=CONTENT, **{name: keys}))
    assert told == [_of(here.ben) if reason is None else _refused(here.ben, reason, KEY_EVENT)]


async def test_a_message_that_another_user_passes_on_is_refused(here: _Open) -> None:
    eve = Peer("@eve:localhost", "PHONE")
    here.home.peers[eve.name] = eve
    # Eve publishes Ben's key as that of her own device.
    eve.published["device_keys"]["keys"]["curve25519:PHONE"] = here.ben.curve25519
    passed_on = {**here.ben.event(here.ours, content=CONTENT), "sender": "@eve:localhost"}
    told = await here.gets(passed_on)
    assert told == [NotOpened("@eve:localhost", here.ben.curve25519, "wrong_sender")]


async def test_a_device_that_is_not_known_is_asked_for_and_not_guessed(here: _Open) -> None:
    stranger = Peer("@ben:localhost", "NOT_PUBLISHED")
    told = await here.gets(stranger.event(here.ours, content=CONTENT), here.ben.event(here.ours, content=CONTENT))
    assert told == [_refused(stranger, "unknown_device", KEY_EVENT), _of(here.ben)]
    assert here.home.asked("keys/query") == 1


async def test_a_new_device_of_a_known_user_is_asked_for(here: _Open) -> None:
    await here.gets(here.ben.event(here.ours, content=CONTENT))
    laptop = Peer("@ben:localhost", "LAPTOP")
    here.home.peers[laptop.name] = laptop
    assert await here.gets(laptop.event(here.ours, content=CONTENT)) == [_of(laptop)]
    assert here.home.asked("keys/query") == 2


async def test_a_key_that_two_devices_publish_authenticates_neither(here: _Open) -> None:
    twin = Peer("@ben:localhost", "TWIN")
    twin.publishes(keys={"curve25519": here.ben.curve25519})
    here.home.peers[twin.name] = twin
    for changes in ({}, {"keys": None}):
        told = await here.gets(here.ben.event(here.ours, content=CONTENT, **changes))
        assert told == [_refused(here.ben, "ambiguous_device", KEY_EVENT)]


async def test_a_homeserver_that_is_down_leaves_the_sender_unknown_for_now(here: _Open) -> None:
    zoe = Peer("@zoe:elsewhere", "PHONE")
    here.home.peers[zoe.name] = zoe
    here.home.down = {"elsewhere"}
    assert await here.gets(zoe.event(here.ours)) == [_refused(zoe, "keys_unavailable", KEY_EVENT)]
    here.home.down = set()
    assert await here.gets(zoe.event(here.ours, content=CONTENT)) == [_of(zoe)]


async def test_a_limit_of_the_homeserver_is_waited_for_and_not_for_ever(here: _Open) -> None:
    here.home.limited = "keys/query"
    assert await here.gets(here.ben.event(here.ours)) == [_refused(here.ben, "keys_unavailable", KEY_EVENT)]
    assert here.home.asked("keys/query") == olm_module.QUERY_TRIES


async def test_what_waits_for_device_keys_is_kept_in_bounds(here: _Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(olm_module, "WAITING_KEPT", 3)
    told = await here.gets(*(here.ben.event(here.ours, content={"n": n}) for n in range(5)))
    assert [event.reason for event in told if isinstance(event, NotOpened)] == ["flooded", "flooded"]
    assert [event.content for event in told if isinstance(event, Opened)] == [{"n": 2}, {"n": 3}, {"n": 4}]


# ---- what nio raises for ----


def _with(event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    [(key, message)] = event["content"]["ciphertext"].items()
    return {**event, "content": {**event["content"], "ciphertext": {key: {**message, **changes}}}}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda event: _with(event, body="!"), "bad_ciphertext"),
        (lambda event: _with(event, body="AAAA"), "bad_ciphertext"),
        (lambda event: _with(event, type=1), "bad_ciphertext"),
        (lambda event: _with(event, type=2), "bad_ciphertext"),
        (lambda event: {**event, "content": {**event["content"], "sender_key": "x"}}, "cannot_decrypt"),
        (lambda event: {**event, "content": {**event["content"], "ciphertext": {}}}, "not_for_us"),
        (lambda event: {**event, "content": {**event["content"], "ciphertext": 5}}, "malformed"),
        (lambda event: {**event, "content": {"algorithm": Olm._olm_algorithm}}, "malformed"),
    ],
)
async def test_a_spoilt_envelope_is_told_and_ends_nothing(here: _Open, spoil: Any, reason: str) -> None:
    """nio raises for some of them out of its sync loop, and every call would end with it."""
    [told] = await here.gets(spoil(here.ben.event(here.ours)))
    assert isinstance(told, NotOpened)
    assert (told.sender, told.reason, told.type) == ("@ben:localhost", reason, None)
    assert await here.gets(here.ben.event(here.ours, content=CONTENT)) == [_of(here.ben)]


@pytest.mark.parametrize("plaintext", ["no json", "[" * 100_000, "[]", "null", '"x"'])
async def test_a_payload_that_is_no_object_is_told(here: _Open, plaintext: str) -> None:
    [told] = await here.gets(here.ben.seal(here.ours, plaintext))
    assert isinstance(told, NotOpened)
    assert told.reason in ("bad_json", "wrong_type", "missing_field")


async def test_a_message_to_a_one_time_key_that_we_do_not_have_ends_nios_sync_loop(scripted: Scripted) -> None:
    """Anybody can send one. The other traps of this kind: no `recipient_keys.ed25519`, a body that is no base64."""
    home, ours = Homeserver(scripted), scripted.client.olm
    ada, ben, cem = (Peer(f"@{name}:localhost", "PHONE") for name in ("ada", "ben", "cem"))
    with pytest.raises(ValueError, match="unknown one-time key"):
        await home.bring(_to_a_key_we_lost(ada, ours))
    with pytest.raises(KeyError):
        await home.bring(ben.event(ours, recipient_keys={}))
    with pytest.raises(ValueError, match="base64"):
        await home.bring(_with(cem.event(ours), body="!"))


async def test_a_room_key_that_is_none_ends_nios_sync_loop_and_not_ours(scripted: Scripted) -> None:
    here = _Open(scripted)
    broken = {**_room_key(), "session_key": "x"}
    with pytest.raises(ValueError, match="session key"):
        await here.home.bring(here.ben.event(here.ours, "m.room_key", broken))
    here.door.open()
    for changes in ({"keys": None}, {}):  # the first waits for the device
        told = await here.gets(
            here.ben.event(here.ours, "m.room_key", broken, **changes), here.ben.event(here.ours, content=CONTENT)
        )
        assert told == [_refused(here.ben, "malformed", "m.room_key"), _of(here.ben)]


def _to_a_key_we_lost(peer: Peer, ours: Olm) -> dict[str, Any]:
    other = machine(ours.user_id, ours.device_id)
    other.account.generate_one_time_keys(1)
    [key] = other.account.one_time_keys["curve25519"].values()
    peer.olm.create_session(key, ours.account.identity_keys["curve25519"])
    return peer.event(ours)


@pytest.mark.parametrize("algorithm", ["ed25519", "curve25519"])
async def test_device_keys_that_are_not_in_their_one_form_cost_no_other_its_message(
    here: _Open, algorithm: str
) -> None:
    """nio and vodozemac take them: padded ones, say."""
    eve = Peer("@eve:localhost", "LAPTOP")
    here.home.peers[eve.name] = eve
    padded = {"ed25519": eve.ed25519, "curve25519": eve.curve25519}[algorithm] + "="
    eve.publishes(keys={algorithm: padded})
    event = eve.event(here.ours, content=CONTENT)
    if algorithm == "curve25519":
        event["content"]["sender_key"] = padded
    told = await here.gets(event, here.ben.event(here.ours, content=CONTENT))
    assert told == [NotOpened(eve.user_id, event["content"]["sender_key"], "unknown_device", KEY_EVENT), _of(here.ben)]


async def test_device_keys_that_nest_too_deep_cost_no_other_its_message(here: _Open) -> None:
    eve = Peer("@eve:localhost", "LAPTOP")
    here.home.peers[eve.name] = eve
    eve.publishes(more=json.loads("[" * 700 + "]" * 700))
    told = await here.gets(eve.event(here.ours, content=CONTENT), here.ben.event(here.ours, content=CONTENT))
    assert told == [_of(eve), _of(here.ben)]


@pytest.mark.parametrize(("name", "kept"), [(None, ""), ("Eve\ud800", "Eve?"), (["x"], ""), ("Eve", "Eve")])
async def test_a_device_has_a_name_that_nios_store_can_keep(here: _Open, name: Any, kept: str) -> None:
    """Its homeserver adds the name, and nobody signs it. What is not in the store no room's session can be shared with,
    nor with anybody beside it."""
    eve = Peer("@eve:localhost", "LAPTOP")
    here.home.peers[eve.name] = eve
    eve.published["device_keys"]["unsigned"] = {"device_display_name": name}
    told = await here.gets(eve.event(here.ours, content=CONTENT), here.ben.event(here.ours, content=CONTENT))
    assert told == [_of(eve), _of(here.ben)]
    stored = here.ours.store.load_device_keys()
    assert stored[eve.user_id][eve.device_id].display_name == kept
    assert here.ben.device_id in stored[here.ben.user_id]


async def test_device_keys_that_nio_fails_to_take_cost_no_other_its_message(
    here: _Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ann = Peer("@ann:localhost", "LAPTOP")
    here.home.peers[ann.name] = ann
    inner = here.ours.store.save_device_keys

    def fails(devices: dict[str, Any]) -> None:
        if ann.user_id in devices:
            raise ValueError
        inner(devices)

    monkeypatch.setattr(here.ours.store, "save_device_keys", fails)
    told = await here.gets(ann.event(here.ours, content=CONTENT), here.ben.event(here.ours, content=CONTENT))
    assert _of(here.ben) in told
    assert here.ben.device_id in here.ours.store.load_device_keys()[here.ben.user_id]
    assert f"nio does not take the device keys of {ann.user_id}" in caplog.text


# ---- wedged sessions ----


def _age(olm: Olm, hours: float) -> None:
    from datetime import datetime, timedelta

    for session in olm.session_store:
        session.creation_time = session.use_time = datetime.now() - timedelta(hours=hours)


async def test_a_message_that_no_session_opens_is_told_and_a_new_session_is_made_at_once(here: _Open) -> None:
    """nio says nothing of it. It claims a key when its loop comes round, and sends its dummy a round later."""
    assert await here.gets(_to_a_key_we_lost(here.ben, here.ours)) == [_refused(here.ben, "cannot_decrypt")]
    [(_, messages)] = here.home.sent
    content = messages["@ben:localhost"]["PHONE"]
    event = nio.OlmEvent.from_dict({"type": "m.room.encrypted", "sender": here.ours.user_id, "content": content})
    got = here.ben.olm.handle_to_device_event(event)
    assert isinstance(got, nio.DummyEvent)
    assert here.ours.wedged_devices == here.ours.outgoing_to_device_messages == []
    # The other device answers in the new session, and so do we.
    assert await here.gets(here.ben.event(here.ours, content=CONTENT)) == [_of(here.ben)]
    assert [session.id for session in here.ours.session_store[here.ben.curve25519]] == [
        here.ben.olm.session_store.get(here.ours.account.identity_keys["curve25519"]).id
    ]


async def test_a_session_that_is_wedged_later_is_made_anew_once_an_hour(here: _Open) -> None:
    await here.gets(here.ben.event(here.ours, content=CONTENT))
    before = here.ours.session_store.get(here.ben.curve25519).id
    # Young sessions are left as they are, whatever comes (client-server API, "Recovering from undecryptable messages").
    assert await here.gets(_to_a_key_we_lost(here.ben, here.ours)) == [_refused(here.ben, "cannot_decrypt")]
    assert here.home.sent == []
    _age(here.ours, 2)
    await here.gets(_to_a_key_we_lost(here.ben, here.ours))
    assert len(here.home.sent) == 1
    assert here.ours.session_store.get(here.ben.curve25519).id != before
    await here.gets(_to_a_key_we_lost(here.ben, here.ours))
    assert len(here.home.sent) == 1


async def test_a_replayed_message_is_told_as_one_that_cannot_be_decrypted(here: _Open) -> None:
    event = here.ben.event(here.ours, content=CONTENT)
    assert await here.gets(event) == [_of(here.ben)]
    assert await here.gets(event) == [_refused(here.ben, "cannot_decrypt")]


@pytest.mark.parametrize("step", ["keys/claim", "sendToDevice"])
async def test_a_limit_while_a_session_is_mended_is_not_fought(here: _Open, step: str) -> None:
    here.home.limited = step
    assert await here.gets(_to_a_key_we_lost(here.ben, here.ours)) == [_refused(here.ben, "cannot_decrypt")]
    assert here.home.asked(step) == 1
    # What could not be sent nio's loop sends; what could not be claimed the next such message claims.
    assert len(here.ours.outgoing_to_device_messages) == (step == "sendToDevice")


async def test_a_device_without_one_time_keys_stays_wedged(here: _Open) -> None:
    here.ben.published["one_time_keys"].clear()
    await here.gets(_to_a_key_we_lost(here.ben, here.ours))
    assert here.home.sent == []


async def test_a_one_time_key_is_used_up_in_the_store_as_well(here: _Open) -> None:
    """nio saves the account before vodozemac takes the key out of it: after a restart it would serve again."""
    event = here.ben.event(here.ours, content=CONTENT)
    await here.gets(event)
    stored = here.ours.store.load_account()
    again = machine(here.ours.user_id, here.ours.device_id)
    again.account = stored
    with pytest.raises(ValueError, match="unknown one-time key"):
        again.handle_to_device_event(nio.ToDeviceEvent.parse_event(event))


# ---- a key for when there is none left ----


@pytest.mark.parametrize(
    ("unused", "uploads"), [([], 1), (["other"], 1), (["signed_curve25519"], 0), (None, 0), ("signed", 0)]
)
async def test_a_fallback_key_is_given_out_where_there_is_none(here: _Open, unused: Any, uploads: int) -> None:
    """nio has none: a device whose one-time keys are used up cannot be reached before its next sync."""
    here.ours.account.shared = True
    here.door.fallback_keys(unused)
    if here.door._errands is not None:
        await here.door._errands
    assert here.home.asked("keys/upload") == uploads
    if uploads:
        [(name, key)] = json.loads(here.home.scripted.asked[-1][3])["fallback_keys"].items()
        assert name.startswith("signed_curve25519:")
        assert key["fallback"] is True
        own = here.ours.account.identity_keys
        assert here.ben.olm.verify_json(dict(key), own["ed25519"], here.ours.user_id, here.ours.device_id)
        # Any number of others may have begun a session with it, and after a restart of ours as well.
        for peer in (here.ben, Peer("@cem:localhost", "WEB")):
            here.home.peers[peer.name] = peer
            peer.olm.create_session(key["key"], own["curve25519"])
            assert await here.gets(peer.event(here.ours, content=CONTENT)) == [_of(peer)]
        again = machine(here.ours.user_id, here.ours.device_id)
        again.account = here.ours.store.load_account()
        third = Peer("@dan:localhost", "D")
        third.olm.create_session(key["key"], own["curve25519"])
        event = third.event(here.ours, "m.dummy", sender_device="D")
        assert isinstance(again.handle_to_device_event(nio.ToDeviceEvent.parse_event(event)), nio.DummyEvent)


async def test_a_fallback_key_that_could_not_be_given_out_is_made_anew_after_the_next_sync(here: _Open) -> None:
    here.ours.account.shared = True
    here.home.limited = "keys/upload"
    for expected in (1, 2):
        here.door.fallback_keys([])
        assert here.door._errands is not None
        await here.door._errands
        assert here.home.asked("keys/upload") == expected


async def test_a_device_that_has_not_published_its_keys_gives_out_none(here: _Open) -> None:
    here.door.fallback_keys([])
    assert here.door._errands is None


# ---- the door itself ----


async def test_a_door_shows_no_key(here: _Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="mlsrtc")
    secret = CONTENT["keys"]["key"]  # type: ignore[index]
    told = await here.gets(
        here.ben.event(here.ours, content=CONTENT), here.ben.event(here.ours, content=CONTENT, sender_device="X")
    )
    assert len(told) == 2
    assert secret not in repr(told) + caplog.text


async def test_one_door_at_a_time_and_a_closed_one_is_gone(here: _Open) -> None:
    with pytest.raises(LocalProtocolError, match="one transport"):
        OlmDoor(here.client, here.told.append).open()
    await here.door.close()
    assert await here.gets(here.ben.event(here.ours, content=CONTENT)) == []
    OlmDoor(here.client, here.told.append).open()
    assert await here.gets(here.ben.event(here.ours, content=CONTENT)) == []
    await asyncio.sleep(0)


async def test_a_client_without_encryption_has_a_door_that_nothing_comes_through() -> None:
    client = nio.AsyncClient("http://127.0.0.1:1", "@a:h", config=nio.AsyncClientConfig(encryption_enabled=False))
    client.restore_login("@a:h", "D", "t")
    door = OlmDoor(client, lambda told: None)
    door.open()
    with pytest.raises(LocalProtocolError, match="encryption"):
        await door.send(olm_module.SendEncrypted("t", "x", {}))
    await door.close()


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_call_can_tell_what_came_by_olm_from_what_came_in_the_clear(
    scripted: Scripted, encrypted: bool
) -> None:
    ben = Peer("@ben:localhost", "PHONE")
    home = Homeserver(scripted, ben)
    content = {"room_id": "!r:h", "n": 1}
    async with NioTransport(scripted.client, sync=False) as transport:
        channel = NioChannel(scripted.client, "!r:h", "m.call#ROOM", olm=transport._olm, attachment_limit=1)
        transport._channels.append(channel)
        clear = {"type": "dev.mlsrtc.need", "sender": "@ben:localhost", "content": content}
        event = ben.event(scripted.client.olm, "dev.mlsrtc.need", content) if encrypted else clear
        await scripted.client.run_response_callbacks([await home.bring(event)])
        told = ToDevice("dev.mlsrtc.need", "@ben:localhost", content)
        if encrypted:
            told = replace(told, sender_device="PHONE", sender_key=decode_base64(ben.ed25519))
        assert await channel.receive(5) == [told]
        other = ben.event(scripted.client.olm, "dev.mlsrtc.need", {**content, "room_id": "!other:h"})
        await scripted.client.run_response_callbacks([await home.bring(other)])
        assert await channel.receive(0) == ()
        transport._channels.clear()


async def test_a_call_is_told_of_a_new_session_and_not_of_a_dummy_that_does_not_hold(scripted: Scripted) -> None:
    ben = Peer("@ben:localhost", "PHONE")
    home = Homeserver(scripted, ben)
    async with NioTransport(scripted.client, sync=False) as transport:
        channel = NioChannel(scripted.client, "!r:h", "m.call#ROOM", olm=transport._olm, attachment_limit=1)
        transport._channels.append(channel)
        await transport._olm.learn([ben.user_id])
        ours = scripted.client.olm
        strange = ben.event(ours, "m.dummy", keys={"ed25519": ben.curve25519})
        await home.bring(ben.event(ours, "m.dummy"), strange)
        told = ToDevice("m.dummy", ben.user_id, {}, "PHONE", decode_base64(ben.ed25519))
        assert await channel.receive(0) == [told]
        transport._channels.clear()


async def test_what_could_not_be_opened_is_told_to_the_calls_that_it_may_have_been_for(scripted: Scripted) -> None:
    ben = Peer("@ben:localhost", "PHONE")
    home = Homeserver(scripted, ben)
    transport = NioTransport(scripted.client, sync=False)
    async with transport:
        channel = NioChannel(scripted.client, "!r:localhost", "m.call#ROOM", olm=transport._olm, attachment_limit=1)
        transport._channels.append(channel)
        ours = scripted.client.olm
        lost = ben.event(ours, content=CONTENT)
        lost["content"]["ciphertext"][ours.account.identity_keys["curve25519"]]["body"] = "AAAA"
        other = ben.event(ours, "m.secret.send", {}, recipient="@eve:localhost")
        key = ben.event(ours, content=CONTENT, recipient="@eve:localhost")
        await home.bring(lost, other, key)
        told = await channel.receive(0)
        assert [one for one in told if isinstance(one, Unopened)] == [
            Unopened(ben.user_id, "bad_ciphertext"),
            Unopened(ben.user_id, "wrong_recipient"),
            Unopened(ben.user_id, "wrong_recipient"),
        ]
        assert ben.user_id not in ours.device_store.users, "to ask nio's store would make an entry"
        await transport._olm.learn([ben.user_id])
        await home.bring(ben.seal(ours, "no json"))
        assert Unopened(ben.user_id, "bad_json", ben.device_id) in await channel.receive(0)
