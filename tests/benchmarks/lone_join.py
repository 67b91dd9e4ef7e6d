"""What a lone join costs: events in the room, and the time to the joiner's keys in round trips of one plain event.

A call of one is watched first: it sends no commit. Then one device joins a standing call, leaves, and joins again.
Before each join the same device plays plain events with a device that stands. A *trip* is the time from its PUT until
the other's sync brings the event; a *round trip* is the time until the other's answer, sent at once, is back in its own
sync. The goals are two round trips at most, and one room event besides the membership.
"""

import argparse
import asyncio
import time
from statistics import median
from typing import Any

import nio
from stage import CALM, PROBE, Seat, Stage, add_output, machine, put_out, say, spread, staged, table

from mlsrtc.wire import names

ALONE = 5.0  # seconds that a call of one is watched


async def watch_one(stage: Stage) -> dict[str, int]:
    """The events of a call of one, by type."""
    since = time.monotonic()
    await stage.join(stage.seats[0])
    await asyncio.sleep(ALONE)
    return dict(stage.events_since(since))


async def round_trip(stage: Stage, seat: Seat, other: Seat) -> tuple[float, float]:
    """Seconds until a plain event of `seat` is in the other's sync, and until the answer to it is in its own."""
    answers: list[asyncio.Task[str]] = []
    seen = set(other.seen)

    def answer(_: nio.MatrixRoom, event: nio.Event) -> None:
        if event.source["type"] == PROBE and event.event_id not in seen and event.sender == seat.transport.user_id:
            seen.add(event.event_id)
            answers.append(asyncio.create_task(stage.probe(other)))

    other.device.client.add_event_callback(answer, nio.Event)
    since = time.monotonic()
    event_id = await stage.probe(seat)
    await stage.until("the other has answered", lambda: bool(answers))
    answer_id = await answers[0]
    await stage.until("the answer is back", lambda: answer_id in seat.seen)
    other.device.client.event_callbacks.pop()
    began = next(sent.began for sent in stage.sent if sent.event_id == event_id and sent.began >= since)
    return other.seen[event_id] - began, seat.seen[answer_id] - began


async def one_join(stage: Stage, joiner: Seat) -> dict[str, Any]:
    """One lone join into what stands, and back to it."""
    trips = [await round_trip(stage, joiner, stage.seats[turn % len(stage.present)]) for turn in range(3)]
    await asyncio.sleep(CALM)
    since = time.monotonic()
    await stage.join(joiner)
    await stage.until("the joiner has keys", lambda: bool(joiner.keys))
    await stage.agreed()
    await asyncio.sleep(CALM)
    events = dict(stage.events_since(since))
    join = stage.last_sent(names.STATE_MEMBER, since)
    commit = stage.last_sent(names.COMMIT, since)
    keyed = joiner.keys[0].at
    trip, there_and_back = (median(times) for times in zip(*trips, strict=True))
    joined_at_committer = stage.seats[commit.seat].seen[join.event_id or ""]
    commit_at_joiner = joiner.seen[commit.event_id or ""]
    await stage.leave(joiner)
    await stage.agreed()
    await asyncio.sleep(CALM)
    return {
        "trip": trip,
        "round_trip": there_and_back,
        "past_read": joiner.joined - joiner.entered,
        "join_to_membership_put": join.began - joiner.joined,
        "membership_trip": joined_at_committer - join.began,
        "committer": commit.began - joined_at_committer,
        "commit_trip": commit_at_joiner - commit.began,
        "welcome": keyed - commit_at_joiner,
        "join_to_keys": keyed - joiner.joined,
        "trips": (keyed - joiner.joined) / trip,
        "round_trips": (keyed - joiner.joined) / there_and_back,
        "events": events,
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run: for each size a call that stands, and joins into it."""
    facts: dict[str, Any] = {"machine": machine(), "joins": options.joins, "calls": {}}
    async with staged(max(options.standing) + 1, quiet=options.quiet) as stage:
        facts["call_of_one"] = await watch_one(stage)
        say(f"a call of one: {facts['call_of_one']}", quiet=options.quiet)
        joiner = stage.seats[-1]
        for size in sorted(options.standing):
            missing = [seat for seat in stage.seats[:size] if seat.call is None]
            await asyncio.gather(*(stage.join(seat) for seat in missing))
            await stage.agreed()
            await asyncio.sleep(CALM)
            joins = []
            for number in range(options.joins):
                joins.append(await one_join(stage, joiner))
                say(
                    f"{size} stand, join {number + 1}: {joins[-1]['join_to_keys']:.3f} s, "
                    f"{joins[-1]['round_trips']:.2f} round trips, {joins[-1]['events']}",
                    quiet=options.quiet,
                )
            steps = {name: spread([join[name] for join in joins]) for name in joins[0] if name != "events"}
            counts = [sum(join["events"].values()) for join in joins]
            facts["calls"][size] = {"steps": steps, "events": spread([float(n) for n in counts]), "each_join": joins}
    return facts


def describe(facts: dict[str, Any]) -> str:
    """The short table."""
    rows = [["devices that stand", "what", "median", "least", "most"]]
    texts = {
        "trip": "trip of a plain event, s",
        "round_trip": "round trip of a plain event and its answer, s",
        "join_to_keys": "Session.join → the joiner has keys, s",
        "trips": "the same in trips",
        "round_trips": "the same in round trips (goal 2)",
        "join_to_membership_put": "Session.join → PUT of the membership, s",
        "membership_trip": "PUT of the membership → the committer's sync brings it, s",
        "committer": "from there → PUT of the commit, s",
        "commit_trip": "PUT of the commit → the joiner's sync brings it, s",
        "welcome": "from there → the joiner has keys, s",
        "past_read": "reading the room's past before it, s",
    }
    for size, call in facts["calls"].items():
        for name, text in texts.items():
            part = call["steps"][name]
            rows.append([str(size), text, *(f"{part[key]:.3f}" for key in ("median", "least", "most"))])
        part = call["events"]
        rows.append(
            [str(size), "events in the room (goal 2)", *(f"{part[k]:.0f}" for k in ("median", "least", "most"))]
        )
    alone = ", ".join(f"{count} {kind}" for kind, count in facts["call_of_one"].items())
    return f"a call of one, watched for {ALONE:.0f} s: {alone}\n\n{table(rows)}"


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--standing", type=int, nargs="+", default=[2, 12], metavar="N", help="sizes (default 2 12)")
    parser.add_argument("--joins", type=int, default=5, help="joins into each (default 5)")
    add_output(parser)
    options = parser.parse_args()
    facts = asyncio.run(measure(options))
    put_out(options, facts, describe(facts))


if __name__ == "__main__":
    main()
