"""The checks that decide the demo's exit status: each must find what it is there for."""

from dataclasses import replace

import pytest

from mlsrtc import EpochChanged, EventRefused, MediaKeysChanged, MediaKeysRetired
from mlsrtc.cli.demo.ledger import Intruder, Ledger
from mlsrtc.identifiers import DeviceId, EpochId, EventId, KeyIndex, LeafIndex, MemberId, UserId
from mlsrtc.media.keys import MediaKey
from mlsrtc.mls import Secret
from mlsrtc.wire.encoding import key_index

STRANGER = 2
SENT = (EventId("$join"), EventId("$commit"))
APART = "the devices in the call do not all stand on one epoch of theirs alone and hold its keys"
NOT_REFUSED = "not everybody in the call has refused all that the stranger sent"


def epoch(number: int, *members: str, code: str = "1" * 30, added: int = 0) -> EpochChanged:
    names = tuple(MemberId(member) for member in members)
    return EpochChanged(identifier(number), number, names[0], code, names, names[:added], ())


def identifier(number: int) -> EpochId:
    return EpochId(bytes([number]) * 32)


def keys(number: int, *members: str, key: bytes = b"k") -> MediaKeysChanged:
    return MediaKeysChanged(
        identifier(number),
        number,
        tuple(
            MediaKey(
                MemberId(member),
                UserId(f"@{member}:localhost"),
                DeviceId("D"),
                LeafIndex(0),
                KeyIndex(1),
                Secret(key + member.encode()),
            )
            for member in members
        ),
    )


def refused(event: EventId) -> EventRefused:
    return EventRefused(event, UserId("@stranger:localhost"), "bad_signature", "content")


@pytest.fixture
def ledger() -> Ledger:
    """Ada and Ben in one call that went well, and a stranger outside whom both have refused."""
    ledger = Ledger()
    for seat, name in enumerate(("ada", "ben", "stranger")):
        account = ledger.open(seat, name)
        account.members = {MemberId(name)}
        account.present = seat != STRANGER
    ledger.intruder = Intruder(STRANGER, MemberId("stranger"), frozenset(SENT))
    for seat in (0, 1):
        ledger.tell(seat, epoch(1, "ada", "ben"), 0.0)
        ledger.tell(seat, keys(1, "ada", "ben"), 0.0)
        for event in SENT:
            ledger.tell(seat, refused(event), 0.0)
    ledger.agree(identifier(1))
    return ledger


def go_on(ledger: Ledger, number: int, *seats: int) -> None:
    """Ada and Ben go on to another epoch; those at `seats` get its keys."""
    for seat in (0, 1):
        ledger.tell(seat, epoch(number, "ada", "ben"), 1.0)
    for seat in seats:
        ledger.tell(seat, keys(number, "ada", "ben"), 1.0)


def test_a_call_that_went_well_passes(ledger: Ledger) -> None:
    assert ledger.check() == []
    assert ledger.one_epoch() == identifier(1)
    assert len(ledger.fingerprint(identifier(1))) == 8


def test_different_keys_of_one_sender_are_found(ledger: Ledger) -> None:
    ledger.tell(1, keys(1, "ada", "ben", key=b"x"), 1.0)
    assert ledger.check() == ["ben and ada hold different keys in epoch 1"]


def test_a_missing_sender_is_found(ledger: Ledger) -> None:
    ledger.tell(1, keys(1, "ben"), 1.0)
    assert "ben has not exactly one key per sender in epoch 1" in ledger.check()


def test_who_stood_on_an_epoch_without_its_keys_is_found(ledger: Ledger) -> None:
    go_on(ledger, 2, 0)
    go_on(ledger, 3)
    go_on(ledger, 4, 0, 1)
    assert ledger.check() == [
        "ben stood on epoch 2 without its keys",
        "ada stood on epoch 3 without its keys",
        "ben stood on epoch 3 without its keys",
    ]


def test_who_passed_an_epoch_by_needs_none_of_its_keys(ledger: Ledger) -> None:
    """A device that had more than one commit to go takes them in one step, and stands on the last."""
    ledger.tell(0, epoch(2, "ada", "ben"), 1.0)
    ledger.tell(0, keys(2, "ada", "ben"), 1.0)
    go_on(ledger, 3, 0, 1)
    assert ledger.check() == []


def test_who_was_in_the_call_where_it_came_to_rest_may_not_have_passed_by(ledger: Ledger) -> None:
    ledger.tell(0, epoch(2, "ada", "ben"), 1.0)
    ledger.tell(0, keys(2, "ada", "ben"), 1.0)
    ledger.agree(identifier(2))
    go_on(ledger, 3, 0, 1)
    assert ledger.check() == ["ben stood on epoch 2 without its keys"]


def test_keys_that_wait_for_their_index_may_be_passed_by(ledger: Ledger) -> None:
    """Two branches may have one index; the later one's keys wait until the earlier one's are wiped."""
    other = EpochId(bytes([1]) * 31 + b"x")
    assert key_index(1, other) == key_index(1, identifier(1))
    twin = replace(epoch(1, "ada", "ben"), id=other)
    ledger.tell(1, twin, 1.0)
    go_on(ledger, 2, 0, 1)
    assert ledger.check() == []
    ledger.tell(1, MediaKeysRetired(identifier(1), key_index(1, other)), 2.0)
    ledger.tell(1, twin, 2.0)
    go_on(ledger, 3, 0, 1)
    assert ledger.check() == ["ben stood on epoch 1 without its keys"]


def test_a_key_of_an_epoch_that_one_is_no_member_of_is_found(ledger: Ledger) -> None:
    """A leaver with a later key and a joiner with an earlier one are the same fault."""
    ledger.tell(0, epoch(2, "ada"), 1.0)
    ledger.tell(0, keys(2, "ada"), 1.0)
    ledger.accounts[1].present = False
    assert ledger.check() == []
    ledger.tell(1, keys(2, "ada"), 2.0)
    assert ledger.check() == ["ben holds keys of epoch 2, of which it is no member"]


def test_a_key_of_an_unknown_epoch_is_found(ledger: Ledger) -> None:
    ledger.tell(1, keys(9, "ben"), 1.0)
    assert "ben holds keys of an epoch that nobody stood on" in ledger.check()


def test_a_call_without_a_stranger_has_not_shown_that_it_refuses_one(ledger: Ledger) -> None:
    ledger.intruder = None
    assert ledger.check() == ["no stranger tried to get in"]


def test_a_stranger_with_a_key_is_found(ledger: Ledger) -> None:
    ledger.tell(STRANGER, keys(1, "ada", "ben"), 1.0)
    assert "the stranger holds keys" in ledger.check()


def test_a_stranger_in_an_epoch_is_found(ledger: Ledger) -> None:
    for seat in (0, 1):
        ledger.tell(seat, epoch(2, "ada", "ben", "stranger"), 1.0)
        ledger.tell(seat, keys(2, "ada", "ben", "stranger"), 1.0)
    assert ledger.check() == [APART, "the stranger is a member of epoch 2"]


def test_only_what_the_stranger_sent_counts_as_its_refusal(ledger: Ledger) -> None:
    """Nor does one of its events count twice: a state event is handed on each time."""
    del ledger.accounts[1].refused[SENT[1]]
    ledger.tell(1, refused(SENT[0]), 1.0)
    ledger.tell(1, refused(EventId("$another")), 1.0)
    assert ledger.check() == [NOT_REFUSED]


def test_two_views_of_one_epoch_are_found(ledger: Ledger) -> None:
    ledger.tell(1, epoch(1, "ada", "ben", code="2" * 30), 1.0)
    assert "ben sees other members or another code in epoch 1" in ledger.check()


def test_devices_on_two_epochs_are_found(ledger: Ledger) -> None:
    ledger.tell(0, epoch(2, "ada", "ben"), 1.0)
    ledger.tell(0, keys(2, "ada", "ben"), 1.0)
    assert ledger.one_epoch() is None
    assert ledger.check() == [APART]


def test_an_epoch_that_still_holds_who_has_left_is_no_rest(ledger: Ledger) -> None:
    ledger.accounts[1].present = False
    assert ledger.one_epoch() is None
    assert ledger.check() == [APART]
