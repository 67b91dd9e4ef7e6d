"""What OpenMLS sent, read by the public door on every run: Welcomes, commits, proposals, PSKs, application messages."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mlsrtc.mls import Client, Group, KeyPackage, Limits, Secret, SigningKey

FOLDER = Path(__file__).parents[1] / "vectors" / "openmls" / "passive"
RECORDINGS = sorted(FOLDER.glob("*.json"))


def joined(vector: dict[str, Any], psks: dict[bytes, Secret]) -> Group:
    def secret(name: str) -> bytes:
        return bytes.fromhex(vector[name])

    package = KeyPackage.from_keys(
        secret("key_package"), Secret(secret("init_priv")), Secret(secret("encryption_priv"))
    )
    private = secret("signature_priv")
    if vector["cipher_suite"] in {1, 3, 0x4D}:  # Ed25519 keeps the public half beside the seed
        private += package.signature_key
    key = SigningKey.load(vector["cipher_suite"], Secret(private))
    client = Client(package.identity, key, limits=Limits(past_epochs=5))
    tree = bytes.fromhex(vector["ratchet_tree"]) if vector["ratchet_tree"] else None
    return client.join(secret("welcome"), package, tree=tree, psks=psks)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_member_among_openmls_clients(path: Path) -> None:
    vector = json.loads(path.read_text())
    psks = {bytes.fromhex(psk["psk_id"]): Secret(bytes.fromhex(psk["psk"])) for psk in vector["external_psks"]}
    group = joined(vector, psks)
    label, context = vector["exporter_label"], bytes.fromhex(vector["exporter_context"])
    counted: Counter[str] = Counter()
    for event in vector["events"]:
        counted[event["kind"]] += 1
        match event["kind"]:
            case "proposal":
                group = group.with_proposal(bytes.fromhex(event["message"]))
            case "commit":
                group = group.stage(bytes.fromhex(event["message"]), psks=psks).apply()
            case "application":
                received = group.decrypt(bytes.fromhex(event["message"]))
                group = received.group
                assert received.data.hex() == event["data"]
                assert received.authenticated_data == b"in the clear"
            case "epoch":
                assert group.epoch == event["epoch"]
                assert group.epoch_authenticator().expose().hex() == event["authenticator"]
                assert group.export(label, context, 32).expose().hex() == event["exporter"]
                assert group.tree_hash.hex() == event["tree_hash"]
    assert counted["commit"] + 1 == counted["epoch"]
    assert min(counted[kind] for kind in ("proposal", "commit", "application")) >= 5


def test_every_suite_of_openmls_is_there_and_every_kind_of_step() -> None:
    vectors = [json.loads(path.read_text()) for path in RECORDINGS]
    assert {vector["cipher_suite"] for vector in vectors} == {1, 2, 3, 0x4D}
    for vector in vectors:
        assert {"by reference", "psk", "resumption", "external join", "out of order", "late"} <= vector[
            "operations"
        ].keys()
    assert {vector["ratchet_tree"] is None for vector in vectors} == {True, False}


def test_in_the_post_quantum_suite_openmls_has_read_us_and_we_read_openmls() -> None:
    """The Welcome is ours, to an OpenMLS client, which has told what each epoch came to."""
    (vector,) = (vector for path in RECORDINGS if (vector := json.loads(path.read_text()))["cipher_suite"] == 0x4D)
    assert vector["engines"] == ["mlsrtc", "OpenMLS on libcrux"]
    assert min(vector["commits"][engine] for engine in vector["engines"]) >= 5
