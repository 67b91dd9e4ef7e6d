"""davey, a client of Discord's DAVE protocol, behind a part of the line protocol of `tests/interop/peers.py`.

Only a gateway proposes, from outside the group; members commit what it proposed. See `tests/interop/dave.py`."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import davey

sys.path.insert(0, str(Path(__file__).parents[1]))
from line import serve

WELCOME, KEY_PACKAGE = (bytes([0, 1, 0, kind]) for kind in (3, 5))
"""How an MLSMessage begins: Welcomes and key packages are bare in DAVE."""


class Client:
    def __init__(self, suite: int, identity: bytes, group_id: bytes, data: bytes) -> None:
        """`data` is the ExternalSender structure of the gateway."""
        channel, user = int.from_bytes(group_id), int.from_bytes(identity)
        self.session = davey.DaveSession(davey.DAVE_PROTOCOL_VERSION, user, channel)
        assert self.session.ciphersuite == suite
        self.session.set_external_sender(data)

    def key_package(self) -> dict[str, Any]:
        return {"key_package": KEY_PACKAGE + self.session.get_serialized_key_package()}

    def join(self, welcome: bytes) -> dict[str, Any]:
        self.session.process_welcome(welcome.removeprefix(WELCOME))
        return {}

    def propose(self, data: bytes) -> dict[str, Any]:
        """Takes proposals in, a vector of MLSMessages, and gives a commit of them, for whoever is the one to use it."""
        made = self.session.process_proposals(davey.ProposalsOperationType.append, data)
        if made is None:
            return {"commit": None, "welcome": None}
        return {"commit": made.commit, "welcome": WELCOME + made.welcome if made.welcome else None}

    def process(self, message: bytes) -> dict[str, Any]:
        self.session.process_commit(message)
        return {"kind": "commit"}

    def state(self) -> dict[str, Any]:
        return {"epoch": self.session.epoch, "authenticator": self.session.get_epoch_authenticator()}


LACKS = "DAVE has none: only a gateway outside the group proposes, to add or to remove"
unsupported = {
    **dict.fromkeys(("add", "remove", "update", "psk", "resumption", "external_join", "resync"), LACKS),
    **{f"propose_{name}": LACKS for name in ("add", "remove", "update", "psk")},
    "tree_apart": "process_welcome takes no tree: it has to be in the Welcome",
    "encrypt": "DAVE encrypts media frames with keys from the exporter, and no application messages",
    "decrypt": "DAVE encrypts media frames with keys from the exporter, and no application messages",
    "exporter": "it tells no exported secret; the epoch authenticator is compared",
}
serve({"peer": "davey", "version": version("davey"), "suites": [2], "unsupported": unsupported}, Client)
