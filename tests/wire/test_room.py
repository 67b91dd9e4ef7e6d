"""Room state: who may send what, who is in the room, which encryption the slot names."""

import pytest

import samples
from mlsrtc.errors import CannotSend
from mlsrtc.identifiers import UserId
from mlsrtc.wire import names
from mlsrtc.wire.room import (
    NO_POWER_LEVELS,
    Creation,
    PowerLevels,
    RoomMember,
    Slot,
    decode_create,
    decode_encryption,
    decode_power_levels,
    decode_room_member,
    decode_slot,
)
from people import ANNA, BERT, SLOT

OTHER = UserId("@other:one.example")


def test_the_specification_s_defaults() -> None:
    assert decode_power_levels({}) == PowerLevels()
    levels = PowerLevels()
    assert levels.needed(names.COMMIT, state=False) == 0
    assert levels.needed(names.STATE_MEMBER, state=True) == 50
    assert NO_POWER_LEVELS.may_send(ANNA.user, names.STATE_MEMBER, state=True)


def test_who_may_send() -> None:
    levels = decode_power_levels(
        {
            "users": {ANNA.user: 100, BERT.user: -1},
            "users_default": 10,
            "events": {names.STATE_MEMBER: 10, names.COMMIT: 11},
            "events_default": 5,
            "state_default": 60,
        }
    )
    assert levels.may_send(ANNA.user, names.SLOT, state=True)
    assert not levels.may_send(BERT.user, names.WORD, state=False)
    assert levels.senders((ANNA.user, BERT.user), names.WORD, state=False) == {ANNA.user}
    levels.check(ANNA.user, names.COMMIT, state=False)
    with pytest.raises(CannotSend) as caught:
        levels.check(BERT.user, names.COMMIT, state=False)
    assert (caught.value.event_type, caught.value.need, caught.value.have) == (names.COMMIT, 11, -1)


def test_creators_stand_above_from_room_version_12() -> None:
    levels = PowerLevels(events={names.COMMIT: 100})
    for version, above in (("11", False), ("12", True), ("13", True), ("org.future", True)):
        event = samples.event({"room_version": version, "additional_creators": [BERT.user]}, names.ROOM_CREATE)
        creation = decode_create(event)
        assert creation == Creation(frozenset({ANNA.user, BERT.user}), version)
        assert levels.may_send(BERT.user, names.COMMIT, state=False, creation=creation) is above
        able = levels.senders((BERT.user, OTHER), names.COMMIT, state=False, creation=creation)
        assert able == ({BERT.user} if above else set())
    assert decode_create(samples.event({}, names.ROOM_CREATE)).version == "1"


def test_slots() -> None:
    encryption = {"type": names.ENCRYPTION_TYPE}
    for content, slot in (
        (
            {"status": "open", "application": {"type": "m.call"}, "encryption": encryption},
            (True, "m.call", "dev.mlsrtc.mls"),
        ),
        ({"status": "open"}, (True,)),
        ({"status": "closed", "encryption": encryption}, (False,)),
        ({}, (False,)),
    ):
        assert decode_slot(samples.event(content, names.SLOT, state_key=SLOT)) == Slot(SLOT, *slot)


def test_members_and_encryption() -> None:
    event = samples.event({"membership": "ban"}, names.ROOM_MEMBER, state_key=BERT.user)
    assert decode_room_member(event) == RoomMember(BERT.user, "ban", ANNA.user)
    assert not decode_room_member(event).present
    assert decode_encryption({"algorithm": "m.megolm.v1.aes-sha2"}) == "m.megolm.v1.aes-sha2"
