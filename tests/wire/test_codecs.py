"""Every codec: what is written is read back as it was, spoilt input is refused as the remote's fault, junk is
dropped.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import samples
from mlsrtc import trust
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.wire import names
from mlsrtc.wire.attachment import decode_file, encode_file
from mlsrtc.wire.block import ForeignBlock, JoinBlock, LeftBlock, decode_block, encode_block
from mlsrtc.wire.chain import decode_chain, decode_keys_query, encode_chain
from mlsrtc.wire.commit import decode_commit, decode_word, encode_commit, encode_word
from mlsrtc.wire.fields import Field
from mlsrtc.wire.membership import decode_membership
from mlsrtc.wire.room import (
    decode_create,
    decode_encryption,
    decode_power_levels,
    decode_room_member,
    decode_slot,
)
from mlsrtc.wire.to_device import Have, decode_have, decode_have_file, decode_need, encode_need
from people import ANNA, BERT, NOW, ROOM, SLOT

LEVELS = {
    "users": {"@anna:one.example": 100},
    "events": {names.COMMIT: 50},
    "users_default": 0,
    "state_default": 50,
}

DECODERS: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "state join": (samples.state_join(), lambda c: decode_membership(samples.event(c))),
    "state leave": (samples.state_leave(), lambda c: decode_membership(samples.event(c))),
    "sticky join": (
        samples.sticky_join(),
        lambda c: decode_membership(samples.event(c, names.STICKY_MEMBER)),
    ),
    "sticky leave": (
        samples.sticky_leave(),
        lambda c: decode_membership(samples.event(c, names.STICKY_MEMBER)),
    ),
    "famedly": (
        samples.famedly(),
        lambda c: decode_membership(samples.event(c, names.FAMEDLY_MEMBER, state_key=ANNA.user)),
    ),
    "sealed": (samples.state_leave(), lambda c: decode_membership(samples.event(c, names.ENCRYPTED))),
    "root": (samples.root_commit(), decode_commit),
    "commit": (samples.child_commit(), decode_commit),
    "word": (samples.word(), decode_word),
    "need": (samples.need(), decode_need),
    "have": (samples.have(), decode_have),
    "file": (encode_file(samples.FILE), lambda c: decode_file(Field(c))),
    "chain": (ANNA.chain_content(), lambda c: decode_chain(Field(c))),
    "keys/query": (ANNA.keys_query(), lambda c: decode_keys_query(ANNA.user, c)),
    "power levels": (LEVELS, decode_power_levels),
    "slot": (
        {"status": "open", "application": {"type": "m.call"}, "encryption": {"type": "dev.mlsrtc.mls"}},
        lambda c: decode_slot(samples.event(c, names.SLOT, state_key=SLOT)),
    ),
    "room member": (
        {"membership": "join"},
        lambda c: decode_room_member(samples.event(c, names.ROOM_MEMBER, state_key=ANNA.user)),
    ),
    "create": (
        {"room_version": "12", "additional_creators": [BERT.user]},
        lambda c: decode_create(samples.event(c)),
    ),
    "encryption": ({"algorithm": "m.megolm.v1.aes-sha2"}, decode_encryption),
}


def refusal(decode: Callable[[Any], object], value: Any) -> RemoteProtocolError | None:
    """What `decode` raises of the kind that it may raise."""
    try:
        decode(value)
    except RemoteProtocolError as error:
        return error
    return None


DECODED = pytest.mark.parametrize("name", DECODERS)


@DECODED
def test_a_good_event_travels_as_json(name: str) -> None:
    content, decode = DECODERS[name]
    assert decode(samples.as_json(content)) == decode(content)


@DECODED
def test_junk_in_any_place_is_refused_as_the_remote_s_fault_or_changes_nothing_but_itself(name: str) -> None:
    content, decode = DECODERS[name]
    for path in samples.paths(content):
        for junk in samples.JUNK:
            error = refusal(decode, samples.spoilt(content, path, junk))
            assert error is None or (error.reason and error.where), (path, junk)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@DECODED
@given(data=st.data())
def test_any_json_raises_nothing_but_remote_protocol_error(name: str, data: st.DataObject) -> None:
    content, decode = DECODERS[name]
    drawn = data.draw(
        JSON | st.dictionaries(st.sampled_from(sorted(content)), JSON | st.sampled_from(list(content.values())))
    )
    error = refusal(decode, drawn)
    assert error is None or error.where


def test_json_that_is_nested_without_end_is_refused() -> None:
    deep: Any = {}
    for _ in range(5000):
        deep = {"device": deep, "x": [deep]} if not deep else {"x": deep}
    content = samples.spoilt(samples.state_join(), (names.BLOCK, "chain", "device", "keys"), None)
    content[names.BLOCK]["chain"]["device"]["keys"] = {"ed25519:DEVICEA": "x", "y": deep}
    with pytest.raises(RemoteProtocolError):
        decode_membership(samples.event(content))
    have = Have(ROOM, SLOT, None)
    with pytest.raises(RemoteProtocolError) as caught:
        decode_have_file(have, b"[" * 100_000)
    assert caught.value.reason == "bad_json"


# -- round trips ---------------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**53 - 20_000_000),
    st.integers(1, 14_400_000),
    st.none() | st.binary(min_size=32, max_size=32),
    st.frozensets(st.sampled_from([BERT.m, ANNA.m[::-1][:42] + "A"]), max_size=2),
    st.booleans(),
)
def test_blocks_round_trip(from_ts: int, lifetime: int, head: Any, replaces: frozenset[Any], with_chain: bool) -> None:
    block = ANNA.join_block(
        from_ts=from_ts,
        until_ts=from_ts + lifetime,
        head=head,
        replaces=replaces,
        with_chain=with_chain,
    )
    assert decode_block(Field(samples.as_json(encode_block(block)))) == block
    assert trust.verify_join(ROOM, ANNA.user, block).until_ts == from_ts + lifetime


def test_the_other_blocks_round_trip() -> None:
    for block in (ANNA.left_block(), ForeignBlock(7)):
        assert decode_block(Field(samples.as_json(encode_block(block)))) == block
    assert isinstance(decode_block(Field(encode_block(ANNA.left_block()))), LeftBlock)
    assert isinstance(decode_block(Field(encode_block(ANNA.join_block()))), JoinBlock)


def test_a_chain_keeps_every_signed_byte_and_drops_the_rest() -> None:
    content = ANNA.chain_content()
    content["device"]["dehydrated"] = False
    chain = decode_chain(Field(content))
    again = encode_chain(chain)
    assert decode_chain(Field(samples.as_json(again))) == chain
    assert again["device"]["dehydrated"] is False
    assert "unsigned" not in again["device"]
    assert list(again["device"]["signatures"][ANNA.user]) != list(content["device"]["signatures"][ANNA.user])


@pytest.mark.parametrize("content", [samples.root_commit(), samples.child_commit()])
def test_commits_round_trip_and_unknown_fields_are_dropped(content: dict[str, Any]) -> None:
    commit = decode_commit(content)
    assert encode_commit(commit) == content
    assert decode_commit({**content, "unknown": 1.5}) == commit
    assert set(commit.files()) == {name.removesuffix("_file") for name in content if name.endswith("_file")}


def test_words_and_needs_round_trip() -> None:
    assert encode_word(decode_word(samples.word())) == samples.word()
    quiet = samples.without(samples.word(), "refuse")
    assert encode_word(decode_word(quiet)) == quiet
    assert encode_need(decode_need(samples.need())) == samples.need()
    plain = {**samples.without(samples.need(), "tree"), "id": None}
    assert encode_need(decode_need(plain)) == plain


# -- keys/query ----------------------------------------------------------------------------------------------


def test_keys_query_gives_the_same_chain_as_a_join() -> None:
    queried = decode_keys_query(ANNA.user, ANNA.keys_query())
    assert queried.devices[ANNA.device].chain == ANNA.chain()
    assert queried.master_key == ANNA.chain().master_key


def test_a_broken_device_in_keys_query_hides_no_other() -> None:
    answer = ANNA.keys_query()
    devices = answer["device_keys"][ANNA.user]
    devices["BROKEN"] = {"device_id": 1}
    devices["ALIAS"] = devices[ANNA.device]
    unsigned = samples.without(BERT.device_keys(), "signatures") | {"user_id": ANNA.user}
    devices[BERT.device] = unsigned
    queried = decode_keys_query(ANNA.user, answer)
    assert set(queried.devices) == {ANNA.device, BERT.device}
    assert queried.devices[ANNA.device].chain is not None
    assert queried.devices[BERT.device].chain is None


def test_a_user_without_cross_signing_has_devices_without_chain() -> None:
    queried = decode_keys_query(ANNA.user, samples.without(ANNA.keys_query(), "master_keys"))
    assert queried.master_key is None
    assert queried.devices[ANNA.device].chain is None


def test_times_and_sender_are_read_as_strictly_as_the_content() -> None:
    for bad in (
        samples.event(samples.state_join(), sender="anna"),
        samples.event(samples.state_join(), ts=-1),
        samples.event(samples.state_join(), ts=True),
        samples.event([], ts=NOW),
    ):
        with pytest.raises(RemoteProtocolError):
            decode_membership(bad)
