"""Promise 9: a leaf without a binding or trust that checks is accepted by nobody, whatever the homeserver says.

Strangers of three kinds take part as hard as they can: with a real session, real memberships, and external commits when
nobody adds them. What no device's key has signed never becomes a leaf; what no user's key has signed is never sent to.
"""

from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from test_promises import churn

from mlsrtc.identifiers import MemberId
from mlsrtc.notices import EpochChanged, NotAddable, OwnMasterKeyChanged
from mlsrtc.policy import Policy, Trust
from mlsrtc.testing import LabUser
from mlsrtc.testing.room import StoredEvent
from mlsrtc.testing.schedule import make_peace, play
from mlsrtc.wire import names
from searching import CAMPAIGN
from watching import Watch, Watched, refusals

STRANGER = 4


def invented(watch: Watch, index: int) -> None:
    """The homeserver invents a device for a user, with a master key of its own making."""
    matrix = watch.party[index].matrix
    false = LabUser(matrix.user_id, b"the homeserver's own seed")
    watch.disguise(index, false.add_device(matrix.device_id))


KINDS = {"impostor": Watch.impostor, "not cross-signed": Watch.not_cross_signed, "invented": invented}


class Crooked(Watched):
    """The stranger's session shuts its eyes to false signatures of devices, its own to begin with."""

    def __getattribute__(self, name: str) -> Any:
        verb = super().__getattribute__(name)
        if name not in ("receive", "tick", "join") or self.device.index != STRANGER:
            return verb

        def blind(*arguments: Any) -> None:
            with patch("mlsrtc.wire.binding.verify_ed25519"):
                verb(*arguments)

        return blind


def ghosts(watch: Watch) -> set[MemberId]:
    """Everybody that the stranger has been."""
    return watch.ledgers[STRANGER].identities


def timeline(watch: Watch) -> list[StoredEvent]:
    return watch.world.servers["one.test"].room.timeline


def check(watch: Watch, *, leaf: bool) -> None:
    """Nobody but the stranger began to send where it can hear, or was told its key; `leaf`: it may have got as far as a
    leaf."""
    for index, ledger in enumerate(watch.ledgers):
        if index == STRANGER:
            continue
        for switch in ledger.switches:
            assert ghosts(watch).isdisjoint(ledger.epochs[switch.id].members)
        assert all(ghosts(watch).isdisjoint(keys) for keys in ledger.keys.values())
        if not leaf:
            assert all(ghosts(watch).isdisjoint(epoch.members) for epoch in ledger.epochs.values())
    watch.check()


@pytest.mark.parametrize("seed", range(3 * CAMPAIGN))
@pytest.mark.parametrize("kind", ["impostor", "not cross-signed"])
def test_a_stranger_gets_nothing_and_disturbs_nobody_for_long(kind: str, seed: int) -> None:
    watch = Watch(5, seed, watched=Crooked)
    KINDS[kind](watch, STRANGER)
    watch.party.join(STRANGER, after=0.5)
    for index in range(4):
        watch.party.join(index, after=index / 4)
    watch.party.run(60)
    for index in range(4):
        watch.party.leave(index, after=3.0 * index)
        watch.party.join(index, after=3.0 * index + 2)
    watch.party.run(30)
    check(watch, leaf=kind != "impostor")
    others = [watch.ledgers[index] for index in range(4)]
    tried = {
        stored.event.type for stored in timeline(watch) if stored.event.sender == watch.party[STRANGER].matrix.user_id
    }
    assert {names.STATE_MEMBER, names.COMMIT} <= tried
    assert all(not ledger.muted for ledger in others)
    if kind == "impostor":
        assert "bad_signature" in {error.reason for error in refusals(watch.party)}
        assert len({watch.session(index).epoch_id for index in range(4)}) == 1
    else:
        assert all(ledger.notices(NotAddable) for ledger in others)


@pytest.mark.parametrize("seed", range(3 * CAMPAIGN))
def test_a_user_that_is_pinned_cannot_be_impersonated_by_its_homeserver(seed: int) -> None:
    watch = Watch(5, seed)
    watch.join_all()
    watch.party.leave(STRANGER)
    watch.until_agreed(4)
    before = set(ghosts(watch))
    watch.kill(STRANGER)
    invented(watch, STRANGER)
    watch.party.join(STRANGER)
    watch.party.run(60)
    false = ghosts(watch) - before
    assert false
    for ledger in watch.ledgers[:STRANGER]:
        assert all(false.isdisjoint(ledger.epochs[switch.id].members) for switch in ledger.switches)
        assert all(false.isdisjoint(keys) for keys in ledger.keys.values())
        assert {notice.reason for notice in ledger.notices(NotAddable)} <= {"master_changed", "two_masters"}
        assert ledger.notices(NotAddable)
    watch.check()


@pytest.mark.parametrize("seed", range(3 * CAMPAIGN))
def test_our_own_homeserver_cannot_add_a_device_of_our_own_user(seed: int) -> None:
    """It answers keys/query with a master key of its own making, under which it puts our device and a further one."""
    watch = Watch(3, seed, devices_per_user=2)
    for index in (0, 2):
        watch.party.join(index)
    watch.until_agreed(2)
    ours = watch.party[0].matrix
    false = LabUser(ours.user_id, b"the homeserver's own seed")
    ghost = false.add_device(watch.party[1].matrix.device_id)
    signature = {f"ed25519:{false.self_signing.name}": false.self_signing.sign_json(ours.keys)}
    taken = {**ours.keys, "signatures": {ours.user_id: {**ours.keys["signatures"][ours.user_id], **signature}}}
    answer = false.keys()
    watch.party[1].matrix = ghost
    answer["device_keys"][ours.user_id][ours.device_id] = taken
    watch.world.log_in(ghost.name, keys=answer)
    watch.party.join(1)
    watch.party.run(60)
    assert watch.ledgers[0].notices(OwnMasterKeyChanged) == [OwnMasterKeyChanged(false.master.public)]
    assert watch.ledgers[1].identities
    for ledger in (watch.ledgers[0], watch.ledgers[2]):
        assert all(watch.ledgers[1].identities.isdisjoint(ledger.epochs[at.id].members) for at in ledger.switches)
        assert all(watch.ledgers[1].identities.isdisjoint(keys) for keys in ledger.keys.values())
        assert not ledger.muted
    watch.check()


@pytest.mark.parametrize("seed", range(4 * CAMPAIGN))
@pytest.mark.parametrize("kind", ["impostor", "not cross-signed"])
def test_a_stranger_gets_nothing_in_any_churn(kind: str, seed: int) -> None:
    watch = Watch(5, seed, servers=2, watched=Crooked)
    KINDS[kind](watch, STRANGER)
    watch.party.join(STRANGER)
    play(watch.party, churn(Random(seed), 40))
    make_peace(watch.party)
    watch.party.run(30)
    check(watch, leaf=kind != "impostor")


def test_any_device_is_flagged_and_not_refused() -> None:
    watch = Watch(5, policy=Policy(trust=Trust.ANY_DEVICE))
    watch.not_cross_signed(STRANGER)
    watch.join_all()
    assert all(ledger.notices(EpochChanged)[-1].members for ledger in watch.ledgers)
    watch.check()
