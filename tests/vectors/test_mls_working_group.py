"""The MLS working group's test vectors, through the public door `mlsrtc.mls`.

They are not part of this repository: set MLSRTC_VECTORS to a copy of the `test-vectors` folder of the
working group's mls-implementations, or lay it at ../shared/vectors/mlswg beside the repository.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mlsrtc.mls import Client, Group, KeyPackage, Limits, Secret, SigningKey, suites

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("MLSRTC_VECTORS", REPOSITORY.parent / "shared" / "vectors" / "mlswg"))

ED25519_SUITES = {1, 3}
"""Their signature scheme keeps the public half beside the seed (RFC 8032); the vectors give the seed."""

NOT_REACHED = {
    "crypto-basics.json": "DeriveSecret, ExpandWithLabel and EncryptWithLabel are private to the engine",
    "key-schedule.json": "the key schedule is private to the engine",
    "message-protection.json": "needs a group made from given epoch secrets",
    "messages.json": "needs every structure alone; the reader behind `inspect` reads those a call needs",
    "psk_secret.json": "the PSK secret is private to the engine; passive clients go through it",
    "secret-tree.json": "the secret tree is private to the engine",
    "tree-math.json": "private functions of the engine",
    "tree-operations.json": "applies single proposals to a bare tree, which is private to the engine",
    "tree-validation.json": "validates bare trees; every join here validates one",
    "treekem.json": "needs private keys of single nodes",
    "welcome.json": "opens a Welcome without joining, with a bare signer key; passive clients join for real",
}
"""Files that the public door cannot reach, and why."""

ELSEWHERE = {"deserialization.json", "transcript-hashes.json"}
"""Files that are the reader's: tests of `inspect`."""

HERE = {"deserialization.json", "transcript-hashes.json"}
"""Files that are the reader's: tests of `inspect`."""

RESUMPTION = {"passive-client-handling-commit.json": {3, 5, 10, 12}}
"""Cases, by their number within a suite, whose commits use the PSK of an epoch gone by. Groups here keep no
secret of such epochs; retention comes with the issue *MLS door*."""

HERE = {
    "passive-client-handling-commit.json": 13,
    "passive-client-random.json": 1,
    "passive-client-welcome.json": 8,
}
"""How many cases each file has for a suite; the random one has suite 1 only."""


def vectors(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"no {name}: set MLSRTC_VECTORS to the working group's test-vectors folder")
    loaded: list[dict[str, Any]] = json.loads(path.read_text())
    return loaded


def opened(vector: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(vector[name])


def secret(vector: dict[str, Any], name: str) -> Secret:
    return Secret(opened(vector, name))


def joined(vector: dict[str, Any], psks: dict[bytes, Secret]) -> Group:
    suite = vector["cipher_suite"]
    key_package = KeyPackage.from_keys(
        opened(vector, "key_package"), secret(vector, "init_priv"), secret(vector, "encryption_priv")
    )
    private = opened(vector, "signature_priv")
    if suite in ED25519_SUITES:
        private += key_package.signature_key
    client = Client(key_package.identity, SigningKey.load(suite, Secret(private)), limits=Limits(past_epochs=100))
    tree = opened(vector, "ratchet_tree") if vector["ratchet_tree"] else None
    return client.join(opened(vector, "welcome"), key_package, tree=tree, psks=psks)


def play(vector: dict[str, Any]) -> None:
    psks = {opened(psk, "psk_id"): secret(psk, "psk") for psk in vector["external_psks"]}
    group = joined(vector, psks)
    assert group.epoch_authenticator() == secret(vector, "initial_epoch_authenticator")
    for epoch in vector["epochs"]:
        for proposal in epoch["proposals"]:
            group = group.with_proposal(bytes.fromhex(proposal))
        group = group.stage(opened(epoch, "commit"), psks=psks).apply()
        assert group.epoch_authenticator() == secret(epoch, "epoch_authenticator")


@pytest.mark.parametrize(
    ("name", "suite"),
    [(name, suite) for name in HERE for suite in suites() if suite == 1 or "random" not in name],
)
def test_passive_client(name: str, suite: int) -> None:
    cases = [vector for vector in vectors(name) if vector["cipher_suite"] == suite]
    assert len(cases) == HERE[name]
    for vector in cases:
        play(vector)


@pytest.mark.parametrize("name", HERE)
def test_cases_that_wait_for_another_provider_are_counted(name: str) -> None:
    """AWS-LC has no X448 and no Ed448: suites 4 and 6 wait (RFC 9420 section 17.1)."""
    waiting = [vector["cipher_suite"] for vector in vectors(name) if vector["cipher_suite"] not in suites()]
    expected = {4, 6} if "random" not in name else set()
    assert set(waiting) == expected
    assert len(waiting) == len(expected) * HERE[name]


def test_every_file_is_run_here_or_elsewhere_or_named_with_a_reason() -> None:
    if not FOLDER.is_dir():
        pytest.skip("set MLSRTC_VECTORS to the working group's test-vectors folder")
    assert {path.name for path in FOLDER.glob("*.json")} == HERE.keys() | ELSEWHERE | NOT_REACHED.keys()
