"""The keys of the lab are real: the wire layer reads them and their signatures verify."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.testing import LabUser
from mlsrtc.wire.binding import verify_text
from mlsrtc.wire.chain import decode_chain, decode_keys_query
from mlsrtc.wire.fields import Field

ALICE = UserId("@alice:one.test")


def verifies(key: bytes, signed: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def test_the_chain_of_a_join_is_read_and_each_signature_holds() -> None:
    device = LabUser(ALICE, b"seed").add_device("PHONE")
    chain = decode_chain(Field(device.chain(), "chain"))
    assert (chain.user_id, chain.device_id, chain.device_key) == (ALICE, "PHONE", device.device_key)
    assert verifies(chain.self_signing_key, chain.device_signed, chain.device_signature)
    assert verifies(chain.master_key, chain.self_signing_signed, chain.self_signing_signature)
    assert not verifies(chain.master_key, chain.device_signed, chain.device_signature)


def test_keys_query_is_read_with_every_device_cross_signed() -> None:
    user = LabUser(ALICE, b"seed")
    for name in ("PHONE", "DESK"):
        user.add_device(name)
    user.add_device("GHOST", cross_signed=False)
    queried = decode_keys_query(ALICE, user.keys())
    assert queried.master_key == user.master.public
    assert set(queried.devices) == {"PHONE", "DESK", "GHOST"}
    chain = queried.devices[DeviceId("DESK")].chain
    assert chain is not None
    assert verifies(chain.self_signing_key, chain.device_signed, chain.device_signature)
    assert queried.devices[DeviceId("GHOST")].chain is None


def test_a_device_signs_text() -> None:
    device = LabUser(ALICE, b"seed").add_device("PHONE")
    verify_text(device.device_key, "label 00ff", device.sign("label 00ff"), where="test")
    with pytest.raises(RemoteProtocolError):
        verify_text(device.device_key, "label 00fe", device.sign("label 00ff"), where="test")


def test_keys_follow_from_the_seed_and_the_name() -> None:
    def keys(user_id: str, seed: bytes, device: str) -> tuple[bytes, bytes]:
        made = LabUser(user_id, seed).add_device(device)
        return made.device_key, made.user.master.public

    assert keys(ALICE, b"1", "A") == keys(ALICE, b"1", "A")
    everything = [keys(ALICE, b"1", "A"), keys(ALICE, b"2", "A"), keys("@bob:one.test", b"1", "A")]
    assert len({key for pair in everything for key in pair}) == 6


def test_a_reset_changes_the_master_key_and_keeps_the_devices() -> None:
    user = LabUser(ALICE, b"seed")
    before = user.add_device("PHONE")
    master = user.master.public
    user.reset()
    after = user.devices["PHONE"]
    assert after.device_key == before.device_key
    assert user.master.public != master
    chain = decode_chain(Field(after.chain(), "chain"))
    assert chain.master_key == user.master.public


def test_no_private_key_in_a_repr() -> None:
    device = LabUser(ALICE, b"seed").add_device("PHONE")
    assert repr(device) == (
        f"LabDevice(user_id='@alice:one.test', device_id='PHONE', device_key={device.device_key!r})"
    )
