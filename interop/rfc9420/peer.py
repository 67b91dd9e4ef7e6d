"""rfc9420 behind the line protocol of `tests/interop/peers.py`."""

import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rfc9420 import DefaultCryptoProvider, ProtocolMLSGroup
from rfc9420.extensions.extensions import build_capabilities_data
from rfc9420.messages.data_structures import (
    CipherSuite,
    Credential,
    PreSharedKeyID,
    PSKType,
    Sender,
    SenderType,
    Signature,
    Welcome,
)
from rfc9420.messages.key_packages import KeyPackage, LeafNode
from rfc9420.messages.messages import ContentType, MLSCiphertext, MLSPlaintext

sys.path.insert(0, str(Path(__file__).parents[1]))
from line import serve

DAY = 24 * 3600
PUBLIC, PRIVATE, WELCOME, GROUP_INFO, KEY_PACKAGE = (bytes([0, 1, 0, kind]) for kind in range(1, 6))
"""How an MLSMessage begins: it reads and writes what stands after that."""

UNSIGNED = (
    "the leaf of its update path carries the signature of the leaf before (RFC 9420 section 7.2 signs each anew): "
    "its own members refuse it too"
)
BARE_KEY = "its extension external_pub is the bare key; RFC 9420 section 12.4.3.2 has a length before it"
UNSUPPORTED = {
    "update": UNSIGNED,
    "remove": UNSIGNED,
    "commit_proposals": UNSIGNED,
    "external_join": UNSIGNED,
    "group_info": BARE_KEY,
    "tree_apart": "from_welcome takes no tree: it has to be in the Welcome",
    "exporter": "it expands with the context itself and not with Hash(Context) (RFC 9420 section 8.5): another secret",
    "resync": UNSIGNED,
    "custom": "it reads no proposal but those of RFC 9420",
    "context_extensions": (
        "it refuses the proposal unless all members list its type in their capabilities; RFC 9420 section 7.2 has the "
        "default types not listed"
    ),
    "propose_update": "create_update_proposal keeps no private key for the new leaf",
    "private": "its handshake messages are public",
    "late": "it keeps no earlier epoch",
}


class Client:
    def __init__(self, suite: int, identity: bytes, private: bool) -> None:
        self.suite, self.identity = suite, identity
        self.crypto = DefaultCryptoProvider(suite_id=suite)
        seed, self.public = self._signature_keys()
        self.signing_key = seed
        self.psks: dict[bytes, bytes] = {}
        self.keys: dict[bytes, tuple[KeyPackage, bytes, bytes]] = {}

    def _signature_keys(self) -> tuple[bytes, bytes]:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.generate()
        return key.private_bytes_raw(), key.public_key().public_bytes_raw()

    def _package(self) -> tuple[KeyPackage, bytes, bytes]:
        init_private, init_public = self.crypto.generate_key_pair()
        leaf_private, leaf_public = self.crypto.generate_key_pair()
        now = int(time.time())
        leaf = LeafNode(
            encryption_key=leaf_public,
            signature_key=self.public,
            credential=Credential(identity=self.identity, public_key=self.public),
            capabilities=build_capabilities_data([self.suite], [], [1]),
            lifetime_not_before=now - 3600,
            lifetime_not_after=now + 80 * DAY,
        )
        signature = self.crypto.sign_with_label(self.signing_key, b"LeafNodeTBS", leaf.tbs_serialize())
        package = KeyPackage(
            cipher_suite=CipherSuite.deserialize(self.suite.to_bytes(2)),
            init_key=init_public,
            leaf_node=replace(leaf, signature=Signature(signature)),
        )
        signature = self.crypto.sign_with_label(self.signing_key, b"KeyPackageTBS", package.tbs_serialize())
        return replace(package, signature=Signature(signature)), init_private, leaf_private

    def _begin(self, group: ProtocolMLSGroup) -> None:
        group.set_external_psk_provider(lambda psk: self.psks.get(psk.psk_id))
        group.set_strict_psk_binders(False)
        self.group = group

    def key_package(self) -> dict[str, Any]:
        self.newest = self._package()
        return {"key_package": KEY_PACKAGE + self.newest[0].serialize()}

    def create(self, group_id: bytes) -> dict[str, Any]:
        package, _, leaf_private = self._package()
        self._begin(ProtocolMLSGroup.create(group_id, package, self.crypto))
        # `create` is given no private key; without it the founder reads no update path.
        self.group._ratchet_tree.get_node(0).private_key = leaf_private
        return {}

    def join(self, welcome: bytes, tree: bytes | None) -> dict[str, Any]:
        package, init_private, leaf_private = self.newest
        group = ProtocolMLSGroup.from_welcome(
            Welcome.deserialize(welcome.removeprefix(WELCOME)),
            init_private,
            self.crypto,
            key_package=package,
            encryption_private_key=leaf_private,
            welcome_psk_resolver=lambda psk: self.psks.get(psk.psk_id),
        )
        self._begin(group)
        return {}

    def psk(self, id: bytes, secret: bytes) -> dict[str, Any]:
        self.psks[id] = secret
        return {}

    def _proposed(self, kind: str, **fields: Any) -> MLSPlaintext:
        if kind == "add":
            package = KeyPackage.deserialize(fields["key_package"].removeprefix(KEY_PACKAGE))
            made = self.group.create_add_proposal(package, self.signing_key)
        elif kind == "remove":
            made = self.group.create_remove_proposal(fields["leaf"], self.signing_key)
        elif "epoch" in fields:
            made = self.group.create_application_resumption_psk_proposal(fields["epoch"], self.signing_key)
        else:
            psk = PreSharedKeyID(PSKType.EXTERNAL, psk_id=fields["id"])
            made = self.group.create_psk_proposal(psk, self.signing_key)
        self.group.process_proposal(made, Sender(self.group.get_own_leaf_index(), SenderType.MEMBER))
        return made

    def propose(self, **fields: Any) -> dict[str, Any]:
        return {"proposal": PUBLIC + self._proposed(**fields).serialize()}

    def commit(self, add: list[bytes], remove: list[int], psk: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        # It commits by reference alone: what is committed by value elsewhere goes to the others as proposals first.
        proposals = [self._proposed("add", key_package=package) for package in add]
        proposals += [self._proposed("remove", leaf=leaf) for leaf in remove]
        proposals += [self._proposed("psk", **one) for one in psk]
        made = self.group.create_commit(self.signing_key)
        self.group.apply_own_commit(made)
        welcome = WELCOME + made[1][0].serialize() if made[1] else None
        return {
            "proposals": [PUBLIC + proposal.serialize() for proposal in proposals],
            "commit": PUBLIC + made[0].serialize(),
            "welcome": welcome,
            "tree": None,
        }

    def process(self, message: bytes) -> dict[str, Any]:
        if message.startswith(PRIVATE):
            _, data = self.group.unprotect(MLSCiphertext.deserialize(message.removeprefix(PRIVATE)))
            return {"kind": "application", "data": data}
        opened = MLSPlaintext.deserialize(message.removeprefix(PUBLIC))
        content = opened.auth_content.tbs.framed_content
        if content.content_type == ContentType.PROPOSAL:
            self.group.process_proposal(opened, content.sender)
            return {"kind": "proposal"}
        if content.sender.sender_type == SenderType.MEMBER:
            self.group.process_commit(opened, content.sender.sender)
        else:
            self.group.process_external_commit(opened)
        return {"kind": "commit"}

    def encrypt(self, data: bytes, authenticated_data: bytes) -> dict[str, Any]:
        return {"message": PRIVATE + self.group.protect(data, self.signing_key).serialize()}

    def group_info(self, with_tree: bool) -> dict[str, Any]:
        return {"group_info": GROUP_INFO + self.group.export_group_info(self.signing_key), "tree": None}

    def export(self, label: str, context: bytes, times: int) -> dict[str, Any]:
        for _ in range(times):
            self.group.export_secret(label.encode(), context, 32)
        return {}

    def save(self, times: int) -> dict[str, Any]:
        for _ in range(times):
            self.group.to_bytes()
        return {}

    def state(self, **_: Any) -> dict[str, Any]:
        return {
            "epoch": self.group.get_epoch(),
            "leaf": self.group.get_own_leaf_index(),
            "authenticator": self.group.get_epoch_authenticator(),
            "exporter": None,
            "tree_hash": self.group._ratchet_tree.calculate_tree_hash(),
        }


hello = {"peer": "rfc9420", "version": version("rfc9420"), "suites": [1], "unsupported": UNSUPPORTED}
serve(hello, Client)
