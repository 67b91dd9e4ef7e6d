"""How frames fare, as a cryptor says it: what is told of it, whom the call is to ask, and which keys are set anew."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from mlsrtc.identifiers import DeviceId, MemberId, UserId
from mlsrtc.session import CallMember

pytest.importorskip("livekit.rtc", reason="the extra `test` installs LiveKit")

from mlsrtc.adapters.livekit import Decryption, DecryptionChanged, states
from mlsrtc.adapters.livekit.states import States

ANN, BEN = "@ann:one.test:D", "@ben:one.test:D"
BENS = MemberId("ben")


class Watch:
    """A call with Ben, and what the states of one connection have done."""

    def __init__(self) -> None:
        self.members = {BEN: CallMember(BENS, UserId("@ben:one.test"), DeviceId("D"), keyed=True)}
        self.told: list[Any] = []
        self.marked: list[bool] = []
        self.anew: list[float] = []  # when Ben's keys were set anew
        call: Any = self
        self.states = States(call, lambda: self.members, self.set_anew)

    def set_anew(self, identity: str) -> None:
        assert identity == BEN
        self.anew.append(asyncio.get_running_loop().time())

    def tell(self, notice: Any) -> None:
        self.told.append(notice)

    def mark_heard(self, member_id: MemberId, *, heard: bool) -> None:
        assert member_id == BENS
        self.marked.append(heard)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "ANEW_SECONDS", 0.02)


async def test_each_change_is_told_once_and_whom_we_do_not_hear_to_the_call() -> None:
    watch = Watch()
    changes = [Decryption.NO_KEY, Decryption.OK, Decryption.FAILED, Decryption.BROKEN]
    for state in changes:
        for _ in range(2):
            watch.states.tell(BEN, state)
    assert [one.state for one in watch.told] == changes
    assert watch.marked == [False, True, False, True], "no key mends a cryptor that is broken"


async def test_while_somebody_fails_its_keys_are_set_anew_and_not_longer() -> None:
    watch = Watch()
    watch.states.tell(BEN, Decryption.NO_KEY)
    await asyncio.sleep(0.1)
    assert not watch.anew, "what is not there cannot be set"
    for _ in range(2):
        watch.anew.clear()
        watch.states.tell(BEN, Decryption.FAILED)
        watch.states.tell(BEN, Decryption.NO_KEY)
        watch.states.tell(BEN, Decryption.FAILED)
        async with asyncio.timeout(5):
            while len(watch.anew) < 4:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.005)
        gaps = [after - before for before, after in pairwise(watch.anew)]
        assert min(gaps) > 0.9 * states.ANEW_SECONDS, "each has the SDK try frames that do not open"
        watch.states.tell(BEN, Decryption.OK)
        watch.anew.clear()
        await asyncio.sleep(0.1)
        assert not watch.anew


@pytest.mark.parametrize("over", ["forgotten", "closed"])
async def test_who_is_gone_does_not_fail(over: str) -> None:
    watch = Watch()
    watch.states.tell(BEN, Decryption.FAILED)
    watch.states.close() if over == "closed" else watch.states.forget(BEN)
    assert watch.marked == [False, True]
    await asyncio.sleep(0.1)
    assert not watch.anew


async def test_who_becomes_a_member_later_is_marked_then() -> None:
    watch = Watch()
    members, watch.members = watch.members, {}
    watch.states.tell(BEN, Decryption.NO_KEY)
    assert watch.told == [DecryptionChanged(BEN, None, Decryption.NO_KEY)]
    assert not watch.marked
    watch.members = members
    watch.states.look()
    assert watch.marked == [False]


async def test_ours_are_told_and_nothing_is_done_about_them() -> None:
    watch = Watch()
    watch.states.tell(ANN, Decryption.FAILED, ours=True)
    await asyncio.sleep(0.1)
    assert watch.told == [DecryptionChanged(ANN, None, Decryption.FAILED)]
    assert not watch.marked
    assert not watch.anew
