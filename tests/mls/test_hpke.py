"""An independent check of the base: the HPKE of `cryptography` (RFC 9180) opens what the core seals, and the core
opens what it seals, for every suite of the provider, the post-quantum one too.

MLS seals in two places, and both are opened here: the group secrets of a Welcome, to the key package's init key, and
the path secrets of an UpdatePath, to the nodes beside the path (EncryptWithLabel, RFC 9420 section 5.1.3).
"""

import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from forging import group_context, opaque, sign
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.mls import (
    Client,
    Commit,
    Group,
    KeyPackage,
    Secret,
    SigningKey,
    inspect_group_info,
    inspect_key_package,
    suites,
)

LACKING = {4: "X448", 6: "X448"}
"""Suites of RFC 9420 section 17.1 that are not checked: neither the provider nor the HPKE of `cryptography` has X448.

An external commit takes a secret from the exporter of HPKE (section 8.3), which `cryptography` does not have. So that
use is not checked here."""


@dataclass(frozen=True)
class Kem:
    """One KEM: how many bytes it puts before a ciphertext, fresh private keys, and from the bytes of a private key
    the key and its public half. `derive` is DeriveKeyPair."""

    number: int
    enc_length: int
    hash: hashes.HashAlgorithm
    fresh: Callable[[], bytes]
    key: Callable[[bytes], Any]
    public: Callable[[bytes], bytes]
    derive: Callable[["Kem", bytes], bytes]

    def extract(self, label: bytes, secret: bytes) -> bytes:
        """LabeledExtract without salt (RFC 9180 section 4)."""
        labelled = b"HPKE-v1KEM" + struct.pack(">H", self.number) + label + secret
        return HKDF.extract(self.hash, None, labelled)

    def expand(self, secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
        """LabeledExpand (RFC 9180 section 4)."""
        suite_id = b"KEM" + struct.pack(">H", self.number)
        labelled = struct.pack(">H", length) + b"HPKE-v1" + suite_id + label + info
        return HKDFExpand(self.hash, length, labelled).derive(secret)


def derive_montgomery(kem: Kem, secret: bytes) -> bytes:
    """DeriveKeyPair of X25519 (RFC 9180 section 7.1.3)."""
    return kem.expand(kem.extract(b"dkp_prk", secret), b"sk", b"", 32)


def weierstrass(number: int, curve: ec.EllipticCurve, hash: hashes.HashAlgorithm) -> Kem:
    size = (curve.key_size + 7) // 8

    def derive(kem: Kem, secret: bytes) -> bytes:
        """DeriveKeyPair of the NIST curves (RFC 9180 section 7.1.3): the first candidate below the order."""
        seed = kem.extract(b"dkp_prk", secret)
        for counter in range(256):
            candidate = bytearray(kem.expand(seed, b"candidate", bytes([counter]), size))
            candidate[0] &= 0x01 if curve.key_size == 521 else 0xFF
            if 0 < int.from_bytes(candidate) < curve.group_order:
                return bytes(candidate)
        raise AssertionError("no candidate below the order")

    def key(private: bytes) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(private), curve)

    return Kem(
        number,
        2 * size + 1,
        hash,
        fresh=lambda: ec.generate_private_key(curve).private_numbers().private_value.to_bytes(size),
        key=key,
        public=lambda private: key(private).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        derive=derive,
    )


def x_wing(seed: bytes) -> tuple[MLKEM768PrivateKey, x25519.X25519PrivateKey]:
    """The two private keys that an X-Wing private key stands for (draft-connolly-cfrg-xwing-kem)."""
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), x25519.X25519PrivateKey.from_private_bytes(expanded[64:])


X25519 = Kem(
    0x20,
    32,
    hashes.SHA256(),
    fresh=lambda: x25519.X25519PrivateKey.generate().private_bytes_raw(),
    key=x25519.X25519PrivateKey.from_private_bytes,
    public=lambda private: x25519.X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw(),
    derive=derive_montgomery,
)
X_WING = Kem(
    0x647A,
    1088 + 32,
    hashes.SHA256(),
    fresh=lambda: os.urandom(32),
    key=lambda private: MLKEM768X25519PrivateKey(*x_wing(private)),
    public=lambda private: b"".join(key.public_key().public_bytes_raw() for key in x_wing(private)),
    derive=lambda kem, secret: hashlib.shake_256(secret).digest(32),
)
P256 = weierstrass(0x10, ec.SECP256R1(), hashes.SHA256())
P384 = weierstrass(0x11, ec.SECP384R1(), hashes.SHA384())
P521 = weierstrass(0x12, ec.SECP521R1(), hashes.SHA512())

SUITES: dict[int, tuple[Suite, Kem]] = {
    1: (Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM), X25519),
    2: (Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_128_GCM), P256),
    3: (Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305), X25519),
    5: (Suite(KEM.P521, KDF.HKDF_SHA512, AEAD.AES_256_GCM), P521),
    7: (Suite(KEM.P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM), P384),
    0x4D: (Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305), X_WING),
}


def seal(suite: int, public_of: bytes, label: str, context: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    """EncryptWithLabel (RFC 9420 section 5.1.3) to the key whose private half this is: KEM output, ciphertext."""
    hpke, kem = SUITES[suite]
    sealed = hpke.encrypt(plaintext, kem.key(public_of).public_key(), info=labelled(label, context))
    return sealed[: kem.enc_length], sealed[kem.enc_length :]


def unseal(suite: int, private: bytes, label: str, context: bytes, sealed: tuple[bytes, bytes]) -> bytes:
    """DecryptWithLabel."""
    hpke, kem = SUITES[suite]
    return hpke.decrypt(b"".join(sealed), kem.key(private), info=labelled(label, context))


def labelled(label: str, context: bytes) -> bytes:
    return opaque(b"MLS 1.0 " + label.encode()) + opaque(context)


class Reader:
    """Reads the TLS presentation language (RFC 9420 section 2.1) from the front."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def take(self, length: int) -> bytes:
        taken, self.rest = self.rest[:length], self.rest[length:]
        assert len(taken) == length
        return taken

    def opaque(self) -> bytes:
        head = self.take(1)
        if size := head[0] >> 6:
            head = bytes([head[0] & 0x3F]) + self.take((1 << size) - 1)
        return self.take(int.from_bytes(head))

    def leaf_node(self) -> bytes:
        """LeafNode (section 7.2) without its first field, the encryption key, and its last, the signature."""
        start = self.rest
        self.opaque()
        self.take(2)
        for _ in range(6):  # the credential's identity, and the lists of the capabilities
            self.opaque()
        source = self.take(1)[0]
        if source == 1:
            self.take(16)
        elif source == 3:
            self.opaque()
        self.opaque()
        return start[: len(start) - len(self.rest)]


@dataclass(frozen=True)
class Welcomed:
    """A Welcome (section 12.4.3.1) for one joiner."""

    head: bytes
    reference: bytes
    secrets: tuple[bytes, bytes]
    encrypted_group_info: bytes

    @staticmethod
    def read(message: bytes) -> "Welcomed":
        reader = Reader(message)
        head = reader.take(6)
        secrets, group_info = Reader(reader.opaque()), reader.opaque()
        found = Welcomed(head, secrets.opaque(), (secrets.opaque(), secrets.opaque()), group_info)
        assert (reader.rest, secrets.rest) == (b"", b"")
        return found

    def resealed(self, secrets: tuple[bytes, bytes]) -> bytes:
        joiner = opaque(self.reference) + opaque(secrets[0]) + opaque(secrets[1])
        return self.head + opaque(joiner) + opaque(self.encrypted_group_info)


@dataclass(frozen=True)
class Joiner:
    """Somebody whose two private HPKE keys come from `cryptography`."""

    client: Client
    init_key: bytes
    leaf_key: bytes
    package: KeyPackage

    @staticmethod
    def new(suite: int) -> "Joiner":
        signing_key = SigningKey.generate(suite)
        client, kem = Client(b"bob", signing_key), SUITES[suite][1]
        init_key, leaf_key = kem.fresh(), kem.fresh()

        made = Reader(client.key_package().public)
        head = made.take(8)  # of the MLSMessage, then version and suite
        made.opaque(), made.opaque()
        leaf = opaque(kem.public(leaf_key)) + made.leaf_node()
        leaf += sign(signing_key, "LeafNodeTBS", leaf)
        content = head[4:] + opaque(kem.public(init_key)) + leaf + opaque(b"")
        public = head[:4] + content + sign(signing_key, "KeyPackageTBS", content)
        inspect_key_package(public).verify()
        return Joiner(client, init_key, leaf_key, KeyPackage.from_keys(public, Secret(init_key), Secret(leaf_key)))


def added(suite: int) -> tuple[Joiner, Group, Commit]:
    """Alice adds Bob, with a path, so that the Welcome holds a path secret too."""
    bob = Joiner.new(suite)
    alice = Client(b"alice", SigningKey.generate(suite)).create_group(b"group")
    commit = alice.commit(add=[bob.package.public], path=True)
    assert commit.welcome is not None
    return bob, alice, commit


def test_every_suite_is_checked_or_named() -> None:
    assert set(SUITES) == set(suites(post_quantum=True))
    assert set(suites()) | set(LACKING) == set(range(1, 8))
    for kem in LACKING.values():
        assert not hasattr(KEM, kem), f"`cryptography` has {kem} now: check it"
    assert not hasattr(Suite, "export"), "`cryptography` has the HPKE exporter now: check external commits"


@pytest.mark.parametrize("suite", SUITES)
def test_cryptography_opens_the_group_secrets_of_a_welcome(suite: int) -> None:
    bob, _, commit = added(suite)
    welcome = Welcomed.read(commit.welcome or b"")
    opened = Reader(unseal(suite, bob.init_key, "Welcome", welcome.encrypted_group_info, welcome.secrets))
    size = SUITES[suite][1].hash.digest_size
    assert welcome.reference == bob.package.reference
    assert len(opened.opaque()) == size  # joiner_secret
    assert opened.take(1) == b"\1"
    assert len(opened.opaque()) == size  # path_secret
    assert opened.opaque() == opened.rest == b""  # no pre-shared keys, and no more


@pytest.mark.parametrize("suite", SUITES)
def test_the_core_joins_by_group_secrets_that_cryptography_sealed(suite: int) -> None:
    bob, _, commit = added(suite)
    welcome = Welcomed.read(commit.welcome or b"")
    context = welcome.encrypted_group_info
    opened = unseal(suite, bob.init_key, "Welcome", context, welcome.secrets)
    sealed = seal(suite, bob.init_key, "Welcome", context, opened)
    assert sealed != welcome.secrets
    joined = bob.client.join(welcome.resealed(sealed), bob.package, tree=commit.tree)
    assert joined.epoch_authenticator() == commit.group.epoch_authenticator()


@pytest.mark.parametrize("suite", SUITES)
def test_group_secrets_sealed_to_another_label_context_or_key_are_refused(suite: int) -> None:
    bob, _, commit = added(suite)
    welcome = Welcomed.read(commit.welcome or b"")
    context = welcome.encrypted_group_info
    opened = unseal(suite, bob.init_key, "Welcome", context, welcome.secrets)
    for sealed in (
        seal(suite, bob.init_key, "UpdatePathNode", context, opened),
        seal(suite, bob.init_key, "Welcome", context[:-1], opened),
        seal(suite, bob.leaf_key, "Welcome", context, opened),
    ):
        with pytest.raises(RemoteProtocolError):
            bob.client.join(welcome.resealed(sealed), bob.package, tree=commit.tree)
    assert bob.client.join(commit.welcome or b"", bob.package, tree=commit.tree).epoch == 1


@pytest.mark.parametrize("suite", SUITES)
def test_cryptography_opens_a_path_secret_and_derives_the_nodes_key_from_it(suite: int) -> None:
    bob, _, commit = added(suite)
    before = commit.group
    update = before.commit()

    reader = Reader(update.message)
    reader.take(4), reader.opaque()  # the MLSMessage, the group id
    reader.take(8 + 5), reader.opaque()  # epoch and sender, authenticated data
    assert reader.take(1) == b"\3"  # a commit
    assert reader.opaque() == b""  # without proposals
    assert reader.take(1) == b"\1"  # with a path
    reader.opaque(), reader.leaf_node(), reader.opaque()
    nodes = Reader(reader.opaque())
    public, sealed = nodes.opaque(), Reader(nodes.opaque())
    assert nodes.rest == b""  # of two leaves the root is the only node above
    ciphertext = (sealed.opaque(), sealed.opaque())
    assert sealed.rest == b""  # and Bob the only one beside the path

    # The context is the new epoch's, but for the transcript hash, which covers the path (section 12.4.1).
    old, new = inspect_group_info(before.group_info()), inspect_group_info(update.group_info)
    context = group_context(
        suite=suite,
        group_id=new.group_id,
        epoch=new.epoch,
        tree_hash=new.tree_hash,
        confirmed=old.confirmed_transcript_hash,
        extensions=new.context_extensions,
    )
    path_secret = unseal(suite, bob.leaf_key, "UpdatePathNode", context, ciphertext)
    kem = SUITES[suite][1]
    # DeriveSecret(path_secret, "node") (section 8), then DeriveKeyPair (section 7.4)
    size = kem.hash.digest_size
    label = struct.pack(">H", size) + opaque(b"MLS 1.0 node") + opaque(b"")
    node_secret = HKDFExpand(kem.hash, size, label).derive(path_secret)
    assert kem.public(kem.derive(kem, node_secret)) == public
