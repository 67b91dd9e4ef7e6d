"""Writes what one OpenMLS client in a group receives, from its Welcome on, as vectors: one file per suite.

The others are OpenMLS clients. In the post-quantum suite our own clients are among them, and add the one that is
watched.

    .venv/bin/python tests/interop/record_openmls.py tests/vectors/openmls/passive

The history follows from a seed; keys are fresh in every run. The member it is about never acts, so whoever has its
private keys can take its place: `test_openmls_passive.py` does so with the door `mlsrtc.mls`."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engines import starter
from history import History
from party import CONTEXT, LABEL, Member
from peers import Fields, Peer
from steps import WEIGHTS, Picks, Plan

KINDS = WEIGHTS.keys() - {"resync"}
"""Steps of a history that a recording has to hold. One who comes back is to the others like one who joins."""


class Recording(History):
    """A party that writes down what its second member sees."""

    def __init__(self, plan: Plan, peers: Mapping[str, Peer]) -> None:
        self.watched: Member | None = None
        self.events: list[dict[str, Any]] = []
        self.psks: list[dict[str, str]] = []
        super().__init__(plan, peers)
        picks = Picks([1])  # of several engines the second one: the first has founded the group
        added = self.newcomers(picks, 1, "join")[0]
        package = self.package(added)
        keys = added.call("reveal")
        psk = self.share_psk([*self.members, added])
        fields: Fields = {"remove": [], "psk": [psk], "path": True, "tree_in_welcome": not plan.private}
        made = self.members[0].call("commit", add=[package], **fields)
        added.call("join", welcome=made["welcome"], tree=made["tree"])
        self.epoch += 1
        added.since = self.epoch
        self.members.append(added)
        self.head = {
            "generator": "tests/interop/record_openmls.py, OpenMLS 0.9.2",
            "engines": list(plan.shares),
            "cipher_suite": plan.suite,
            "key_package": package.hex(),
            **{name: value.hex() for name, value in keys.items()},
            "welcome": made["welcome"].hex(),
            "ratchet_tree": made["tree"].hex() if made["tree"] else None,
        }
        self.watched = added
        self.agree()

    def able(self, *features: str, but: Iterable[Member] = ()) -> list[Member]:
        found = super().able(*features, but=but)
        acts = bool(features) and "decrypt" not in features
        return [member for member in found if not (acts and member is self.watched)]

    def removable(self, but: Iterable[Member] = ()) -> list[Member]:
        return [member for member in super().removable(but) if member is not self.watched]

    def share_psk(self, members: Iterable[Member]) -> Fields:
        psk = super().share_psk(members)
        self.psks.append({"psk_id": psk["id"].hex(), "psk": (bytes([self.names % 256]) * 32).hex()})
        return psk

    def deliver(self, message: bytes, kind: str, to: Iterable[Member]) -> list[tuple[Member, Fields]]:
        answers = super().deliver(message, kind, to)
        for member, answer in answers:
            if member is self.watched:
                event = {"kind": kind, "message": message.hex()}
                self.events.append(event | ({"data": answer["data"].hex()} if kind == "application" else {}))
        return answers

    def agree(self) -> None:
        super().agree()
        if self.watched is not None:
            state = self.watched.call("state", label=LABEL, context=CONTEXT)
            names = ("authenticator", "exporter", "tree_hash")
            told = {"epoch": state["epoch"], **{name: state[name].hex() for name in names}}
            self.events.append({"kind": "epoch", **told})


def recorded(suite: int, private: bool, seed: int, engines: Sequence[str], most: int) -> dict[str, Any]:
    plan = Plan(suite, dict.fromkeys(engines, 1), most=most, private=private, founder_stays=True)
    peers = starter(list(engines))()
    party = Recording(plan, peers)
    for step in plan.draw(seed, 60):
        party.play(step)
        if party.operations.keys() >= KINDS and party.operations.total() >= 25:
            break
    for peer in peers.values():
        peer.close()
    assert party.operations.keys() >= KINDS, party.operations
    return {
        **party.head,
        "exporter_label": LABEL,
        "exporter_context": CONTEXT.hex(),
        "external_psks": party.psks,
        "operations": dict(sorted(party.operations.items())),
        "commits": dict(sorted(party.commits.items())),
        "events": party.events,
    }


def main(arguments: Sequence[str]) -> None:
    (folder,) = arguments
    openmls, mixed = ["OpenMLS"], ["mlsrtc", "OpenMLS on libcrux"]
    for name, suite, private, engines, most in (
        ("suite-1", 1, False, openmls, 7),
        ("suite-2-private", 2, True, openmls, 7),
        ("suite-3-private", 3, True, openmls, 7),
        ("suite-77", 0x4D, False, mixed, 5),
    ):
        made = recorded(suite, private, 1, engines, most)
        (Path(folder) / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
