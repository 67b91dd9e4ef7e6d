"""What the primitives cost here and now: seconds of one processor, and bytes as they go to a homeserver.

Nothing is taken from a table. An Olm message is encrypted by vodozemac and measured as the homeserver would get it; an
MLS group of several sizes is made and used by the core. Times are the least of several runs, so that what else the
machine does counts little. MLS bytes are told as base64, in which they travel in JSON.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mlsrtc import mls
from mlsrtc.wire.encoding import encode_base64

SIZES = (2, 8, 24, 72)  # members; what lies between is drawn straight between logarithms, and so is what lies beyond
REPEAT = 3
BOX_BYTES = 32 + 32 + 16  # an X25519 key, the meeting key and a tag
PLAIN_STATE_BYTES = 560  # content of a legacy MatrixRTC membership (state event) with one focus


@dataclass(frozen=True, slots=True)
class Curve:
    """Values at some group sizes."""

    points: Mapping[int, float]

    def __call__(self, size: int) -> float:
        """At any size."""
        sizes = sorted(self.points)
        if len(sizes) == 1:
            return self.points[sizes[0]]
        upper = next((number for number in range(1, len(sizes)) if size <= sizes[number]), len(sizes) - 1)
        low, high = sizes[upper - 1], sizes[upper]
        share = (math.log(max(size, 1)) - math.log(low)) / (math.log(high) - math.log(low))
        first, second = max(self.points[low], 1e-9), max(self.points[high], 1e-9)
        return math.exp(math.log(first) + share * (math.log(second) - math.log(first)))


@dataclass(frozen=True, slots=True)
class Primitives:
    """`seconds` and `bytes` by the name of an operation or a message."""

    seconds: Mapping[str, Curve]
    bytes: Mapping[str, Curve]

    def cost(self, what: str, size: int) -> float:
        """Processor seconds of one operation."""
        return self.seconds[what](size or 1)

    def size(self, what: str, size: int = 1) -> int:
        """Bytes of one message."""
        return round(self.bytes[what](size))


def measured() -> Primitives:
    """Everything, timed now. Takes about a second. Needs vodozemac."""
    seconds: dict[str, dict[int, float]] = {}
    sizes: dict[str, dict[int, float]] = {"membership": {1: PLAIN_STATE_BYTES}}
    _olm(seconds, sizes)
    _small(seconds, sizes)
    for size in SIZES:
        for tree, group in (("blank", _Lab.blank(size)), ("set", _Lab.set(size))):
            group.into(tree, seconds, sizes)
    return Primitives(
        {name: Curve(points) for name, points in seconds.items()},
        {name: Curve(points) for name, points in sizes.items()},
    )


def _least(act: Callable[[], Any], times: int = REPEAT) -> float:
    found = math.inf
    for _ in range(times):
        began = time.perf_counter()
        act()
        found = min(found, time.perf_counter() - began)
    return found


# -- pairs -------------------------------------------------------------------------------------------------------------


def key_payloads() -> dict[str, dict[str, Any]]:
    """A key event of each deployed format, before Olm: what is sent to one device."""
    user, device, room = "@participant-01:example.org", "ABCDEFGHIJ", "!abcdefghijklmnopqr:example.org"
    element = {
        "keys": {"index": 7, "key": encode_base64(bytes(16))},
        "member": {"id": f"{user}:{device}", "claimed_device_id": device},
        "room_id": room,
        "session": {"call_id": "", "application": "m.call", "scope": "m.room"},
        "sent_ts": 1_750_000_000_000,
    }
    famedly = {
        "keys": [{"index": 7, "key": encode_base64(bytes(32))}],
        "call_id": "",
        "conf_id": "",
        "device_id": device,
        "room_id": room,
    }
    jitsi = {"ciphertext": encode_base64(bytes(32)), "keyIndex": 7, "uuid": "0" * 36}
    types = {
        "element_call": ("io.element.call.encryption_keys", element),
        "famedly": ("com.famedly.call.member.encryption_keys", famedly),
        "jitsi": ("key-info", jitsi),
    }
    return {
        name: {
            "type": type,
            "content": content,
            "sender": user,
            "recipient": user,
            "keys": {"ed25519": "A" * 43},
            "recipient_keys": {"ed25519": "A" * 43},
        }
        for name, (type, content) in types.items()
    }


def _olm(seconds: dict[str, dict[int, float]], sizes: dict[str, dict[int, float]]) -> None:
    import vodozemac

    ours, theirs = vodozemac.Account(), vodozemac.Account()
    theirs.generate_one_time_keys(1)
    one_time_key = next(iter(theirs.one_time_keys.values()))
    outbound = ours.create_outbound_session(theirs.curve25519_key, one_time_key)
    first = outbound.encrypt(b"first").to_pre_key()
    assert first is not None
    inbound, _ = theirs.create_inbound_session(ours.curve25519_key, first)
    outbound.decrypt(inbound.encrypt(b"answer"))
    for name, payload in key_payloads().items():
        plain = json.dumps(payload, separators=(",", ":")).encode()
        kind, ciphertext = outbound.encrypt(plain).to_parts()
        content = {
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": "A" * 43,
            "ciphertext": {"A" * 43: {"type": kind, "body": encode_base64(ciphertext)}},
        }
        sizes[f"olm {name}"] = {1: len(json.dumps({payload["sender"]: {"ABCDEFGHIJ": content}}, separators=(",", ":")))}
    # Everybody sends to everybody when all rotate: each message answers one, and takes a step of the double ratchet.
    encrypting, decrypting = [], []
    here, there = outbound, inbound
    for _ in range(100):
        began = time.perf_counter()
        message = here.encrypt(plain)
        encrypting.append(time.perf_counter() - began)
        began = time.perf_counter()
        there.decrypt(message)
        decrypting.append(time.perf_counter() - began)
        here, there = there, here
    seconds["olm encrypt"], seconds["olm decrypt"] = {1: min(encrypting)}, {1: min(decrypting)}


def _small(seconds: dict[str, dict[int, float]], sizes: dict[str, dict[int, float]]) -> None:
    """X25519, HKDF and AES-GCM, as a box for one recipient needs them."""
    theirs = X25519PrivateKey.generate()
    public = theirs.public_key()

    def derive(key: bytes) -> bytes:
        return HKDF(SHA256(), 32, None, b"").derive(key)

    def seal() -> None:
        ours = X25519PrivateKey.generate()
        AESGCM(derive(ours.exchange(public))).encrypt(bytes(12), bytes(32), None)

    ours = X25519PrivateKey.generate()
    sealed = AESGCM(derive(ours.exchange(public))).encrypt(bytes(12), bytes(32), None)

    def open_it() -> None:
        AESGCM(derive(theirs.exchange(ours.public_key()))).decrypt(bytes(12), sealed, None)

    signing = mls.SigningKey.generate()
    signature = signing.sign(bytes(100))
    verify = _least(lambda: mls.verify_signature(1, signing.public, bytes(100), signature), 100)
    seconds["verify"] = {1: verify}
    seconds["box"] = {1: _least(seal, 100)}
    seconds["unbox"] = {1: _least(open_it, 100)}
    seconds["hkdf"] = {1: _least(lambda: derive(bytes(32)), 100)}
    sizes["box"] = {1: BOX_BYTES * 4 / 3}
    sizes["small"] = {1: 64}  # a word of signalling: ready, acknowledged


# -- groups ------------------------------------------------------------------------------------------------------------


class _Lab:
    """A group of one size, seen by two members, and one who wants to come in."""

    def __init__(self, first: mls.Group, second: mls.Group, size: int) -> None:
        self.first, self.second, self.size = first, second, size

    @staticmethod
    def client(number: int) -> mls.Client:
        return mls.Client(b"member %d" % number, mls.SigningKey.generate())

    @classmethod
    def blank(cls, size: int) -> "_Lab":
        """One member has added all the others in one commit: nearly no node of the tree is set. So it is where always
        the same member commits."""
        clients = [cls.client(number) for number in range(size)]
        packages = [client.key_package() for client in clients[1:]]
        made = clients[0].create_group(b"call").commit(add=[package.public for package in packages])
        assert made.welcome is not None
        return cls(made.group, clients[1].join(made.welcome, packages[0], tree=made.tree), size)

    @classmethod
    def set(cls, size: int) -> "_Lab":
        """All have come in by an external commit, which sets the nodes above them."""
        group = cls.client(0).create_group(b"call")
        info = group.group_info(with_tree=True)
        before = group
        for number in range(1, size):
            made = cls.client(number).join_external(info)
            before, group = group, made.group
            info = group.group_info(with_tree=True)
        other = cls.client(size).join_external(info)  # the second view: one more, so that both stand on one epoch
        return cls(other.group, group.stage(other.message).apply(), size) if size > 1 else cls(group, before, size)

    def into(self, tree: str, seconds: dict[str, dict[int, float]], sizes: dict[str, dict[int, float]]) -> None:
        """Times and bytes of this size. `tree`: blank or set."""
        joiner = self.client(-1)
        package = joiner.key_package()
        leaf = (
            next(m.leaf for m in self.first.members() if m.leaf not in (self.first.own_leaf, self.second.own_leaf))
            if len(self.first.members()) > 2
            else self.second.own_leaf
        )
        added = self.first.commit(add=[package.public])
        removed = self.first.commit(remove=[leaf])
        info = self.first.group_info(with_tree=True)
        external = self.client(-2).join_external(info)
        assert added.welcome is not None
        welcome: bytes = added.welcome

        def take(name: str, act: Callable[[], Any]) -> None:
            seconds.setdefault(f"{name}, {tree} tree", {})[self.size] = _least(act)

        def weigh(name: str, *parts: bytes) -> None:
            sizes.setdefault(f"{name}, {tree} tree", {})[self.size] = sum(map(len, parts)) * 4 / 3

        take("commit, add", lambda: self.first.commit(add=[package.public]))
        take("commit, remove", lambda: self.first.commit(remove=[leaf]))
        take("process, add", lambda: self.second.stage(added.message).apply())
        if leaf != self.second.own_leaf:
            take("process, remove", lambda: self.second.stage(removed.message).apply())
        else:
            take("process, remove", lambda: self.second.stage(added.message).apply())
        take("join", lambda: joiner.join(welcome, package, tree=added.tree))
        take("external join", lambda: self.client(-2).join_external(info))
        infos = [bytes(64)] * self.size
        take("export", lambda: self.first.sender_keys("simulate", b"", infos))
        weigh("key package", package.public)
        weigh("commit, add", added.message)
        weigh("commit, remove", removed.message)
        weigh("welcome", welcome, added.tree)
        weigh("external commit", external.message)
        weigh("group info", info)
