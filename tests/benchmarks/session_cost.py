"""What a leave costs every device in processor time, without a homeserver and without nio: sessions in memory.

N sessions of one call on the homeserver in memory; one device after another leaves and comes back. Told is the time
of `receive`, `tick`, `checkpoint` and what they call, of all who stay, for one leave. `--profile` shows where it goes.
"""

import argparse
import cProfile
import time
from collections.abc import Mapping
from random import Random
from typing import Any

from stage import add_leaves, add_output, hottest, hottest_text, machine, put_out, say, spread, table

from mlsrtc.cli.demo.scenario import SLOT
from mlsrtc.identifiers import RoomId
from mlsrtc.policy import Policy
from mlsrtc.session import Session
from mlsrtc.testing.device import PartyDevice
from mlsrtc.testing.limits import Limits
from mlsrtc.testing.party import Party
from mlsrtc.wire.incoming import Now


def make_session(device: PartyDevice, records: Mapping[str, bytes], now: Now) -> Session:
    """A device's session with the default policy."""
    return Session(device.matrix, RoomId(device.world.room_id), SLOT, policy=Policy(), now=now, records=records)


def epoch(device: PartyDevice) -> Any:
    """Where a device stands."""
    return device.session.epoch_id  # type: ignore[attr-defined]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    started = machine()
    party = Party(make_session, devices=options.n, random=Random(1), limits=Limits.generous())
    for device in party.devices:
        party.join(device.index)
    party.run_until(lambda: settled(party, options.n), timeout=60)
    party.run(5)
    profile = cProfile.Profile() if options.profile else None
    costs = []
    for turn in range(options.leaves):
        leaver = 1 + turn % (options.n - 1)
        began = time.process_time()
        if profile:
            profile.enable()
        party.leave(leaver)
        party.run(0.001)
        party.run_until(lambda: settled(party, options.n - 1), timeout=30)
        if profile:
            profile.disable()
        costs.append(time.process_time() - began)
        party.run(5)
        party.join(leaver)
        party.run_until(lambda: settled(party, options.n), timeout=30)
        party.run(5)
        say(f"leave {turn + 1}: {costs[-1] * 1000:.0f} ms", quiet=options.quiet)
    facts = {
        "n": options.n,
        "machine": started,
        "profiled": bool(profile),
        "milliseconds_per_leave": spread([cost * 1000 for cost in costs]),
        "milliseconds_per_leave_and_device": spread([cost * 1000 / (options.n - 1) for cost in costs]),
    }
    return facts | ({"profile": hottest(profile, options.leaves)} if profile else {})


def settled(party: Party, members: int) -> bool:
    """Whether all who are present stand on one epoch that has exactly so many members."""
    if not party.present() or not party.agree(epoch):
        return False
    first: Any = party.present()[0].session
    return len(first.known.archive.judged[first.epoch_id].committed.leaves) == members


def describe(facts: dict[str, Any]) -> str:
    """The short table."""
    rows = [["what", "median", "least", "most"]]
    for name in ("milliseconds_per_leave", "milliseconds_per_leave_and_device"):
        rows.append([name.replace("_", " "), *(f"{facts[name][key]:.2f}" for key in ("median", "least", "most"))])
    parts = [table(rows)]
    return "\n\n".join([*parts, *hottest_text(facts)])


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_leaves(parser, 5)
    add_output(parser)
    options = parser.parse_args()
    facts = measure(options)
    put_out(options, facts, describe(facts))


if __name__ == "__main__":
    main()
