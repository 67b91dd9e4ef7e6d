"""An independent check of the base: the HPKE of `cryptography` (RFC 9180) opens what the core seals, and the core
opens what it seals, for every suite of the provider, the post-quantum one too.

MLS seals in two places, and both are opened here: the group secrets of a Welcome, to the key package's init key, and
the path secrets of an UpdatePath, to the nodes beside the path (EncryptWithLabel, RFC 9420 section 5.1.3).
"""

from dataclasses import dataclass

import pytest
from cipher_suites import SUITES, labelled
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from rogue import node_key
from twins import HPKECiphertext

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

An external commit takes a secret from the exporter of HPKE (section 8.3), which `cryptography` does not have either:
there the core must agree with the HPKE of the twins (test_rogue.py, test_follower.py)."""

HPKE = {
    1: Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM),
    2: Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_128_GCM),
    3: Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305),
    5: Suite(KEM.P521, KDF.HKDF_SHA512, AEAD.AES_256_GCM),
    7: Suite(KEM.P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM),
    0x4D: Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305),
}
AEAD_TAG = 16


def seal(suite: int, public_of: bytes, label: str, context: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    """EncryptWithLabel (RFC 9420 section 5.1.3) to the key whose private half this is: KEM output, ciphertext."""
    key = SUITES[suite].kem.load(public_of).public_key()
    sealed = HPKE[suite].encrypt(plaintext, key, info=labelled(label, context))
    size = len(sealed) - len(plaintext) - AEAD_TAG
    return sealed[:size], sealed[size:]


def unseal(suite: int, private: bytes, label: str, context: bytes, sealed: tuple[bytes, bytes]) -> bytes:
    """DecryptWithLabel."""
    return HPKE[suite].decrypt(b"".join(sealed), SUITES[suite].kem.load(private), info=labelled(label, context))


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
        client, kem = Client(b"bob", signing_key), SUITES[suite].kem
        init_key, leaf_key = kem.generate(), kem.generate()

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
    assert set(HPKE) == set(suites(post_quantum=True))
    assert set(suites()) | set(LACKING) == set(range(1, 8))
    for kem in LACKING.values():
        assert not hasattr(KEM, kem), f"`cryptography` has {kem} now: check it"
    assert not hasattr(Suite, "export"), "`cryptography` has the HPKE exporter now: check external commits"


@pytest.mark.parametrize("suite", HPKE)
def test_cryptography_opens_the_group_secrets_of_a_welcome(suite: int) -> None:
    bob, _, commit = added(suite)
    welcome = Welcomed.read(commit.welcome or b"")
    opened = Reader(unseal(suite, bob.init_key, "Welcome", welcome.encrypted_group_info, welcome.secrets))
    size = SUITES[suite].size
    assert welcome.reference == bob.package.reference
    assert len(opened.opaque()) == size  # joiner_secret
    assert opened.take(1) == b"\1"
    assert len(opened.opaque()) == size  # path_secret
    assert opened.opaque() == opened.rest == b""  # no pre-shared keys, and no more


@pytest.mark.parametrize("suite", HPKE)
def test_the_core_joins_by_group_secrets_that_cryptography_sealed(suite: int) -> None:
    bob, _, commit = added(suite)
    welcome = Welcomed.read(commit.welcome or b"")
    context = welcome.encrypted_group_info
    opened = unseal(suite, bob.init_key, "Welcome", context, welcome.secrets)
    sealed = seal(suite, bob.init_key, "Welcome", context, opened)
    assert sealed != welcome.secrets
    joined = bob.client.join(welcome.resealed(sealed), bob.package, tree=commit.tree)
    assert joined.epoch_authenticator() == commit.group.epoch_authenticator()


@pytest.mark.parametrize("suite", HPKE)
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


@pytest.mark.parametrize("suite", HPKE)
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
    assert SUITES[suite].kem.public(node_key(SUITES[suite], path_secret)) == public


@pytest.mark.parametrize("suite", HPKE)
def test_the_twins_and_cryptography_open_what_the_other_seals(suite: int) -> None:
    twin = SUITES[suite]
    private = twin.kem.generate()
    sealed = twin.encrypt_with_label(twin.kem.public(private), "label", b"context", b"plaintext")
    assert unseal(suite, private, "label", b"context", (sealed.kem_output, sealed.ciphertext)) == b"plaintext"
    sealed = HPKECiphertext(*seal(suite, private, "label", b"context", b"plaintext"))
    assert twin.decrypt_with_label(private, "label", b"context", sealed) == b"plaintext"
