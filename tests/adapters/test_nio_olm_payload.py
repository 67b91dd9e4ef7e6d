"""What an Olm message carried: whatever it is, it is taken or refused, and nothing else is raised."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsrtc.adapters.nio.olm_payload import SenderDevice, check_sender, decode_payload
from mlsrtc.errors import RemoteProtocolError

BEN = SenderDevice("@ben:h", "PHONE", "E" * 43, "C" * 43)
WHOLE: dict[str, Any] = {
    "sender": "@ben:h",
    "sender_device": "PHONE",
    "keys": {"ed25519": BEN.ed25519},
    "recipient": "@ada:h",
    "recipient_keys": {"ed25519": "A" * 43},
    "sender_device_keys": {
        "user_id": "@ben:h",
        "device_id": "PHONE",
        "keys": {"ed25519:PHONE": BEN.ed25519, "curve25519:PHONE": BEN.curve25519},
    },
    "type": "x",
    "content": {},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["ed25519", "keys", "user_id"]) | st.text(), inner),
    max_leaves=8,
)


def _take(plaintext: str) -> None:
    payload = decode_payload(plaintext, sender="@ben:h", recipient="@ada:h", recipient_key="A" * 43)
    check_sender(payload, BEN)


def test_a_whole_payload_is_taken_and_each_field_of_it_counts() -> None:
    _take(json.dumps(WHOLE))
    needed = {"sender", "recipient", "recipient_keys", "type", "content"}
    for name in WHOLE:
        without = json.dumps({key: value for key, value in WHOLE.items() if key != name})
        if name in needed:
            with pytest.raises(RemoteProtocolError, match="missing_field"):
                _take(without)
        else:
            _take(without)


@given(st.sampled_from(sorted(WHOLE)), JSON)
def test_a_field_of_any_form_is_taken_or_refused(name: str, value: Any) -> None:
    try:
        _take(json.dumps({**WHOLE, name: value}))
    except RemoteProtocolError as error:
        assert error.reason
        assert error.where.startswith("payload")


@given(JSON | st.text().map(lambda text: text))
def test_a_payload_of_any_form_is_refused(value: Any) -> None:
    for plaintext in (json.dumps(value), str(value)):
        with pytest.raises(RemoteProtocolError):
            _take(plaintext)
