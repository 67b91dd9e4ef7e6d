"""Histories with rfc9420, and where it departs from the standard: so that a new version that mends it is noticed, and
`known.py` and its `unsupported` can go. A fault counts as known only where the group shows it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from door_group import BLANK, SET, Host
from engines import starter
from evidence import Case, hash_above, hash_of_today, is_valid
from history import check, played
from known import KNOWN
from ours import Ours
from peers import Fields, Peer, PeerError
from steps import Plan, Step

GROUP_ID = b"group"


@pytest.fixture
def rfc9420() -> Iterator[Peer]:
    peer = starter(["rfc9420"])()["rfc9420"]
    yield peer
    peer.close()


@dataclass
class Pair:
    """A group that rfc9420 founded, and one of ours that it added."""

    theirs: Peer
    ours: Peer = field(default_factory=Ours)

    def __post_init__(self) -> None:
        self.client(self.theirs, "r")
        self.theirs.call("create", client="r", group_id=GROUP_ID)
        self.client(self.ours, "m")
        made = self.add(self.ours.call("key_package", client="m")["key_package"])
        self.ours.call("join", client="m", welcome=made["welcome"], tree=None)

    def client(self, peer: Peer, name: str) -> None:
        peer.call("client", client=name, suite=1, identity=name.encode(), private=False)

    def add(self, package: bytes) -> Fields:
        return self.theirs.call("commit", client="r", add=[package], remove=[], psk=[], path=False)

    def group_info(self) -> bytes:
        info: bytes = self.ours.call("group_info", client="m", with_tree=True)["group_info"]
        return info


def case(group_info: bytes, **fields: Any) -> Case:
    blank: dict[str, Any] = {
        "suite": 1, "group_id": GROUP_ID, "author": "mlsrtc", "ask_author": dict, "message": b"", "added": [],
        "proposed": [], "earlier": [],
    }  # fmt: skip
    return Case(group_info=lambda: group_info, **blank | fields)


def reasons(error: PeerError, case: Case) -> list[str]:
    return [known.reason for known in KNOWN if known.is_of(error, case)]


@pytest.mark.parametrize("seed", [0, 5])
def test_every_fault_in_histories_is_explained(seed: int) -> None:
    names = ["rfc9420", "mlsrtc", "OpenMLS"] if seed == 0 else ["OpenMLS", "mlsrtc", "rfc9420"]
    plan = Plan(1, dict.fromkeys(names, 1), most=12, founder_stays=True, weak=frozenset({"rfc9420"}))
    party = check(plan, seed, 150, starter(names))
    assert party.operations.total() >= 130
    assert sum(party.faults.values()) >= 5
    assert party.faults.keys() <= set(KNOWN)


def test_a_fault_that_nothing_shows_is_not_explained() -> None:
    class Moody(Ours):
        """Says of a commit what rfc9420 says, without its reason."""

        name = "rfc9420"

        def call(self, op: str, **fields: Any) -> Fields:
            if op == "process":
                raise PeerError(self.name, op, "UpdatePath LeafNode invalid: invalid signature")
            answer: Fields = super().call(op, **fields)
            return answer

    plan = Plan(1, {"mlsrtc": 1, "rfc9420": 1}, most=6, founder_stays=True, weak=frozenset({"rfc9420"}))
    steps = [Step("add", (0, 0, number, 1, 0)) for number in range(4)]
    party = played(plan, steps, lambda: {"mlsrtc": Ours(), "rfc9420": Moody()})
    assert {known.reason for known in party.faults} == {"unexplained: UpdatePath LeafNode invalid: invalid signature"}


@pytest.mark.parametrize(("members", "full"), [(3, False), (6, True), (10, False), (30, True)])
def test_it_joins_no_tree_with_leaves_of_before(rfc9420: Peer, members: int, full: bool) -> None:
    """Whether the tree has empty leaves at its right end makes no difference."""
    after, error = admitted(rfc9420, SET, members)
    info = case(after.group.group_info(with_tree=True))
    tree = info.tree()
    assert (tree.members()[-1] == tree.leaves - 1) is full
    assert is_valid(tree)
    assert [leaf for leaf in tree.members() if hash_above(tree.leaf(leaf)) not in (b"", hash_of_today(tree, leaf))]
    assert error is not None
    assert [reason.partition(",")[0] for reason in reasons(error, info)] == [
        "asks that the parent hash of every leaf fit the nodes above it as they are now"
    ]
    # The same words in a group without such a leaf are another fault.
    blank, joined = admitted(rfc9420, BLANK, members)
    assert joined is None
    assert reasons(error, case(blank.group.group_info(with_tree=True))) == []


def admitted(peer: Peer, tree: str, members: int) -> tuple[Host, PeerError | None]:
    peer.call("client", client="r", suite=1, identity=b"r", private=False)
    package = peer.call("key_package", client="r")["key_package"]
    after, invitation = Host.of(tree, 1, members, GROUP_ID).admit(package, tree_in_welcome=True)
    try:
        peer.call("join", client="r", welcome=invitation.welcome, tree=None)
    except PeerError as error:
        return after, error
    return after, None


def test_it_takes_who_joins_from_outside_for_leaf_0(rfc9420: Peer) -> None:
    pair = Pair(rfc9420)
    pair.client(pair.ours, "j")
    joined = pair.ours.call("join_external", client="j", group_info=pair.group_info(), tree=None, resync=False, psk=[])
    pair.ours.call("process", client="m", message=joined["commit"])
    with pytest.raises(PeerError, match="invalid signature") as caught:
        rfc9420.call("process", client="r", message=joined["commit"])
    met = case(pair.group_info(), message=joined["commit"], ask_author=lambda op, **_: {"leaf": 2})
    assert len(reasons(caught.value, met)) == 1
    for leaf in (0, 1):
        assert reasons(caught.value, replace(met, ask_author=lambda op, leaf=leaf, **_: {"leaf": leaf})) == []


def test_it_commits_again_what_others_have_committed(rfc9420: Peer) -> None:
    pair = Pair(rfc9420)
    for name in "ab":
        pair.client(pair.ours, name)
    package, other = (pair.ours.call("key_package", client=name)["key_package"] for name in "ab")
    proposal = pair.ours.call("propose", client="m", kind="add", key_package=package)["proposal"]
    rfc9420.call("process", client="r", message=proposal)
    plain = {"add": [], "remove": [], "psk": [], "path": False, "tree_in_welcome": False}
    done = pair.ours.call("commit", client="m", **plain)
    rfc9420.call("process", client="r", message=done["commit"])
    with pytest.raises(PeerError, match="client already in the group") as caught:
        pair.add(other)
    met = case(pair.group_info(), added=[other], earlier=[proposal])
    assert len(reasons(caught.value, met)) == 1
    assert reasons(caught.value, replace(met, added=[package])) == []
    assert reasons(caught.value, replace(met, earlier=[])) == []


def test_it_has_a_bare_key_in_its_group_info(rfc9420: Peer) -> None:
    """So nobody whose engine reads the extension external_pub joins by its Welcome."""
    openmls = starter(["OpenMLS"])()["OpenMLS"]
    met = case(b"", author="rfc9420", ask_author=lambda op, **fields: rfc9420.call(op, client="r", **fields))
    refused = 0
    for _ in range(3):  # one key in 256 begins like a vector of its size
        pair = Pair(rfc9420)
        pair.client(openmls, "o")
        made = pair.add(openmls.call("key_package", client="o")["key_package"])
        try:
            openmls.call("join", client="o", welcome=made["welcome"], tree=None)
        except PeerError as error:
            refused += 1
            assert len(reasons(error, met)) == 1
            assert reasons(error, replace(met, author="mlsrtc")) == []
    openmls.close()
    assert refused
