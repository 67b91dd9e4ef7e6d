"""Suite 0x004D: X-Wing (ML-KEM-768 and X25519), ChaCha20-Poly1305, SHA-256, Ed25519.

That its HPKE is X-Wing's is in test_hpke.py, and what groups do is tested in it as in the others. Opt-in: whoever
does not name the suite never meets it.
"""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import (
    Client,
    KeyPackage,
    Secret,
    SigningKey,
    inspect_commit,
    inspect_key_package,
    inspect_tree,
    inspect_welcome,
    suites,
    verify_signature,
)

X_WING = 0x4D
SEED, PUBLIC, SEALED = 32, 1216, 1120
"""Bytes of a private key, a public key, and what is sent for one that is sealed to."""


def client(name: str, suite: int = X_WING) -> Client:
    return Client(name.encode(), SigningKey.generate(suite))


def test_it_is_there_for_who_asks_for_it() -> None:
    assert X_WING not in suites()
    assert suites(post_quantum=True) == (*suites(), X_WING)


def test_what_is_sent_has_the_sizes_of_x_wing() -> None:
    bob = client("bob").key_package()
    facts = inspect_key_package(bob.public)
    facts.verify()
    assert (facts.suite, len(facts.init_key or b""), len(facts.encryption_key)) == (X_WING, PUBLIC, PUBLIC)
    commit = client("alice").create_group(b"group").commit(add=[bob.public])
    assert inspect_welcome(commit.welcome or b"").suite == X_WING
    assert {len(leaf.encryption_key) for leaf in inspect_tree(commit.tree).values()} == {PUBLIC}
    update = commit.group.commit()
    assert inspect_commit(update.message).path_nodes == 1
    # A leaf's key, a node's, and one thing sealed, more than in suite 3, whose keys and sealed things take 32 bytes.
    in_suite_3 = client("alice", 3).create_group(b"group").commit(add=[client("bob", 3).key_package().public])
    more = len(update.message) - len(in_suite_3.group.commit().message)
    assert 2 * (PUBLIC - 32) + SEALED - 32 <= more <= 2 * (PUBLIC - 32) + SEALED - 32 + 10


def test_it_signs_as_suite_3_does() -> None:
    key = SigningKey.generate(X_WING)
    signature = key.sign(b"message")
    Ed25519PublicKey.from_public_bytes(key.public).verify(signature, b"message")
    verify_signature(X_WING, key.public, b"message", signature)
    assert SigningKey.load(3, key.save()).public == SigningKey.load(X_WING, key.save()).public == key.public


def test_a_private_key_is_a_seed_that_fits() -> None:
    package = client("bob").key_package()
    for wrong in (bytes(SEED), bytes(SEED - 1), bytes(2400 + 32), b""):
        with pytest.raises(LocalProtocolError, match="bad_key_package"):
            KeyPackage.from_keys(package.public, Secret(wrong), Secret(bytes(SEED)))


def test_suites_do_not_mix() -> None:
    group = client("alice").create_group(b"group")
    for suite in (1, 3):
        with pytest.raises(RemoteProtocolError):
            group.commit(add=[client("bob", suite).key_package().public])
        with pytest.raises(RemoteProtocolError):
            client("alice", suite).create_group(b"group").commit(add=[client("bob").key_package().public])
    assert group.commit(add=[client("bob").key_package().public]).group.epoch == 1
