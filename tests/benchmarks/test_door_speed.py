"""That the benchmark of the door measures what it says, in groups of a few."""

import pytest
import twins
from door_engines import OPERATIONS, VICTIM, Times, measured
from door_floor import History, counts, floor
from door_group import BLANK, SET, Host, newcomer, package
from door_native import Scene
from door_speed import binding, tables, told

from mlsrtc.mls import Group


def let_in(host: Host, *, tree_in_welcome: bool) -> tuple[Host, Group]:
    client = newcomer(host.group.suite)
    key_package = client.key_package()
    after, invitation = host.admit(key_package.public, tree_in_welcome=tree_in_welcome)
    return after, client.join(invitation.welcome, key_package, tree=invitation.tree)


def sealed(commit: bytes) -> list[int]:
    """To how many keys each secret of a commit's path is sealed."""
    path = twins.MLSMessage.decode(commit).body.content.body.path
    return [len(node.encrypted_path_secret) for node in path.nodes]


@pytest.mark.parametrize("suite", [1, 2])
def test_a_welcome_written_anew_lets_in_with_the_tree_inside(suite: int) -> None:
    host, joined = let_in(Host.of(SET, suite, 3, b"group"), tree_in_welcome=True)
    assert joined.epoch_authenticator() == host.group.epoch_authenticator()


@pytest.mark.parametrize("tree", [SET, BLANK])
@pytest.mark.parametrize("members", [5, 9, 10, 40])
def test_the_floor_counts_the_keys_that_real_commits_seal_to(tree: str, members: int) -> None:
    host, engine = let_in(Host.of(tree, 1, members - 2, b"group"), tree_in_welcome=False)
    history = History.of(tree, members)
    assert (host.group.own_leaf, engine.own_leaf) == (history.host, history.engine)
    for group, leaf in ((host.group, history.host), (engine, history.engine)):
        for _ in range(2):
            removal = group.commit(remove=[VICTIM])
            group = removal.group.commit(add=[package(1)]).group
        assert sealed(removal.message) == [seals for _, seals in History.of(tree, members).steady(leaf)]


def test_every_operation_of_ours_has_a_figure_and_a_floor_but_saving() -> None:
    times = measured(SET, 5, ["mlsrtc"])["mlsrtc"]
    assert set(times) == set(OPERATIONS)
    assert all(one.median for one in times.values())
    primitives = dict.fromkeys({name for counted in counts(SET, 5).values() for name in counted}, 1)
    assert {name for name, counted in counts(SET, 5).items() if floor(counted, primitives)} == {*OPERATIONS} - {"save"}


def test_the_tables_name_every_gap() -> None:
    ours = dict.fromkeys(OPERATIONS, told(Times([3_000_000, 2_000_000])))
    theirs = dict.fromkeys(OPERATIONS, told(Times(gap="it has none")))
    found = {"engines": {SET: {"5": {"ours": ours, "theirs": theirs}}}, "floor": {SET: {"5": {"join": {"ns": 1e6}}}}}
    lines = tables(found).splitlines()
    assert "| join | 2.00\\* | (1) | 1.00 |" in lines
    assert lines[-1] == "(1) it has none"


def test_the_calls_that_are_compared_with_rust_all_work() -> None:
    for call in Scene.of(5).calls().values():
        call()


def test_a_bindings_verdict_says_at_which_sizes_and_takes_no_luck_for_speed() -> None:
    assert binding({"10": 0.2, "50": -2.9}) == "met"
    assert binding({"10": 1.9, "50": 5.5, "200": 5.3}) == "met at n=10; **missed** at n=50, 200"
    assert binding({"10": 7.6, "50": 11.0}) == "**missed**"
    assert binding({"10": -27.7, "50": 25.6}) == "neither shown nor refuted"
    assert binding({"10": 0.0, "50": -7.2}) == "met at n=10; neither shown nor refuted at n=50"
