"""Writes encodings.json. Imports nothing of mlsrtc: it is the second hand that the first is checked against.

Every value is spelled out byte by byte from docs/protocol.md, "Encodings". Run it without arguments to
rewrite the file.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOM = "!call:one.example"
SLOT = "m.call#ROOM"
USER = "@anna:one.example"
DEVICE = "DEVICEA"
DEVICE_SEED = bytes(range(32))
LEAF_SEED = bytes(range(32, 64))


def part(value: bytes | str) -> bytes:
    """u16 length, then the bytes."""
    raw = value.encode("utf-8") if isinstance(value, str) else value
    return bytes([len(raw) // 256, len(raw) % 256]) + raw


def number(value: int) -> bytes:
    """u64 big-endian."""
    return value.to_bytes(8, "big")


def count(value: int) -> bytes:
    """u16 big-endian."""
    return value.to_bytes(2, "big")


def sha(*pieces: bytes) -> bytes:
    """SHA-256 of the pieces one after the other."""
    return hashlib.sha256(b"".join(pieces)).digest()


def standard(value: bytes) -> str:
    """Standard base64 without its padding."""
    return base64.b64encode(value).decode().replace("=", "")


def url(value: bytes) -> str:
    """base64url without its padding."""
    return standard(value).replace("+", "-").replace("/", "_")


def public(seed: bytes) -> bytes:
    """The Ed25519 public key of a seed."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(seed: bytes, message: bytes) -> bytes:
    """An Ed25519 signature, 64 bytes."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def vectors() -> dict[str, Any]:
    """All of them, by name."""
    device_key, leaf_key = public(DEVICE_SEED), public(LEAF_SEED)
    place = part(ROOM) + part(SLOT)
    m = url(sha(part("mlsrtc member 1"), place, part(USER), part(DEVICE), part(device_key), part(leaf_key)))
    other = url(bytes(range(100, 132)))
    context, tag = b"GroupContext, as sent", bytes(range(200, 232))
    epoch = sha(part("mlsrtc epoch 1"), part(context), part(tag))
    refused = bytes(range(64, 96))
    key_package = b"KeyPackage, as sent"

    binding = part("mlsrtc binding 1") + place + part(USER) + part(DEVICE) + part(m) + part(leaf_key)
    binding_text = "mlsrtc binding 1 " + hashlib.sha256(binding).hexdigest()
    join = (
        part("mlsrtc join 1")
        + place
        + part(USER)
        + part(DEVICE)
        + part(m)
        + part(leaf_key)
        + part(sha(key_package))
        + number(1_700_000_000_000)
        + number(1_700_014_400_000)
        + part(epoch)
        + count(1)
        + part(other)
    )
    first_join = (
        part("mlsrtc join 1")
        + place
        + part(USER)
        + part(DEVICE)
        + part(m)
        + part(leaf_key)
        + part(sha(key_package))
        + number(1_700_000_000_000)
        + number(1_700_014_400_000)
        + part(b"")
        + count(0)
    )
    left = part("mlsrtc left 1") + place + part(m)
    word = part("mlsrtc word 1") + place + part(epoch) + part(m) + number(3) + part(epoch)
    quiet = word + part(b"") + part(b"")
    refusing = word + part(refused) + part("unopened")
    left_signature = sign(LEAF_SEED, left)
    data = (
        part("mlsrtc commit 1")
        + part(epoch)
        + number(7)
        + count(1)
        + part(m)
        + part(left_signature)
        + part(refused)
        + part("bad_tree")
        + count(1)
        + part(USER)
        + part(DEVICE)
        + part("@anna:one.example:DEVICEA")
    )
    plain_data = part("mlsrtc commit 1") + part(b"") + number(1) + count(0) + part(b"") + part(b"") + count(0)

    def text_of(label: str, body: bytes) -> str:
        return label + " " + hashlib.sha256(body).hexdigest()

    return {
        "inputs": {
            "room": ROOM,
            "slot": SLOT,
            "user": USER,
            "device": DEVICE,
            "device_seed": DEVICE_SEED.hex(),
            "device_key": device_key.hex(),
            "leaf_seed": LEAF_SEED.hex(),
            "leaf_key": leaf_key.hex(),
            "other_member_id": other,
            "group_context": context.hex(),
            "confirmation_tag": tag.hex(),
            "refused": refused.hex(),
            "key_package": key_package.hex(),
            "from": 1_700_000_000_000,
            "until": 1_700_014_400_000,
        },
        "lp": [
            {"text": "", "bytes": "0000"},
            {"text": "a", "bytes": "000161"},
            {"text": "é", "bytes": "0002c3a9"},
            {"text": "x" * 256, "bytes": "0100" + "78" * 256},
        ],
        "u64": [
            {"value": 0, "bytes": "0000000000000000"},
            {"value": 1, "bytes": "0000000000000001"},
            {"value": 1_700_000_000_000, "bytes": number(1_700_000_000_000).hex()},
            {"value": 2**53 - 1, "bytes": "001fffffffffffff"},
        ],
        "base64": [
            {"bytes": value.hex(), "standard": standard(value), "url": url(value)}
            for value in (b"", b"\x00", b"\xff\xfe", b"\xfb\xef\xbe", bytes(range(250, 256)) * 3)
        ],
        "base64_refused": ["A", "AB", "AA==", "AA A", "AA\n", "-_8", "AAB", "é", "A===", "AA=A"],
        "tuple": (
            part("label") + part("text") + part(b"\x01") + number(5) + part(b"") + count(2) + part("one") + part("two")
        ).hex(),
        "member_id": m,
        "epoch_id": epoch.hex(),
        "group_id": sha(part("mlsrtc group 1"), place, part(m)).hex(),
        "identity": (part(USER) + part(DEVICE) + part(m)).hex(),
        "binding": {
            "tuple": binding.hex(),
            "text": binding_text,
            "extension_type": 0xF4D1,
            "extension": (device_key + sign(DEVICE_SEED, binding_text.encode("ascii"))).hex(),
        },
        "join": {
            "tuple": join.hex(),
            "text": text_of("mlsrtc join 1", join),
            "signature": sign(DEVICE_SEED, text_of("mlsrtc join 1", join).encode("ascii")).hex(),
        },
        "join_without_head_or_replaces": {
            "tuple": first_join.hex(),
            "text": text_of("mlsrtc join 1", first_join),
            "signature": sign(DEVICE_SEED, text_of("mlsrtc join 1", first_join).encode("ascii")).hex(),
        },
        "left": {"tuple": left.hex(), "signature": left_signature.hex()},
        "word": {"n": 3, "tuple": quiet.hex(), "signature": sign(LEAF_SEED, quiet).hex()},
        "word_that_refuses": {
            "n": 3,
            "why": "unopened",
            "tuple": refusing.hex(),
            "signature": sign(LEAF_SEED, refusing).hex(),
        },
        "commit_data": {
            "n": 7,
            "why": "bad_tree",
            "guests": [[USER, DEVICE, "@anna:one.example:DEVICEA"]],
            "bytes": data.hex(),
        },
        "commit_data_of_a_root": {"n": 1, "bytes": plain_data.hex()},
        "order": {
            "root": sha(part("mlsrtc order 1"), part(bytes(32)), part(USER)).hex(),
            "child": sha(part("mlsrtc order 1"), part(epoch), part(USER)).hex(),
        },
        "rank": {
            "root": sha(part("mlsrtc rank 1"), part(bytes(32)), part(m)).hex(),
            "child": sha(part("mlsrtc rank 1"), part(epoch), part(m)).hex(),
        },
        "media": {
            "export_context": place.hex(),
            "leaf": 4,
            "epoch": 9,
            "sender_info": (part("sender") + part(USER) + part(DEVICE) + part(m) + number(4) + number(9)).hex(),
        },
        "safety_code": [
            {"exported": exported.hex(), "code": code}
            for exported, code in (
                (bytes(16), "000000000000000000000000000000"),
                (bytes(15) + b"\x2a", "000000000000000000000000000042"),
                # 2^128 - 1 = 340282366 920938463463374607431768211455
                (b"\xff" * 16, "920938463463374607431768211455"),
            )
        ],
        "key_index": [
            {"epoch": number_, "id": (bytes([first]) + bytes(31)).hex(), "index": index}
            for number_, first, index in (
                (1, 0, 17),
                (1, 15, 32),
                (1, 16, 17),
                (15, 14, 255),
                (15, 15, 1),
                (16, 0, 2),
                (1000, 0xAB, 202),
            )
        ],
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("encodings.json")
    path.write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n")
