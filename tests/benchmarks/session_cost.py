"""What a leave and a join cost every device in processor time, without a homeserver and without nio.

N sessions of one call on the homeserver in memory; one device after another leaves and comes back. Told is the time
that the session of one device takes for one event and the commit that follows it: the mean of those who stay, and of
those who stood before, apart from the joiner's own. `--history M` measures again once M members have joined and left.
`--profile` shows where it goes.
"""

import argparse
import cProfile
import gc
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from stage import add_leaves, add_output, hottest, hottest_text, machine, put_out, say, set_aside, spread, table

from mlsrtc.cli.demo.scenario import SLOT
from mlsrtc.identifiers import RoomId
from mlsrtc.policy import Policy
from mlsrtc.session import Session
from mlsrtc.testing.device import PartyDevice
from mlsrtc.testing.limits import Limits
from mlsrtc.testing.party import Party
from mlsrtc.wire.incoming import Now

TEXTS = {
    "leave": "a leave, each who stays",
    "join": "a join, each who stood",
    "own_join": "a join, the joiner (it reads the past)",
}


SPENT: Counter[int] = Counter()
"""Processor seconds of each device's rounds, by its index: `receive`, `tick`, `checkpoint` and what they call."""


def clocked(device: PartyDevice) -> None:
    """One round of a device, its time counted."""
    began = time.process_time()
    pump(device)
    SPENT[device.index] += time.process_time() - began  # type: ignore[assignment]


pump, PartyDevice.pump = PartyDevice.pump, clocked  # type: ignore[method-assign]


def make_session(device: PartyDevice, records: Mapping[str, bytes], now: Now) -> Session:
    """A device's session with the default policy."""
    return Session(device.matrix, RoomId(device.world.room_id), SLOT, policy=Policy(), now=now, records=records)


def epoch(device: PartyDevice) -> Any:
    """Where a device stands."""
    return device.session.epoch_id  # type: ignore[attr-defined]


def turn(party: Party, leaver: int, profile: cProfile.Profile | None = None) -> dict[str, float]:
    """One device leaves and comes back; milliseconds by the names of `TEXTS`."""
    spent = {}
    for name, act, members in (("leave", party.leave, len(party) - 1), ("join", party.join, len(party))):
        before = SPENT.copy()
        if profile and name == "leave":
            profile.enable()
        gc.collect()
        gc.disable()  # One collection goes through N sessions here, and through one in a process of its own.
        act(leaver)
        party.run(0.001)
        party.run_until(lambda members=members: settled(party, members), timeout=30)  # type: ignore[misc]
        gc.enable()
        if profile:
            profile.disable()
        own = SPENT[leaver] - before[leaver]
        spent[name] = (SPENT.total() - before.total() - own) / (len(party) - 1) * 1000
        spent[f"own_{name}"] = own * 1000
        party.run(5)
    return spent


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    started = machine()
    party = Party(make_session, devices=options.n, random=Random(1), limits=Limits.generous())
    for device in party.devices:
        party.join(device.index)
    party.run_until(lambda: settled(party, options.n), timeout=60)
    party.run(5)
    profile = cProfile.Profile() if options.profile else None
    turns = 0

    def take(count: int, what: str, profile: cProfile.Profile | None = None) -> Sequence[dict[str, float]]:
        nonlocal turns
        spent = []
        for number in range(count):
            turns += 1
            spent.append(turn(party, 1 + turns % (options.n - 1), profile))
            if number % 50 == 0 or number == count - 1:
                say(f"{what} {number + 1}: {spent[-1]['leave']:.2f} ms per leave", quiet=options.quiet)
        return spent

    set_aside()
    costs = {"as it began": take(options.leaves, "leave", None if options.history else profile)}
    if options.history:
        take(options.history - options.leaves, "history")
        set_aside()
        costs[f"after {options.history} joins that left"] = take(options.leaves, "leave", profile)
    facts: dict[str, Any] = {"n": options.n, "machine": started, "profiled": bool(profile), "milliseconds": {}}
    for when, spent in costs.items():
        facts["milliseconds"][when] = {name: spread([one[name] for one in spent]) for name in TEXTS}
    return facts | ({"profile": hottest(profile, options.leaves)} if profile else {})


def settled(party: Party, members: int) -> bool:
    """Whether all who are present stand on one epoch that has exactly so many members."""
    if not party.present() or not party.agree(epoch):
        return False
    first: Any = party.present()[0].session
    return len(first.known.archive.judged[first.epoch_id].committed.leaves) == members


def describe(facts: dict[str, Any]) -> str:
    """The short table."""
    rows = [["the call", "milliseconds for", "median", "least", "most"]]
    for when, costs in facts["milliseconds"].items():
        for name, text in TEXTS.items():
            rows.append([when, text, *(f"{costs[name][key]:.2f}" for key in ("median", "least", "most"))])
    return "\n\n".join([table(rows), *hottest_text(facts)])


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_leaves(parser, 5)
    parser.add_argument("--history", type=int, default=0, help="measure again after so many members came and went")
    add_output(parser)
    options = parser.parse_args()
    facts = measure(options)
    put_out(options, facts, describe(facts))


if __name__ == "__main__":
    main()
