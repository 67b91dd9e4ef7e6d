"""The checks that decide the demo's exit status: each must find what it is there for."""

import pytest

from mlsrtc import EpochChanged, MediaKeysChanged
from mlsrtc.cli.demo.ledger import Ledger
from mlsrtc.identifiers import DeviceId, EpochId, KeyIndex, LeafIndex, MemberId, UserId
from mlsrtc.media.keys import MediaKey
from mlsrtc.mls import Secret

STRANGER = 2


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


@pytest.fixture
def ledger() -> Ledger:
    """Ada and Ben in one call that went well, and a stranger outside."""
    ledger = Ledger()
    for seat, name in enumerate(("ada", "ben", "stranger")):
        account = ledger.open(seat, name)
        account.members = {MemberId(name)}
        account.present = seat != STRANGER
    for seat in (0, 1):
        ledger.tell(seat, epoch(1, "ada", "ben"), 0.0)
        ledger.tell(seat, keys(1, "ada", "ben"), 0.0)
    return ledger


def test_a_call_that_went_well_passes(ledger: Ledger) -> None:
    assert ledger.check(STRANGER) == []
    assert ledger.one_epoch() == identifier(1)
    assert len(ledger.fingerprint(identifier(1))) == 8


def test_different_keys_of_one_sender_are_found(ledger: Ledger) -> None:
    ledger.tell(1, keys(1, "ada", "ben", key=b"x"), 1.0)
    assert ledger.check(STRANGER) == ["ben and ada hold different keys in epoch 1"]


def test_a_missing_sender_is_found(ledger: Ledger) -> None:
    ledger.tell(1, keys(1, "ben"), 1.0)
    assert "ben has not exactly one key per sender in epoch 1" in ledger.check(STRANGER)


def test_a_key_of_an_epoch_that_one_is_no_member_of_is_found(ledger: Ledger) -> None:
    """A leaver with a later key and a joiner with an earlier one are the same fault."""
    ledger.tell(0, epoch(2, "ada"), 1.0)
    ledger.tell(0, keys(2, "ada"), 1.0)
    ledger.accounts[1].present = False
    assert ledger.check(STRANGER) == []
    ledger.tell(1, keys(2, "ada"), 2.0)
    assert ledger.check(STRANGER) == ["ben holds keys of epoch 2, of which it is no member"]


def test_a_key_of_an_unknown_epoch_is_found(ledger: Ledger) -> None:
    ledger.tell(1, keys(9, "ben"), 1.0)
    assert "ben holds keys of an epoch that nobody stood on" in ledger.check(STRANGER)


def test_a_stranger_with_a_key_is_found(ledger: Ledger) -> None:
    ledger.tell(STRANGER, keys(1, "ada", "ben"), 1.0)
    assert "the stranger holds keys" in ledger.check(STRANGER)


def test_two_views_of_one_epoch_are_found(ledger: Ledger) -> None:
    ledger.tell(1, epoch(1, "ada", "ben", code="2" * 30), 1.0)
    assert "ben sees other members or another code in epoch 1" in ledger.check(STRANGER)


def test_devices_on_two_epochs_are_found(ledger: Ledger) -> None:
    ledger.tell(0, epoch(2, "ada", "ben"), 1.0)
    ledger.tell(0, keys(2, "ada", "ben"), 1.0)
    assert ledger.one_epoch() is None
    assert ledger.check(STRANGER) == ["the devices in the call do not all stand on one epoch and hold its keys"]
