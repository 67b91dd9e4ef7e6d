"""Joins, leaves and words hold for one user, device, room and slot; devices are let in as the policy says."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsrtc import mls, trust
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError, StoreError
from mlsrtc.evidence import Leaf, Left, Refusal
from mlsrtc.identifiers import EventId, MemberId, RoomId, SlotId, UserId
from mlsrtc.policy import Trust
from mlsrtc.trust import Claim, Pins, Refused, Trusted, Verdict, assess, pin_on_first_use
from mlsrtc.wire.binding import EXTENSION_TYPE
from mlsrtc.wire.chain import decode_keys_query
from mlsrtc.wire.commit import WordEvent
from mlsrtc.wire.encoding import member_id
from people import (
    ANNA,
    ANNA_AGAIN,
    ANNA_PHONE,
    BERT,
    HOUR,
    NOW,
    ROOM,
    SLOT,
    Device,
    LeafKey,
    epoch,
    private,
    public,
)

OTHER_ROOM = RoomId("!other:one.example")
EVE = UserId("@eve:three.example")


def reason_of(caught: "pytest.ExceptionInfo[RemoteProtocolError]") -> tuple[str, str]:
    return caught.value.reason, caught.value.where


# -- joins ---------------------------------------------------------------------------------------------------


def test_a_join_becomes_evidence() -> None:
    block = ANNA.join_block(head=epoch("head"), replaces=frozenset({ANNA_AGAIN.m}))
    joined = trust.verify_join(ROOM, ANNA.user, block)
    assert joined.leaf == ANNA.leaf
    assert joined.head == epoch("head")
    assert joined.replaces == {ANNA_AGAIN.m}
    assert (joined.suite, joined.key_package) == (1, block.key_package)
    assert (joined.from_ts, joined.until_ts) == (NOW, NOW + HOUR)


@pytest.mark.parametrize(
    "change",
    [
        {"key_package": b"another"},
        {"from_ts": NOW + 1},
        {"until_ts": NOW + HOUR + 1},
        {"head": epoch("head")},
        {"replaces": (BERT.m,)},
        {"signature": bytes(64)},
    ],
)
def test_a_join_is_signed_as_a_whole(change: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        trust.verify_join(ROOM, ANNA.user, replace(ANNA.join_block(), **change))  # type: ignore[arg-type]
    assert reason_of(caught) == ("bad_signature", "content.dev.mlsrtc.mls.signature")


def test_a_join_lasts_four_hours_at_most() -> None:
    trust.verify_join(ROOM, ANNA.user, ANNA.join_block(until_ts=NOW + 4 * HOUR))
    for until in (NOW + 4 * HOUR + 1, NOW, NOW - 1):
        with pytest.raises(LocalProtocolError):
            ANNA.join_block(until_ts=until)
        with pytest.raises(RemoteProtocolError) as caught:
            trust.verify_join(ROOM, ANNA.user, replace(ANNA.join_block(), until_ts=until))
        assert reason_of(caught) == ("bad_lifetime", "content.dev.mlsrtc.mls.until")


def test_a_join_does_not_replace_itself() -> None:
    with pytest.raises(LocalProtocolError):
        ANNA.join_block(replaces=frozenset({ANNA.m}))


@pytest.mark.parametrize(
    ("room", "sender", "change"),
    [
        (OTHER_ROOM, ANNA.user, {}),
        (ROOM, EVE, {}),
        (ROOM, ANNA.user, {"slot_id": SlotId("m.call#OTHER")}),
        (ROOM, ANNA.user, {"device_id": ANNA_PHONE.device}),
        (ROOM, ANNA.user, {"leaf_key": ANNA_AGAIN.signer.public}),
        (ROOM, ANNA.user, {"member_id": ANNA_AGAIN.m}),
        (ROOM, ANNA.user, {"binding": ANNA_PHONE.binding()}),
    ],
)
def test_a_join_counts_in_one_place_for_one_device(room: RoomId, sender: UserId, change: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        trust.verify_join(room, sender, replace(ANNA.join_block(), **change))  # type: ignore[arg-type]
    assert reason_of(caught) == ("wrong_member_id", "content.dev.mlsrtc.mls.binding")


# -- leaves --------------------------------------------------------------------------------------------------


def test_a_leave_checks_without_a_join() -> None:
    block = ANNA.left_block()
    assert trust.verify_left(ROOM, ANNA.user, block) == Left(ANNA.m, block.signature)
    assert trust.leaf_of_left(ANNA.user, block) == ANNA.leaf
    with pytest.raises(LocalProtocolError):
        trust.sign_left(ROOM, SLOT, ANNA.leaf, BERT.signer)


@pytest.mark.parametrize(
    ("room", "sender", "change", "reason", "where"),
    [
        (OTHER_ROOM, ANNA.user, {}, "wrong_member_id", "left.member_id"),
        (ROOM, EVE, {}, "wrong_member_id", "left.member_id"),
        (ROOM, ANNA.user, {"member_id": ANNA_AGAIN.m}, "wrong_member_id", "left.member_id"),
        (ROOM, ANNA.user, {"signature": bytes(64)}, "bad_signature", "left.signature"),
        (ROOM, ANNA.user, {"suite": 2}, "bad_signature", "left.signature"),
        (ROOM, ANNA.user, {"suite": 60000}, "unsupported_suite", "left.signature"),
    ],
)
def test_a_leave_counts_in_one_place_for_one_leaf(
    room: RoomId, sender: UserId, change: dict[str, object], reason: str, where: str
) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        trust.verify_left(room, sender, replace(ANNA.left_block(), **change))  # type: ignore[arg-type]
    assert reason_of(caught) == (reason, f"content.dev.mlsrtc.mls.{where}")


# -- words ---------------------------------------------------------------------------------------------------


def word(refuse: Refusal | None = None) -> WordEvent:
    return trust.sign_word(
        ROOM,
        SLOT,
        ANNA.leaf,
        ANNA.signer,
        root=epoch("root"),
        root_event=EventId("$root"),
        n=2,
        id=epoch("id"),
        refuse=refuse,
    )


@pytest.mark.parametrize("refuse", [None, Refusal(epoch("bad"), "bad_tree")])
def test_a_word_becomes_evidence(refuse: Refusal | None) -> None:
    spoken = trust.verify_word(ROOM, ANNA.user, word(refuse), ANNA.leaf, 1)
    assert (spoken.member_id, spoken.user_id, spoken.n) == (ANNA.m, ANNA.user, 2)
    assert (spoken.root, spoken.id, spoken.refuse) == (epoch("root"), epoch("id"), refuse)


@pytest.mark.parametrize(
    ("room", "sender", "change", "leaf", "reason", "where"),
    [
        (ROOM, ANNA.user, {}, ANNA_AGAIN.leaf, "wrong_member_id", "content.member_id"),
        (ROOM, EVE, {}, ANNA.leaf, "wrong_user", "sender"),
        (OTHER_ROOM, ANNA.user, {}, ANNA.leaf, "bad_signature", "content.sig"),
        (ROOM, ANNA.user, {"slot_id": SlotId("m.call#x")}, ANNA.leaf, "bad_signature", "content.sig"),
        (ROOM, ANNA.user, {"root": epoch("x")}, ANNA.leaf, "bad_signature", "content.sig"),
        (ROOM, ANNA.user, {"n": 3}, ANNA.leaf, "bad_signature", "content.sig"),
        (ROOM, ANNA.user, {"id": epoch("x")}, ANNA.leaf, "bad_signature", "content.sig"),
        (ROOM, ANNA.user, {"refuse": None}, ANNA.leaf, "bad_signature", "content.sig"),
        (ROOM, ANNA.user, {"refuse": (epoch("bad"), "unopened")}, ANNA.leaf, "bad_signature", "content.sig"),
    ],
)
def test_a_word_is_signed_as_a_whole(
    room: RoomId, sender: UserId, change: dict[str, object], leaf: Leaf, reason: str, where: str
) -> None:
    said = replace(word(Refusal(epoch("bad"), "bad_tree")), **change)  # type: ignore[arg-type]
    with pytest.raises(RemoteProtocolError) as caught:
        trust.verify_word(room, sender, said, leaf, 1)
    assert reason_of(caught) == (reason, where)


def test_another_s_key_says_nothing_in_our_name() -> None:
    with pytest.raises(LocalProtocolError):
        trust.sign_word(
            ROOM,
            SLOT,
            ANNA.leaf,
            LeafKey(private("x")),
            root=epoch("r"),
            root_event=EventId("$r"),
            n=1,
            id=epoch("r"),
        )


@pytest.mark.parametrize("suite", mls.suites())
def test_leaf_signatures_of_every_suite(suite: int) -> None:
    key = mls.SigningKey.generate(suite)
    device_key = public(ANNA.key)
    m = member_id(ROOM, SLOT, ANNA.user, ANNA.device, device_key=device_key, leaf_key=key.public)
    leaf = Leaf(m, ANNA.user, ANNA.device, device_key, key.public)
    block = trust.sign_left(ROOM, SLOT, leaf, key)
    assert trust.verify_left(ROOM, ANNA.user, block).member_id == m
    with pytest.raises(RemoteProtocolError):
        trust.verify_left(ROOM, ANNA.user, replace(block, signature=block.signature[:-1]))


# -- key packages --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    identity: bytes = ANNA.identity.encode()
    signature_key: bytes = ANNA.signer.public
    extensions: tuple[tuple[int, bytes], ...] = ((EXTENSION_TYPE, ANNA.binding().encode()),)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(identity=BERT.identity.encode()), "wrong_credential"),
        (Facts(signature_key=BERT.signer.public), "wrong_leaf_key"),
        (Facts(extensions=()), "no_binding"),
        (Facts(extensions=Facts.extensions * 2), "no_binding"),
        (Facts(extensions=((EXTENSION_TYPE, b"short"),)), "bad_binding"),
        (Facts(extensions=((EXTENSION_TYPE, BERT.binding().encode()),)), "wrong_device_key"),
        (Facts(extensions=((EXTENSION_TYPE, public(ANNA.key) + bytes(64)),)), "bad_signature"),
    ],
)
def test_the_key_package_s_leaf_is_the_join_s(facts: Facts, reason: str) -> None:
    joined = trust.verify_join(ROOM, ANNA.user, ANNA.join_block())
    trust.verify_key_package(ROOM, SLOT, joined, Facts())
    with pytest.raises(RemoteProtocolError) as caught:
        trust.verify_key_package(ROOM, SLOT, joined, facts)
    assert reason_of(caught) == (reason, "content.dev.mlsrtc.mls.key_package")


# -- devices -------------------------------------------------------------------------------------------------

CHANGED = Device(master="second", join=3)


def claims(*devices: Device, chain: bool = True) -> list[Claim]:
    return [Claim(device.leaf, device.chain() if chain else None) for device in devices]


def test_a_chain_leads_to_the_master_key() -> None:
    assert trust.verify_chain(ANNA.chain(), ANNA.leaf) == public(ANNA.master_key)


@pytest.mark.parametrize(
    ("change", "leaf", "reason", "where"),
    [
        ({}, BERT.leaf, "wrong_user", "device.user_id"),
        ({}, ANNA_PHONE.leaf, "wrong_device", "device.device_id"),
        ({"device_key": bytes(32)}, ANNA.leaf, "wrong_device_key", "device.keys"),
        ({"device_signature": bytes(64)}, ANNA.leaf, "bad_signature", "device"),
        ({"device_signed": b"{}"}, ANNA.leaf, "bad_signature", "device"),
        ({"self_signing_key": public(BERT.self_signing_key)}, ANNA.leaf, "bad_signature", "device"),
        ({"self_signing_signature": bytes(64)}, ANNA.leaf, "bad_signature", "self_signing"),
        ({"master_key": public(BERT.master_key)}, ANNA.leaf, "bad_signature", "self_signing"),
    ],
)
def test_a_chain_holds_for_one_device_of_one_user(
    change: dict[str, object], leaf: Leaf, reason: str, where: str
) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        trust.verify_chain(replace(ANNA.chain(), **change), leaf)  # type: ignore[arg-type]
    assert reason_of(caught) == (reason, f"content.dev.mlsrtc.mls.chain.{where}")


def judge(policy: Trust, pins: Pins, *found: Claim) -> dict[MemberId, Verdict]:
    return assess(policy, pins, found)


def test_first_use_pins_and_a_changed_master_key_is_refused_until_accepted() -> None:
    verdicts = judge(Trust.CROSS_SIGNED, Pins(), *claims(ANNA))
    assert verdicts == {ANNA.m: Trusted(public(ANNA.master_key))}
    pins = pin_on_first_use(Pins(), verdicts, [ANNA.leaf])
    verdicts = judge(Trust.CROSS_SIGNED, pins, *claims(CHANGED))
    assert verdicts == {CHANGED.m: Refused("master_changed", public(CHANGED.master_key))}
    assert pin_on_first_use(pins, verdicts, [CHANGED.leaf]) == pins
    accepted = pins.accept(ANNA.user, public(CHANGED.master_key))
    assert judge(Trust.CROSS_SIGNED, accepted, *claims(CHANGED, ANNA)) == {
        CHANGED.m: Trusted(public(CHANGED.master_key)),
        ANNA.m: Refused("master_changed", public(ANNA.master_key)),
    }


def test_two_master_keys_of_one_user_in_one_call_are_refused_while_none_is_pinned() -> None:
    found = judge(Trust.CROSS_SIGNED, Pins(), *claims(ANNA, CHANGED, BERT))
    assert found[ANNA.m] == Refused("two_masters", public(ANNA.master_key))
    assert found[CHANGED.m] == Refused("two_masters", public(CHANGED.master_key))
    assert found[BERT.m] == Trusted(public(BERT.master_key))
    assert pin_on_first_use(Pins(), found, [ANNA.leaf, CHANGED.leaf, BERT.leaf]).masters.keys() == {BERT.user}


def test_verified_wants_the_application_s_word() -> None:
    found = judge(Trust.VERIFIED, Pins(), *claims(ANNA))
    assert found[ANNA.m] == Refused("not_verified", public(ANNA.master_key))
    pins = Pins().accept(ANNA.user, public(ANNA.master_key), verified=True)
    assert judge(Trust.VERIFIED, pins, *claims(ANNA))[ANNA.m] == Trusted(public(ANNA.master_key))
    again = pins.accept(ANNA.user, public(CHANGED.master_key))
    assert judge(Trust.VERIFIED, again, *claims(CHANGED))[CHANGED.m] == Refused(
        "not_verified", public(CHANGED.master_key)
    )


def test_any_device_is_let_in_and_flagged() -> None:
    found = judge(Trust.ANY_DEVICE, Pins(), *claims(ANNA, chain=False), *claims(BERT))
    assert found == {
        ANNA.m: Trusted(None, flagged=True, reason="no_chain"),
        BERT.m: Trusted(public(BERT.master_key)),
    }
    assert pin_on_first_use(Pins(), found, [ANNA.leaf, BERT.leaf]).masters.keys() == {BERT.user}


def test_no_chain_and_a_bad_chain_are_refused_and_a_good_copy_is_enough() -> None:
    bad = Claim(ANNA.leaf, replace(ANNA.chain(), device_signature=bytes(64)))
    assert judge(Trust.CROSS_SIGNED, Pins(), *claims(ANNA, chain=False)) == {ANNA.m: Refused("no_chain")}
    assert judge(Trust.CROSS_SIGNED, Pins(), bad) == {ANNA.m: Refused("bad_chain")}
    # A server can garble one copy of a join, or an answer of keys/query, but not spoil the good one by it.
    assert judge(Trust.CROSS_SIGNED, Pins(), bad, *claims(ANNA)) == {ANNA.m: Trusted(public(ANNA.master_key))}


def test_a_revoked_device_is_refused_under_every_policy() -> None:
    for policy in Trust:
        pins = Pins().accept(ANNA.user, public(ANNA.master_key), verified=True)
        assert assess(policy, pins, claims(ANNA), revoked=frozenset({ANNA.m})) == {
            ANNA.m: Refused("revoked", public(ANNA.master_key))
        }


def test_a_device_that_keys_query_no_longer_knows_is_revoked() -> None:
    answer = ANNA.keys_query()
    assert not trust.is_revoked(ANNA.leaf, decode_keys_query(ANNA.user, answer))
    assert trust.is_revoked(ANNA_PHONE.leaf, decode_keys_query(ANNA.user, answer))
    assert not trust.is_revoked(BERT.leaf, decode_keys_query(ANNA.user, answer))
    replaced = replace(ANNA.leaf, device_key=bytes(32))
    assert trust.is_revoked(replaced, decode_keys_query(ANNA.user, answer))


@given(
    st.dictionaries(
        st.sampled_from([ANNA.user, BERT.user, EVE]),
        st.tuples(st.binary(min_size=32, max_size=32), st.booleans()),
    )
)
def test_pins_are_saved_and_read_back(known: dict[UserId, tuple[bytes, bool]]) -> None:
    pins = Pins()
    for user, (key, verified) in known.items():
        pins = pins.accept(user, key, verified=verified)
    assert Pins.decode(pins.encode()) == pins


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version":2,"masters":{},"verified":[]}',
        b'{"version":1,"masters":{"@a:b":"AA"},"verified":[]}',
        b'{"version":1,"masters":{"a":""},"verified":[]}',
        b'{"version":1,"masters":{},"verified":["@a:b"]}',
        b"[" * 100_000,
    ],
)
def test_pins_that_cannot_be_read_are_the_store_s_fault(data: bytes) -> None:
    with pytest.raises(StoreError) as caught:
        Pins.decode(data)
    assert caught.value.reason == "damaged"


@given(st.permutations([ANNA, CHANGED, BERT, ANNA_PHONE]), st.sampled_from(Trust))
def test_verdicts_do_not_depend_on_the_order(order: list[Device], policy: Trust) -> None:
    assert assess(policy, Pins(), claims(*order)) == assess(policy, Pins(), claims(*sorted(order, key=lambda d: d.m)))
