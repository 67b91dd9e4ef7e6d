"""rine-mls behind the line protocol of `tests/interop/peers.py`."""

import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rine_mls

sys.path.insert(0, str(Path(__file__).parents[1]))
from line import serve

MLS_V1 = bytes([rine_mls.APP_MESSAGE_TAG])
"""What its application messages begin with, before the MLSMessage."""

NO_PROPOSALS = "it commits by value, one kind of change at a time, and reads no proposal"
NOTHING_LISTED = (
    "its key packages list no extension and no proposal that it understands, and there is no way to add one"
)
NO_PSK = "it has no pre-shared keys"
UNSUPPORTED = {
    "tree_apart": "join_from_welcome and join_by_external_commit take no tree: it has to be in the message",
    "update": "it has no commit of an update alone",
    "remove_several": "remove_member takes one leaf",
    "by_reference": NO_PROPOSALS,
    "commit_proposals": NO_PROPOSALS,
    **{f"propose_{kind}": NO_PROPOSALS for kind in ("add", "remove", "update", "psk")},
    "custom": NOTHING_LISTED,
    "context_extensions": NOTHING_LISTED,
    "psk": NO_PSK,
    "resumption": NO_PSK,
    "external_join_psk": NO_PSK,
    "private": "its handshake messages are public",
    "epoch_authenticator": "it tells none; its GroupInfo, with the confirmation tag, is compared instead",
    "exporter": "it has none",
}


class Client:
    def __init__(self, suite: int, identity: bytes, private: bool) -> None:
        # The identity is its own: a hash of its keys.
        self.client = rine_mls.MlsClient(tempfile.mkdtemp(prefix="rine-mls-"), os.urandom(32), suite)

    def key_package(self) -> dict[str, Any]:
        return {"key_package": self.client.generate_key_package()}

    def create(self, group_id: bytes) -> dict[str, Any]:
        self.group = self.client.create_group(group_id)
        return {}

    def join(self, welcome: bytes, tree: bytes | None) -> dict[str, Any]:
        self.group = self.client.join_from_welcome(welcome)
        return {}

    def join_external(self, group_info: bytes, resync: bool, **_: Any) -> dict[str, Any]:
        if resync:
            self.group = self.client.resync_by_external_commit(group_info, self.group.current_member_index())
        else:
            self.group = self.client.join_by_external_commit(group_info)
        return {"commit": self.group.last_commit().commit}

    def commit(self, add: list[bytes], remove: list[int], **_: Any) -> dict[str, Any]:
        made = self.group.add_members(add) if add else self.group.remove_member(remove[0])
        return {"commit": made.commit, "welcome": None, "welcomes": made.welcomes, "tree": None}

    def process(self, message: bytes) -> dict[str, Any]:
        if message[:4] == b"\0\1\0\2":
            return {
                "kind": "application",
                "data": self.group.decrypt_application_message(MLS_V1 + message).envelope,
            }
        self.group.apply_commit(message)
        return {"kind": "commit"}

    def encrypt(self, data: bytes, authenticated_data: bytes) -> dict[str, Any]:
        return {"message": self.group.encrypt_application_message(data).removeprefix(MLS_V1)}

    def group_info(self, with_tree: bool) -> dict[str, Any]:
        return {"group_info": self.group.group_info(), "tree": None}

    def save(self, times: int) -> dict[str, Any]:
        for _ in range(times):
            self.group.save()
        return {}

    def state(self, **_: Any) -> dict[str, Any]:
        return {
            "epoch": self.group.epoch(),
            "leaf": self.group.current_member_index(),
            "authenticator": None,
            "exporter": None,
            "tree_hash": None,
            "group_info": self.group.group_info(),
        }


hello = {"peer": "rine-mls", "version": version("rine-mls"), "unsupported": UNSUPPORTED}
serve({**hello, "suites": [rine_mls.CIPHER_SUITE_CLASSICAL]}, Client)
