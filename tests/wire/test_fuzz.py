"""Every decoder of `wire` on genuine input that was damaged in several places at once.

MLSRTC_CAMPAIGN=20 tries twenty times as many as CI does.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_codecs import DECODERS, JSON

import samples
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.wire.binding import decode_binding
from mlsrtc.wire.commit_data import CommitData, decode_commit_data
from mlsrtc.wire.encoding import decode_identity
from people import ANNA, BERT, epoch
from searching import searched

BYTES: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "identity": (ANNA.leaf.identity.encode(), decode_identity),
    "binding": (bytes(range(96)), decode_binding),
    "commit data": (
        CommitData(epoch("parent"), 3, {ANNA.m: bytes(64), BERT.m: bytes(64)}).encode(),
        decode_commit_data,
    ),
}


@st.composite
def damaged_json(draw: st.DrawFn, genuine: Any) -> Any:
    """One to four places hold something else, a string with a character changed, or nothing."""
    places = list(samples.paths(genuine))
    for place in draw(st.lists(st.sampled_from(places), min_size=1, max_size=4, unique=True)):
        try:
            holder = genuine
            for name in place:
                old = holder = holder[name]
            if isinstance(old, str) and old and draw(st.booleans()):
                at = draw(st.integers(0, len(old) - 1))
                new: Any = old[:at] + draw(st.text(st.characters(), max_size=2)) + old[at + 1 :]
            else:
                new = draw(JSON | st.sampled_from(samples.JUNK))
            genuine = samples.spoilt(genuine, place, new)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier damage has taken this place away
    return genuine


@st.composite
def damaged_bytes(draw: st.DrawFn, genuine: bytes) -> bytes:
    """One to four stretches are replaced by other bytes, more or fewer."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(genuine)))
        end = draw(st.integers(start, min(start + 4, len(genuine))))
        genuine = genuine[:start] + draw(st.binary(max_size=4)) + genuine[end:]
    return genuine


@pytest.mark.parametrize("name", DECODERS)
@searched(60)
@given(data=st.data())
def test_damaged_json_is_decoded_or_refused_and_the_genuine_one_is_decoded_after_it(
    name: str, data: st.DataObject
) -> None:
    genuine, decode = DECODERS[name]
    expected = decode(genuine)
    try:
        decode(data.draw(damaged_json(genuine)))
    except RemoteProtocolError as error:
        assert error.reason
        assert error.where
    assert decode(genuine) == expected


@pytest.mark.parametrize("name", BYTES)
@searched(200)
@given(data=st.data())
def test_damaged_bytes_have_one_meaning_or_none(name: str, data: st.DataObject) -> None:
    """What is decoded is encoded to the same bytes again: no two encodings mean the same."""
    genuine, decode = BYTES[name]
    damaged = data.draw(damaged_bytes(genuine) | st.binary(max_size=200))
    try:
        value = decode(damaged)
    except RemoteProtocolError as error:
        assert error.reason
        assert error.where
    else:
        assert value.encode() == damaged
