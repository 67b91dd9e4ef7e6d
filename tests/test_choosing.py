"""How a call is keyed where the application leaves it to the room."""

from typing import Any

import pytest

import samples
from mlsrtc.choosing import choose
from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.policy import MLS, PER_MEMBER, Encryption, Policy
from mlsrtc.wire import names
from mlsrtc.wire.incoming import HistoryComplete, Now, RoomEvent
from people import ANNA, NOW, SLOT
from samples import without

OWN = UserId("@own:one.example"), DeviceId("OWN")
AT = Now(1.0, NOW + 1000)


def slot(encryption: str | None, status: str = "open") -> RoomEvent:
    content: dict[str, Any] = {"status": status, "application": {"type": "m.call"}}
    if encryption is not None:
        content["encryption"] = {"type": encryption}
    return samples.event(content, names.SLOT, state_key=SLOT)


def chosen(*events: RoomEvent, own: tuple[UserId, DeviceId] = OWN) -> Encryption:
    return choose([*events, HistoryComplete()], SLOT, own, Policy(), AT)


def with_mls() -> RoomEvent:
    return samples.event(samples.state_join())


def without_mls(**change: Any) -> RoomEvent:
    return samples.event({**without(samples.state_join(), names.BLOCK), **change})


@pytest.mark.parametrize("encryption", sorted(names.PER_MEMBER_TYPES))
def test_what_the_slot_says_counts_most(encryption: str) -> None:
    assert chosen(slot(encryption), with_mls()) is PER_MEMBER
    assert chosen(slot(names.ENCRYPTION_TYPE), without_mls()) is MLS


def test_a_slot_of_another_encryption_is_the_sessions_to_refuse() -> None:
    assert chosen(slot("another"), without_mls()) is MLS


def test_a_slot_that_says_nothing_or_is_closed_does_not_count() -> None:
    assert chosen(slot(None), without_mls()) is PER_MEMBER
    assert chosen(slot("dev.mlsrtc.mls", "closed"), without_mls()) is PER_MEMBER


def test_an_empty_room_has_mls() -> None:
    assert chosen() is MLS


def test_where_somebody_has_mls_so_have_we() -> None:
    assert chosen(with_mls()) is MLS


def test_where_others_are_and_nobody_has_mls_keys_are_handed_out() -> None:
    assert chosen(without_mls()) is PER_MEMBER


def test_where_clients_of_famedly_s_are_keys_are_handed_out() -> None:
    theirs = samples.event(samples.famedly(), names.FAMEDLY_MEMBER, state_key=ANNA.user)
    assert chosen(theirs) is PER_MEMBER
    assert chosen(theirs, with_mls()) is MLS
    assert chosen(samples.event({"memberships": []}, names.FAMEDLY_MEMBER, state_key=ANNA.user)) is MLS


def test_who_is_not_there_any_more_does_not_count() -> None:
    assert chosen(without_mls(expires=1, created_ts=1)) is MLS
    kicked = samples.event({"membership": "leave"}, names.ROOM_MEMBER, state_key=ANNA.user)
    assert chosen(without_mls(), kicked) is MLS


def test_a_membership_of_our_own_device_of_an_earlier_time_says_nothing() -> None:
    assert chosen(without_mls(), own=(ANNA.user, ANNA.device)) is MLS


def test_another_call_of_the_room_says_nothing() -> None:
    assert chosen(without_mls(call_id="another")) is MLS


def test_an_event_that_does_not_hold_is_passed_over() -> None:
    assert chosen(samples.event({"application": 1}), without_mls()) is PER_MEMBER


def test_whose_own_device_was_in_the_call_with_mls_goes_on_with_it() -> None:
    sample = with_mls()
    own = UserId(sample.sender), DeviceId(sample.content["device_id"])
    content = {**without(samples.state_join(), names.BLOCK), "device_id": "OTHER"}
    other = samples.event(content, sender="@other:one.example", state_key="_@other:one.example_OTHER_m.call")
    assert chosen(other, own=own) is PER_MEMBER
    assert chosen(sample, other, own=own) is MLS
