"""RFC 9605's test vectors (Appendix C): headers, AES-CTR with HMAC, and whole frames in all five suites."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from mlsrtc.adapters.sframe import Suite, decode_header, encode_header
from mlsrtc.adapters.sframe.keys import OpeningKey, SealingKey
from mlsrtc.adapters.sframe.suites import NONCE_SIZE, CtrHmac, derive
from mlsrtc.mls import Secret

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("sframe.json").read_text())
hexadecimal = bytes.fromhex


def test_the_file_has_every_case_of_the_standard() -> None:
    counts = {name: len(cases) for name, cases in VECTORS.items() if isinstance(cases, list)}
    assert counts == {"header": 289, "aes_ctr_hmac": 3, "sframe": 5}
    assert [case["cipher_suite"] for case in VECTORS["sframe"]] == list(Suite)


def test_headers() -> None:
    for case in VECTORS["header"]:
        encoded = hexadecimal(case["encoded"])
        assert encode_header(case["kid"], case["ctr"]) == encoded
        assert decode_header(encoded + b"more") == (case["kid"], case["ctr"], len(encoded))


@pytest.mark.parametrize("case", VECTORS["aes_ctr_hmac"], ids=lambda case: Suite(case["cipher_suite"]).name)
def test_aes_ctr_with_hmac(case: dict[str, Any]) -> None:
    aead = CtrHmac(hexadecimal(case["key"]), Suite(case["cipher_suite"]).tag_size)
    nonce, aad, data, sealed = (hexadecimal(case[name]) for name in ("nonce", "aad", "pt", "ct"))
    assert aead.seal(nonce, data, aad) == sealed
    assert aead.open(nonce, sealed, aad) == data


@pytest.mark.parametrize("case", VECTORS["sframe"], ids=lambda case: Suite(case["cipher_suite"]).name)
def test_frames(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    suite = Suite(case["cipher_suite"])
    base_key, metadata, data, frame = (hexadecimal(case[name]) for name in ("base_key", "metadata", "pt", "ct"))
    kid, counter = case["kid"], case["ctr"]

    aead, salt = derive(suite, base_key, kid)
    assert salt == int(case["sframe_salt"], 16)
    assert (salt ^ counter).to_bytes(NONCE_SIZE, "big").hex() == case["nonce"]
    header = encode_header(kid, counter)
    assert (header + metadata).hex() == case["aad"]
    assert header + aead.seal(hexadecimal(case["nonce"]), data, header + metadata) == frame
    assert OpeningKey(suite, base_key, kid, 1).open(frame, len(header), counter, metadata) == data

    # The same by a sender, whose context and counter nobody else can set.
    monkeypatch.setattr("secrets.randbits", lambda bits: kid >> 24)
    monkeypatch.setattr("mlsrtc.adapters.sframe.keys.count", lambda: iter([counter]))
    sender = SealingKey(suite, Secret(base_key), leaf=kid >> 8, epoch=kid & 0xFF)
    assert sender.seal(data, metadata) == frame


@pytest.mark.parametrize("case", VECTORS["sframe"], ids=lambda case: Suite(case["cipher_suite"]).name)
def test_the_derived_key_is_the_standards(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    suite = Suite(case["cipher_suite"])
    keys: list[bytes] = []
    monkeypatch.setattr("mlsrtc.adapters.sframe.suites.under", lambda suite, key: keys.append(key))
    derive(suite, hexadecimal(case["base_key"]), case["kid"])
    assert keys == [hexadecimal(case["sframe_key"])]
    assert len(keys[0]) == suite.key_size
    # The labels are told too: the key is what they and the secret give.
    hash_of = SHA512 if suite is Suite.AES_256_GCM_SHA512_128 else SHA256
    expand = HKDFExpand(hash_of(), suite.key_size, hexadecimal(case["sframe_key_label"]))
    assert expand.derive(hexadecimal(case["sframe_secret"])) == keys[0]
