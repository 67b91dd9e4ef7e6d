"""The same histories with ts-mls, and where ts-mls departs from the standard: so that a new version that mends it is
noticed, and `known.py`, its `unsupported` and `founder_stays` can go."""

import pytest
from engines import Missing, starter
from history import check
from peers import PeerError
from steps import APPLICATION, WEIGHTS, Plan

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.mls import Client, SigningKey, inspect_commit
from wanting import wanting

SHARES = {"mlsrtc": 1, "ts-mls": 1}


@pytest.fixture(autouse=True)
def node() -> None:
    """Node is needed here; whoever has none is told so. CI has it, and fails without."""
    try:
        starter(["ts-mls"])()["ts-mls"].close()
    except Missing as missing:
        wanting(str(missing))


@pytest.mark.parametrize(
    ("plan", "seed", "operations"),
    [
        pytest.param(Plan(1, SHARES, most=8, founder_stays=True), 1, 75, id="suite 1"),
        pytest.param(Plan(1, SHARES, most=8, founder_stays=True, private=True), 3, 70, id="suite 1, private"),
    ],
)
def test_histories_with_ts_mls(plan: Plan, seed: int, operations: int) -> None:
    party = check(plan, seed, 80, starter(["mlsrtc", "ts-mls"]))
    assert party.operations.total() >= operations
    assert party.operations.keys() == WEIGHTS.keys()
    assert party.commits["ts-mls"] >= 10


def test_a_history_with_extensions_and_own_proposals() -> None:
    plan = Plan(1, SHARES, most=8, founder_stays=True, weights=APPLICATION)
    party = check(plan, 1, 80, starter(["mlsrtc", "ts-mls"]))
    assert party.operations.total() >= 70
    assert min(party.operations[kind] for kind in APPLICATION.keys() - WEIGHTS.keys()) >= 4
    assert party.commits["ts-mls"] >= 10


def test_ts_mls_commits_extensions_of_the_group_without_a_path() -> None:
    """RFC 9420 section 17.4 has a path required for them: so ts-mls follows such commits, and makes none."""
    peers = starter(["mlsrtc", "ts-mls"])()
    for name, peer in peers.items():
        peer.call("client", client=name, suite=1, identity=name.encode(), private=False, custom=True)
    ours, theirs = peers["mlsrtc"], peers["ts-mls"]
    ours.call("create", client="mlsrtc", group_id=b"group")
    plain = {"add": [], "remove": [], "psk": [], "path": False, "tree_in_welcome": False}
    package = theirs.call("key_package", client="ts-mls")["key_package"]
    made = ours.call("commit", client="mlsrtc", **plain | {"add": [package]})
    theirs.call("join", client="ts-mls", welcome=made["welcome"], tree=made["tree"])
    extensions = {"kind": "context_extensions", "data": b"data", "sender": None}
    commit = theirs.call("commit", client="ts-mls", by_value=[extensions], **plain)["commit"]
    assert inspect_commit(commit).path_leaf is None
    with pytest.raises(PeerError, match="mlsrtc cannot process"):
        ours.call("process", client="mlsrtc", message=commit)
    for peer in peers.values():
        peer.close()


def test_ts_mls_writes_external_pub_without_its_length() -> None:
    """RFC 9420 section 12.4.3.2 has `HPKEPublicKey external_pub`, a vector: so nobody joins by its GroupInfo."""
    peer = starter(["ts-mls"])()["ts-mls"]
    peer.call("client", client="ts", suite=1, identity=b"ts", private=False)
    peer.call("create", client="ts", group_id=b"group")
    info = peer.call("group_info", client="ts", with_tree=True)["group_info"]
    peer.close()
    with pytest.raises(RemoteProtocolError):  # the reason depends on the key's first byte, taken for a length
        Client(b"joiner", SigningKey.generate()).join_external(info)
    assert b"\0\4\x20" in info  # extension external_pub of 32 bytes, which are 33 with a length before the key


def test_ts_mls_takes_a_blank_left_half_for_a_step_of_the_path() -> None:
    """RFC 9420 section 7.4 ratchets the path secret along the filtered direct path, which leaves out a root whose
    other half is blank. ts-mls ratchets once more for it, and has another commit secret than the rest."""
    peers = starter(["mlsrtc", "ts-mls"])()
    at = {"a": peers["mlsrtc"], "b": peers["mlsrtc"], "ts": peers["ts-mls"], "c": peers["mlsrtc"]}
    for name, peer in at.items():
        peer.call("client", client=name, suite=1, identity=name.encode(), private=False)
    at["a"].call("create", client="a", group_id=b"group")
    packages = [at[name].call("key_package", client=name)["key_package"] for name in ("b", "ts", "c")]
    plain = {"psk": [], "path": False, "tree_in_welcome": False}
    made = at["a"].call("commit", client="a", add=packages, remove=[], **plain)
    for name in ("b", "ts", "c"):
        at[name].call("join", client=name, welcome=made["welcome"], tree=made["tree"])
    removal = at["ts"].call("commit", client="ts", add=[], remove=[0, 1], **plain)
    with pytest.raises(PeerError, match="bad_confirmation_tag"):
        at["c"].call("process", client="c", message=removal["commit"])
    for peer in peers.values():
        peer.close()
