"""Every attack of `attacks`, on every victim: refused for the right reason and section, and without a trace."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest
from attacking import Attack, Attempt, Greeted, Offered, Proposed, Sent, Shown, Spoken
from attacks import ATTACKS, LAWFUL
from world import World

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import Group, Observer


@dataclass
class Victim:
    """Somebody whom an attempt reaches."""

    name: str
    reached: Callable[[], object]
    group: Group | None = None  # what it must have kept


def victims(world: World, attempt: Attempt) -> Iterator[Victim]:
    match attempt:
        case Sent():
            for leaf in attempt.victims:
                group = world.groups[leaf]
                yield Victim(f"member {leaf}", partial(sent, attempt, group), group)
        case Proposed():
            for leaf, group in world.groups.items():
                yield Victim(f"member {leaf}", partial(group.with_proposal, attempt.message), group)
        case Spoken():
            for leaf, group in world.groups.items():
                for message in attempt.before:
                    group = group.decrypt(message).group
                yield Victim(f"member {leaf}", partial(group.decrypt, attempt.message), group)
        case Offered():
            for leaf, group in world.groups.items():
                add = partial(group.commit, add=[attempt.key_package], now=attempt.now)
                yield Victim(f"member {leaf}", add, group)
        case Greeted():
            join = partial(attempt.newcomer.join, attempt.welcome, attempt.key_package)
            yield Victim("newcomer", partial(join, tree=attempt.tree, psks=dict(attempt.psks)))
        case Shown():
            join = partial(attempt.outsider.join_external, attempt.group_info)
            yield Victim("outsider", partial(join, tree=attempt.tree))
            yield Victim("observer", partial(Observer.observe, attempt.group_info, attempt.tree))


def sent(attempt: Sent, group: Group) -> object:
    for proposal in attempt.before:
        group = group.with_proposal(proposal)
    return group.stage(attempt.message, psks=dict(attempt.psks))


def sections(error: LocalProtocolError | RemoteProtocolError) -> list[str]:
    """The sections that an error names."""
    assert error.section.startswith("RFC 9420 section")
    return re.findall(r"\d+(?:\.\d+)*", error.section.removeprefix("RFC 9420"))


def ids(attack: Attack) -> str:
    return f"{attack.section} {attack.must}: {attack.how}"


@pytest.mark.parametrize("attack", ATTACKS, ids=ids)
def test_it_is_wrong_in_one_thing_only(attack: Attack) -> None:
    """Without that one thing, everybody takes it."""
    world = attack.world()
    for victim in victims(world, attack.make(world, False)):
        victim.reached()


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(one, id=ids(one), marks=[pytest.mark.xfail(reason=one.taken, strict=True)] if one.taken else [])
        for one in ATTACKS
    ],
)
def test_it_is_refused_without_a_trace(attack: Attack) -> None:
    world = attack.world()
    attempt = attack.make(world, True)
    genuine = {author: world.groups[author].commit() for author in (0, 1)}
    for victim in victims(world, attempt):
        with pytest.raises(LocalProtocolError if attack.asks else RemoteProtocolError) as caught:
            victim.reached()
        error = caught.value
        assert error.reason == attack.reason, victim.name
        assert (attack.told or attack.section) in sections(error), victim.name
        if victim.group is not None:
            made = genuine[1 if victim.group.own_leaf == 0 else 0]
            after = victim.group.stage(made.message).apply()
            assert after.epoch_authenticator() == made.group.epoch_authenticator()
            assert not victim.group.proposals


@pytest.mark.parametrize(
    "lawful",
    [pytest.param(one, id=ids(one), marks=pytest.mark.xfail(reason=one.refused, strict=True)) for one in LAWFUL],
)
def test_what_the_standard_allows_is_taken(lawful: Attack) -> None:
    world = lawful.world()
    for victim in victims(world, lawful.make(world, True)):
        victim.reached()


@pytest.mark.parametrize("lawful", LAWFUL, ids=ids)
def test_what_is_lawful_and_refused_all_the_same_leaves_no_trace(lawful: Attack) -> None:
    world = lawful.world()
    for victim in victims(world, lawful.make(world, False)):
        victim.reached()
    for victim in victims(world, lawful.make(world, True)):
        with pytest.raises(RemoteProtocolError) as caught:
            victim.reached()
        assert (caught.value.reason, lawful.told in sections(caught.value)) == (lawful.reason, True), victim.name
        if victim.group is not None:
            assert not victim.group.proposals


def test_there_is_an_attack_for_every_part_of_the_standard_that_binds_members() -> None:
    refused = [one for one in ATTACKS if not one.taken]
    assert len(refused) >= 60
    chapters = {int(one.section.split(".")[0]) for one in refused}
    assert chapters == {2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17}
