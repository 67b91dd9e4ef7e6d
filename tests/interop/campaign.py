"""Plays many more histories than the tests do, with every engine, and writes what came of it.

    .venv/bin/python tests/interop/campaign.py --operations 10000 docs/results/interop.md

Every engine other than OpenMLS, which gets all of the operations, gets a tenth of them. Ends with 1 if a history with
an engine that is not called weak has failed; its seed and its shortened steps are printed then."""

import argparse
import inspect
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import test_openmls_limits
from dave import Call
from engines import starter
from history import check
from known import Known
from party import Disagreement, Party
from peers import PeerError
from steps import APPLICATION, FURTHER, WEIGHTS, Plan

STEPS = 150
"""Of one history."""


@dataclass(frozen=True, eq=False)
class Row:
    """Histories of the same engines. Their plans take turns."""

    name: str
    plans: tuple[Plan, ...]
    share: float
    """How many of the campaign's operations are this row's."""


def _row(
    others: dict[str, int],
    *,
    suites: Sequence[int] = (1, 2, 3),
    most: int = 12,
    share: float = 0.1,
    private: Sequence[bool] = (False, True),
    founders: Sequence[str] = ("mlsrtc",),
    what: str = "",
    **rules: object,
) -> Row:
    def shares(founder: str) -> dict[str, int]:
        engines = {"mlsrtc": 1, **others}
        return {founder: engines.pop(founder), **engines}

    plans = tuple(
        Plan(suite, shares(founder), most, private=hidden, **rules)  # type: ignore[arg-type]
        for suite in suites
        for hidden in private
        for founder in founders
    )
    name = ", ".join(others) + (f", up to {most}" if most > 12 else "") + what
    return Row(name, plans, share)


ROWS = (
    _row({"OpenMLS": 1}, share=0.9, founders=("mlsrtc", "OpenMLS")),
    _row({"OpenMLS": 1}, most=64, suites=(1,)),
    _row({"OpenMLS": 1}, founders=("mlsrtc", "OpenMLS"), what=", further steps", weights=FURTHER),
    _row({"mls-rs": 1}),
    _row({"mls-rs": 1}, what=", further steps", weights=APPLICATION),
    _row({"ts-mls": 1}, founder_stays=True),
    _row({"ts-mls": 1}, founder_stays=True, what=", further steps", weights=APPLICATION),
    _row({"OpenMLS": 1, "mls-rs": 1, "ts-mls": 1}, founder_stays=True),
    _row({"rine-mls": 1}, suites=(1,), private=(False,), founders=("rine-mls", "mlsrtc")),
    _row(
        {"rfc9420": 1, "OpenMLS": 1},
        suites=(1,),
        private=(False,),
        founders=("rfc9420", "OpenMLS"),
        founder_stays=True,
        weak=frozenset({"rfc9420"}),
    ),
)


@dataclass
class Tally:
    histories: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    commits: Counter[str] = field(default_factory=Counter)
    processed: Counter[str] = field(default_factory=Counter)
    faults: Counter[Known] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    """Histories that ended before their time, by the reason."""
    largest: int = 0

    def add(self, party: Party) -> None:
        self.operations += party.operations
        self.commits += party.commits
        self.processed += party.processed
        self.faults += party.faults
        self.largest = max(self.largest, party.largest)


def played(row: Row, operations: int) -> Tally:
    tally, began = Tally(), time.monotonic()
    for seed in count():
        plan = row.plans[seed % len(row.plans)]
        tally.histories += 1
        try:
            tally.add(check(plan, seed, STEPS, starter(list(plan.shares))))
        except (Disagreement, PeerError) as fault:
            tally.ended[str(fault)] += 1
            if not plan.weak:
                print(row.name, plan, fault, *fault.__notes__, sep="\n", file=sys.stderr)
            if tally.ended.total() >= 50:
                break
        if tally.operations.total() >= operations:
            break
    print(f"{row.name}: {tally.operations.total()} operations, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return tally


def called(operations: int) -> Tally:
    """Calls with davey, whose groups are of another kind."""
    tally, began = Tally(), time.monotonic()
    peers = starter(["davey"])()
    for seed in count():
        call = Call(peers["davey"], seed)
        for _ in range(STEPS):
            call.step()
        tally.histories += 1
        tally.operations += call.operations
        tally.commits += call.commits
        tally.largest = max(tally.largest, call.largest)
        if tally.operations.total() >= operations:
            break
    peers["davey"].close()
    print(f"davey: {tally.operations.total()} operations, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return tally


# -- the page --------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterator[Sequence[object]]) -> Iterator[str]:
    for line in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |"
    yield ""


def page(tallies: dict[Row, Tally], dave: Tally, command: str) -> Iterator[str]:
    names = dict.fromkeys(name for row in tallies for name in row.plans[0].shares)
    peers = starter([*names, "davey"])()
    total = sum((tally.operations for tally in tallies.values()), dave.operations)
    yield "# Interoperability"
    yield ""
    yield (
        "Random histories of groups in which clients of `mlsrtc.mls` and of other engines are members, live. After "
        "every commit the epoch authenticator, the exporter and the tree hash of all members are compared, and every "
        "application message is read by all of them. Written by the run itself:"
    )
    yield ""
    yield f"```\n{command}\n```"
    yield ""
    yield (
        f"{datetime.now(UTC):%d %B %Y}, {platform.system()} {platform.machine()}, Python {platform.python_version()}. "
        f"{total.total():,} operations. The same on every run of the tests, with fewer: `tests/interop`."
    )
    yield ""
    yield "## Histories"
    yield ""
    head = ["with", "suites", "histories", "operations", "commits", "messages taken in", "largest group"]
    yield from table(
        [*head, "members lost", "histories ended early"],
        (
            [
                row.name,
                ", ".join(map(str, sorted({plan.suite for plan in row.plans}))),
                tally.histories,
                f"{tally.operations.total():,}",
                ", ".join(f"{name} {number:,}" for name, number in sorted(tally.commits.items())),
                f"{tally.processed.total():,}",
                tally.largest,
                tally.faults.total(),
                tally.ended.total(),
            ]
            for row, tally in tallies.items()
        ),
    )
    yield "Half of the histories encrypt the handshake, where the engines can. An operation is one of these:"
    yield ""
    yield from table(
        ["with", *WEIGHTS],
        ([row.name, *(tally.operations[kind] for kind in WEIGHTS)] for row, tally in tallies.items()),
    )
    yield (
        "Further steps are those that not every engine has. Extensions of the GroupContext and proposals that the "
        "application makes up are proposed and then committed by reference, or are in the commit by value, where every "
        "member of ours looks whether they are. By reference alone are a newcomer that asks to be added, and an "
        "external sender that has members added and removed and the extensions changed; there mls-rs and ts-mls are "
        "not played."
    )
    yield ""
    further = [kind for kind in FURTHER if kind not in WEIGHTS]
    yield from table(
        ["with", *further],
        (
            [row.name, *(tally.operations[kind] for kind in further)]
            for row, tally in tallies.items()
            if row.plans[0].weights != WEIGHTS
        ),
    )
    yield "## DAVE"
    yield ""
    yield (
        "davey is a client of Discord's DAVE protocol. In its groups (suite 2) only a gateway proposes, an external "
        "sender outside the group, and members commit what it proposed; epoch authenticators are compared after every "
        f"commit. {dave.histories} calls of up to {dave.largest}, {dave.operations.total():,} proposals and as many "
        f"commits, {dave.commits['mlsrtc']:,} of them ours: "
        + ", ".join(f"{number:,} × {kind}" for kind, number in sorted(dave.operations.items()))
        + ". No fault was met."
    )
    yield ""
    yield "## Engines"
    yield ""
    yield from table(["engine", "version", "what it cannot do, and why"], engines(peers))
    for peer in peers.values():
        peer.close()
    yield "## What OpenMLS does otherwise, or not at all"
    yield ""
    yield "Each is shown live by `tests/interop/test_openmls_limits.py`."
    yield ""
    for name, test in vars(test_openmls_limits).items():
        if name.startswith("test_"):
            yield "* " + " ".join((inspect.getdoc(test) or "").split())
    yield ""
    yield "## Faults"
    yield ""
    met = sum((tally.faults for tally in tallies.values()), Counter[Known]())
    unexplained = sum(times for known, times in met.items() if not known.is_explained) or "none"
    yield (
        "A member whose engine refuses what the others agree on is removed by them, and the history goes on. What an "
        "engine says explains nothing by itself: a reason stands here if the group showed it at that moment, read by "
        "code that is none of that engine's (`tests/interop/evidence.py`), and everything else is called unexplained: "
        f"of {met.total():,} faults, {unexplained}."
    )
    yield ""
    yield (
        "In histories with ts-mls the founder stays: ts-mls ratchets a path once too often where the left half of the "
        "tree is blank (RFC 9420 section 7.4), which `tests/interop/test_ts_mls.py` shows."
    )
    yield ""
    yield from table(
        ["with", "engine", "does", "times", "reason"],
        (
            [row.name, known.peer, known.does, times, known.reason]
            for row, tally in tallies.items()
            for known, times in tally.faults.most_common()
        ),
    )
    if any(tally.ended for tally in tallies.values()):
        yield "Histories that ended before their time:"
        yield ""
        yield from table(
            ["with", "times", "what ended it"],
            ([row.name, times, text] for row, tally in tallies.items() for text, times in tally.ended.most_common()),
        )


def engines(peers: dict[str, object]) -> Iterator[Sequence[str]]:
    for peer in peers.values():
        by_reason: dict[str, list[str]] = {}
        for feature, reason in peer.unsupported.items():  # type: ignore[attr-defined]
            by_reason.setdefault(reason, []).append(feature)
        lacks = [f"*{', '.join(features)}*: {reason}" for reason, features in by_reason.items()]
        yield peer.name, peer.version, "; ".join(lacks) or "nothing"  # type: ignore[attr-defined]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("page", type=Path)
    asked = parser.parse_args(arguments)
    tallies = {row: played(row, int(asked.operations * row.share)) for row in ROWS}
    dave = called(asked.operations // 10)
    command = f".venv/bin/python tests/interop/campaign.py --operations {asked.operations} {asked.page}"
    asked.page.write_text("\n".join(page(tallies, dave, command)).rstrip() + "\n")
    return any(tally.ended and not row.plans[0].weak for row, tally in tallies.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
