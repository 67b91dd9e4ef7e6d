"""How long after a leave does everyone who stays have new keys, beside what one plain event takes in the same run?

One device after another leaves a call of N and comes back. The floor is the time in which one plain room event reaches
all devices' syncs, plus one trip of such an event to the committer; the goal is at most 1.5 times the floor. A leave is
a state event, which costs a homeserver more for every sync than a plain one: the floor in which the first trip is made
by a plain state event is told beside it.
"""

import argparse
import asyncio
import cProfile
import time
from statistics import median
from typing import Any

from stage import (
    CALM,
    PROBE,
    Seat,
    Stage,
    add_leaves,
    add_output,
    hottest,
    hottest_text,
    machine,
    nearest_rank,
    processor_seconds,
    put_out,
    say,
    set_aside,
    spread,
    staged,
    table,
)

from mlsrtc.wire import names

STEPS = (
    ("leave_answered", "the homeserver answers the leave"),
    ("leave_at_committer", "the committer's sync brings the leave"),
    ("commit_begun", "the committer's PUT of the commit begins"),
    ("commit_answered", "the homeserver answers the commit"),
    ("commit_first", "the first sync brings the commit"),
    ("commit_median", "half of the syncs have brought it"),
    ("commit_last", "all syncs have brought it"),
    ("keys_first", "the first application has the keys"),
    ("keys_median", "half of the applications have them"),
    ("keys_last", "all have them"),
)


async def one_leave(stage: Stage, leaver: Seat) -> dict[str, float]:
    """Times of one leave, in seconds from the call of `Call.leave`; processor seconds of both sides."""
    member = leaver.member
    stayers = [seat for seat in stage.present if seat is not leaver]
    ours, theirs = time.process_time(), processor_seconds(stage.server.pid)
    began = time.monotonic()
    leaving = asyncio.create_task(stage.leave(leaver))

    def first_keys(seat: Seat) -> float | None:
        return next((keys.at for keys in seat.keys if keys.at > began and member not in keys.members), None)

    await stage.until("all who stay have new keys", lambda: all(first_keys(seat) for seat in stayers))
    ours, theirs = time.process_time() - ours, processor_seconds(stage.server.pid) - theirs
    await leaving
    keyed = sorted(at for seat in stayers if (at := first_keys(seat)) is not None)
    leave = stage.last_sent(names.STATE_MEMBER, began)
    await stage.until(
        "the commit was answered", lambda: any(s.type == names.COMMIT for s in stage.sent if s.began > began)
    )
    commits = [sent for sent in stage.sent if sent.type == names.COMMIT and sent.began > began]
    commit = commits[0]
    seen = sorted(seat.seen[commit.event_id] for seat in stayers if commit.event_id in seat.seen)
    committer = stage.seats[commit.seat]
    times = {
        "leave_answered": leave.answered,
        "leave_at_committer": committer.seen[leave.event_id or ""],
        "commit_begun": commit.began,
        "commit_answered": commit.answered,
        "commit_first": seen[0],
        "commit_median": median(seen),
        "commit_last": seen[-1],
        "keys_first": keyed[0],
        "keys_median": median(keyed),
        "keys_last": keyed[-1],
    }
    return {name: at - began for name, at in times.items()} | {
        "commits": float(len(commits)),
        "our_processor": ours,
        "synapse_processor": theirs,
    }


async def one_probe(stage: Stage, sender: Seat, *, state: bool = False) -> dict[str, float]:
    """Times in which a plain event or state event reaches the first, the median and the last of all devices' syncs."""
    ours, theirs = time.process_time(), processor_seconds(stage.server.pid)
    since = time.monotonic()
    event_id = await stage.probe(sender, state=state)
    ours, theirs = time.process_time() - ours, processor_seconds(stage.server.pid) - theirs
    began = stage.last_sent(PROBE, since).began
    seen = sorted(seat.seen[event_id] - began for seat in stage.present)
    return {
        "first": seen[0],
        "median": median(seen),
        "last": seen[-1],
        "our_processor": ours,
        "synapse_processor": theirs,
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    facts: dict[str, Any] = {"n": options.n, "leaves": options.leaves, "machine": machine()}
    profile = cProfile.Profile() if options.profile else None
    async with staged(options.n, quiet=options.quiet) as stage:
        say("everybody joins", quiet=options.quiet)
        await asyncio.gather(*(stage.join(seat) for seat in stage.seats))
        await stage.agreed()
        await asyncio.sleep(CALM)
        set_aside()
        leaves, probes, state_probes = [], [], []
        for turn in range(options.leaves):
            leaver = stage.seats[1 + turn % (options.n - 1)]
            probes.append(await one_probe(stage, stage.seats[(turn + 2) % options.n]))
            await asyncio.sleep(CALM)
            state_probes.append(await one_probe(stage, stage.seats[0], state=True))
            await asyncio.sleep(CALM)
            if profile:
                profile.enable()
            leaves.append(await one_leave(stage, leaver))
            if profile:
                profile.disable()
            await stage.agreed()
            await asyncio.sleep(CALM)
            await stage.join(leaver)
            await stage.agreed()
            await asyncio.sleep(CALM)
            say(
                f"leave {turn + 1}: {leaves[-1]['keys_last']:.3f} s, plain event {probes[-1]['last']:.3f} s",
                quiet=options.quiet,
            )
    keyed = [leave["keys_last"] for leave in leaves]
    last, trip, state_trip = (
        median(probe[name] for probe in some)
        for name, some in (("last", probes), ("median", probes), ("median", state_probes))
    )
    floor = last + trip
    facts |= {
        "leave_to_keys": {"p50": round(nearest_rank(keyed, 50), 4), "p99": round(nearest_rank(keyed, 99), 4)},
        "plain_state_event": {name: spread([probe[name] for probe in state_probes]) for name in state_probes[0]},
        "floor_with_state_event": round(last + state_trip, 4),
        "ratio_with_state_event_p50": round(nearest_rank(keyed, 50) / (last + state_trip), 3),
        "plain_event": {name: spread([probe[name] for probe in probes]) for name in probes[0]},
        "floor": round(floor, 4),
        "ratio_p50": round(nearest_rank(keyed, 50) / floor, 3),
        "ratio_p99": round(nearest_rank(keyed, 99) / floor, 3),
        "steps": {name: spread([leave[name] for leave in leaves]) for name in leaves[0]},
        "each_leave": leaves,
        "each_probe": probes,
        "each_state_probe": state_probes,
        "profiled": bool(profile),
    }
    if profile:
        facts["profile"] = hottest(profile, options.leaves)
    return facts


def describe(facts: dict[str, Any]) -> str:
    """The short table."""
    plain, steps = facts["plain_event"], facts["steps"]
    rows = [
        ["what", "seconds"],
        ["leave → all who stay have the keys, p50", f"{facts['leave_to_keys']['p50']:.3f}"],
        ["leave → all who stay have the keys, p99", f"{facts['leave_to_keys']['p99']:.3f}"],
        ["a plain event reaches all syncs (median)", f"{plain['last']['median']:.3f}"],
        ["a plain event reaches a device, the median one (median)", f"{plain['median']['median']:.3f}"],
        ["floor: the two together", f"{facts['floor']:.3f}"],
        ["p50 / floor (goal 1.5)", f"{facts['ratio_p50']:.2f}"],
        ["p99 / floor", f"{facts['ratio_p99']:.2f}"],
        ["a plain state event reaches the median device", f"{facts['plain_state_event']['median']['median']:.3f}"],
        ["p50 / the floor whose first trip is a state event's", f"{facts['ratio_with_state_event_p50']:.2f}"],
        ["processor time per leave, all devices (median)", f"{steps['our_processor']['median']:.3f}"],
        ["processor time per leave, Synapse (median)", f"{steps['synapse_processor']['median']:.3f}"],
        ["processor time per plain event, all devices (median)", f"{plain['our_processor']['median']:.3f}"],
        ["processor time per plain event, Synapse (median)", f"{plain['synapse_processor']['median']:.3f}"],
        ["commits per leave (median, most)", f"{steps['commits']['median']:.0f}, {steps['commits']['most']:.0f}"],
    ]
    when = [["seconds after the leave until …", "median", "least", "most"]]
    when += [[text, *(f"{steps[name][part]:.3f}" for part in ("median", "least", "most"))] for name, text in STEPS]
    parts = [table(rows), table(when)]
    return "\n\n".join([*parts, *hottest_text(facts)])


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_leaves(parser, 20)
    add_output(parser)
    options = parser.parse_args()
    facts = asyncio.run(measure(options))
    put_out(options, facts, describe(facts))


if __name__ == "__main__":
    main()
