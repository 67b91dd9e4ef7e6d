"""What each of the five optimisations of key sharing costs and saves: the same calls with and without it.

    PYTHONPATH=python:tests:tests/keyshare python tests/benchmarks/key_sharing.py [-n 50] [--write]

The state machines are the real ones, in virtual time on the in-memory homeserver, 30 ms from each device to it. Counted
are messages with a key, one for each device that is sent one, and seconds. --write: docs/results/key-sharing.md.
"""

import argparse
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sharing import Sharers

from mlsrtc.policy import Policy
from mlsrtc.wire import names

PAGE = Path(__file__).parents[2] / "docs" / "results" / "key-sharing.md"
BURST = 5  # who leave one after the other
APART = 0.2  # seconds between two of them
ROUND_TRIP = 0.06


@dataclass(frozen=True)
class Row:
    """One optimisation: what happened, and its figures without and with it."""

    name: str
    scene: str
    without: str
    with_it: str


def standing(devices: int, policy: Policy, present: int | None = None) -> Sharers:
    """So many devices in a call, quiet for a while."""
    sharers = Sharers(devices, policy=policy)
    count = devices if present is None else present
    for index in range(count):
        sharers.party.join(index, after=0.02 * index)
    sharers.party.run(0.02 * count + 30)
    assert sharers.hear_each_other()
    return sharers


def sent(sharers: Sharers) -> int:
    return sharers.world.sent()[names.KEYS_ELEMENT]


def leaves(devices: int, policy: Policy) -> str:
    """A burst of leaves: messages, and how long the first leaver opens what the last device sends."""
    sharers = standing(devices, policy)
    before, start = sent(sharers), sharers.world.network.time
    first, stays = sharers.rings[devices - 1], sharers.rings[0]
    held = {key for ring in first.keys.values() for key in ring.values()}
    for number in range(BURST):
        sharers.party.leave(devices - 1 - number, after=APART * number)
    sharers.party.run_until(lambda: stays.sent_under() not in held, timeout=60)
    locked_out = sharers.world.network.time - start
    sharers.party.run(20)
    assert sharers.hear_each_other()
    return f"{sent(sharers) - before:,} messages; {locked_out:.1f} s until the first is locked out"


def joins(devices: int, policy: Policy) -> str:
    """One joins each second: messages."""
    sharers = standing(devices, policy, present=2)
    before = sent(sharers)
    for index in range(2, devices):
        sharers.party.join(index, after=float(index))
    sharers.party.run(devices + 30.0)
    assert sharers.hear_each_other()
    return f"{sent(sharers) - before:,} messages"


def late_join(devices: int, policy: Policy) -> str:
    """One joins a call that has been quiet: messages, and seconds until it has every key that is sent under."""
    sharers = standing(devices, policy, present=devices - 1)
    before, start = sent(sharers), sharers.world.network.time
    sharers.party.join(devices - 1)
    newcomer = sharers.rings[devices - 1]
    others = sharers.rings[: devices - 1]
    sharers.party.run_until(lambda: all(newcomer.opens(other) for other in others), timeout=60)
    took = sharers.world.network.time - start
    sharers.party.run(10)
    return f"{sent(sharers) - before:,} messages; {took:.2f} s until the joiner has all keys"


def lobby(devices: int, policy: Policy) -> str:
    """One waits in the lobby and joins: seconds from Join until the others can open what it sends."""
    sharers = standing(devices, policy, present=devices - 1)
    sharers.party.start(devices - 1)
    sharers.party.run(5)
    start = sharers.world.network.time
    sharers.party.join(devices - 1)
    newcomer = sharers.rings[devices - 1]
    sharers.party.run_until(lambda: all(other.opens(newcomer) for other in sharers.rings[: devices - 1]), timeout=60)
    return f"{sharers.world.network.time - start:.2f} s until all can open what it sends"


def drained(devices: int, policy: Policy) -> str:
    """A joiner whose one-time keys are used up, for 20 s: messages tried, and seconds until it hears everybody."""
    sharers = Sharers(devices, policy=policy)
    accounts = sharers.world.server_of(sharers.party[0].matrix.user_id).accounts
    accounts.drained.add(sharers.party[devices - 1].matrix.name)
    for index in range(devices):
        sharers.party.join(index, after=0.02 * index)
    sharers.party.run(20)
    accounts.drained.clear()
    start = sharers.world.network.time
    newcomer = sharers.rings[devices - 1]
    try:
        sharers.party.run_until(lambda: all(newcomer.opens(one) for one in sharers.rings[: devices - 1]), timeout=120)
    except AssertionError:
        return "never, until somebody leaves or joins"
    return f"{sharers.world.network.time - start:.0f} s after it has new ones it hears all"


def rows(n: int) -> list[Row]:
    """All five, in the order of the talk."""
    plain = Policy()

    def both(scene: Callable[[int, Policy], str], without: Policy, with_it: Policy) -> tuple[str, str]:
        return scene(n, without), scene(n, with_it)

    return [
        Row(
            "debounce on leave",
            f"{BURST} of {n} leave, {APART} s apart",
            *both(leaves, Policy(leave_debounce=0.0), plain),
        ),
        Row(
            "throttle on join",
            f"{n - 2} join a call of 2, one each second",
            *both(joins, Policy(join_throttle=0.1, key_use_delay=0.1), plain),
        ),
        Row(
            "ratchet on join",
            f"one joins {n - 1} who have been quiet",
            *both(late_join, plain, Policy(ratchet_on_join=True)),
        ),
        Row(
            "pre-share in the lobby",
            f"one joins {n - 1} after 5 s in the lobby",
            *both(lobby, plain, Policy(share_in_lobby=True)),
        ),
        Row(
            "retry with a rate limit",
            f"{n} join; one has no one-time keys for 20 s",
            *both(drained, Policy(key_retry_first=10_000.0, key_retry_limit=10_000.0, key_resends=0), plain),
        ),
    ]


def page(n: int) -> str:
    """The page of results."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    lines = [
        "# Key sharing: what each optimisation saves",
        "",
        f"Written by `tests/benchmarks/key_sharing.py -n {n} --write`, which says how it measures: the real state",
        "machines, virtual time, 30 ms from each device to its homeserver. No figure depends on the machine; the last",
        "one varies by some seconds, with the jitter of the retries.",
        f"Measured at `{commit.strip()}` with {n} devices. [The how-to](../how-to/key-sharing.md) says what each does.",
        "",
        "| optimisation | scene | without | with |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {row.name} | {row.scene} | {row.without} | {row.with_it} |" for row in rows(n)]
    lines += [
        "",
        "The lobby saves nothing here: a joiner sends its key with its membership. What it saves on a real homeserver",
        "is the claiming of one-time keys, which this one does not charge for.",
        "",
        "The ratchet saves messages, and gives the joiner more than a new key would: the frame key of the key before",
        "is the first half of the ratcheted one, because LiveKit derives both in the same way.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-n", type=int, default=50, help="devices")
    parser.add_argument("--write", action="store_true", help="write the page")
    arguments = parser.parse_args()
    text = page(arguments.n)
    print(text)
    if arguments.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
