"""The model of two schemes beside real runs: one leaves a call of N on a real Synapse; when have all new keys?

Per-participant keys as matrix-js-sdk sends them: N clients of bare HTTP, each with its sync loop; who sees the leave
sends each of the others an event as large as an Olm-encrypted key, 20 in a request and one request at a time. And
mlsrtc's own sessions with nio, as in `call_latency.py`. The same leave is then simulated on the network model of
`mlsrtc simulate`, with links that take no time, since all is on loopback. What is compared is when the last key has
come, without the second that a client waits before it uses it.

How fast a homeserver is, is the machine's affair: the model is given what this Synapse was seen to work for an event, a
message and a sync, in the same run (`synapse_costs.py`). And all clients are in one process, which no real ones are:
the processor time of that process during a leave is told, and so is for how long Synapse could have gone on and had no
processor, because the machine did something else; the model is held against the rest. All figures are medians. Another
model is beside it, with the costs that `NETWORK` has: that is the one of the reports. `mlsrtc simulate` shows what is
written with --json:

    PYTHONPATH=python python tests/benchmarks/simulate_against_synapse.py --json docs/results/simulate/synapse.json

The models alone are played anew, beside the runs that a file has, with --again FILE.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from call_latency import one_leave
from stage import (
    CALM,
    add_output,
    machine,
    processor_seconds,
    put_out,
    say,
    set_aside,
    spread,
    staged,
    table,
    waited_seconds,
)
from synapse_costs import measured_costs

from mlsrtc.simulate.compare import LEAVE_AT, growing
from mlsrtc.simulate.network import NETWORK, NetworkModel
from mlsrtc.simulate.primitives import Primitives, measured
from mlsrtc.simulate.record import Record
from mlsrtc.simulate.schemes import SCHEMES
from mlsrtc.simulate.schemes.element_call import CONSTANTS
from mlsrtc.simulate.table import DEVIATION_EXPLAINED, DEVIATION_HEAD, calibration_words, deviations
from mlsrtc.testing.synapse import Account, Synapse
from mlsrtc.wire.names import STATE_MEMBER

CLIENT = "/_matrix/client/v3"
BATCH = int(CONSTANTS["batch"].value)
PAIRWISE, OURS = "element-call", "mlsrtc"
PARTS = ("keys", "synapse", "clients", "waiting")
FIGURES = ("measured", "clients", "waiting", "model", "reports")
WHAT = {
    PAIRWISE: "Element Call: a leave, until the last key has come",
    OURS: "mlsrtc: a leave, until all have the new keys",
}


@dataclass(frozen=True, slots=True)
class Leave:
    """Seconds until the last key has come; processor seconds of Synapse for all of it, and of all clients up to then;
    for how many of these seconds Synapse waited for a processor."""

    keys: float
    synapse: float
    clients: float = 0.0
    waiting: float = 0.0


@dataclass(slots=True)
class Sharer:
    """One client that rotates when somebody leaves."""

    server: Synapse
    account: Account
    room: str
    content: dict[str, Any]
    others: dict[str, Account]  # by user id
    heard: dict[str, float] = field(default_factory=dict)  # whose key of this turn came when
    turn: int = 0
    task: asyncio.Task[None] | None = None

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return await self.server.demand(method, CLIENT + path, token=self.account.access_token, body=body)

    async def sync(self) -> None:
        """Syncs for ever."""
        since = (await self.ask("GET", "/sync?timeout=0"))["next_batch"]
        while True:
            answer = await self.ask("GET", f"/sync?timeout=30000&since={since}")
            since, now = answer["next_batch"], time.monotonic()
            for message in answer.get("to_device", {}).get("events", ()):
                if message["content"].get("turn") == self.turn:
                    self.heard.setdefault(message["sender"], now)
            events = answer.get("rooms", {}).get("join", {}).get(self.room, {}).get("timeline", {}).get("events", ())
            gone = [event["sender"] for event in events if event["type"] == STATE_MEMBER and not event["content"]]
            if any(user in self.others for user in gone):
                for user in gone:
                    self.others.pop(user, None)
                asyncio.get_running_loop().call_soon(self._rotate)

    def _rotate(self) -> None:
        self.task = asyncio.create_task(self.rotate())

    async def rotate(self) -> None:
        """A key for each of the others."""
        content = self.content | {"turn": self.turn}
        some = list(self.others.values())
        for start in range(0, len(some), BATCH):
            messages = {one.user_id: {one.device_id: content} for one in some[start : start + BATCH]}
            transaction = f"{self.turn}-{start}-{time.monotonic_ns()}"
            await self.ask("PUT", f"/sendToDevice/m.room.encrypted/{transaction}", {"messages": messages})


async def pairwise(n: int, leaves: int, size: int, *, quiet: bool) -> list[Leave]:
    """From the PUT of a leave until everybody who stays has everybody's new key."""
    found = []
    body = {"type": 1, "body": "A" * (size - 200)}
    content = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": "A" * 43, "ciphertext": {"A" * 43: body}}
    async with Synapse() as server:
        accounts = [await server.register(f"sharer{number:02}") for number in range(n)]
        room = await _room(server, accounts)
        clients = [Sharer(server, account, room, content, {}) for account in accounts]
        loops = [asyncio.create_task(client.sync()) for client in clients]
        await asyncio.sleep(2)
        for turn in range(leaves):
            leaver = clients[1 + turn % (n - 1)]
            for client in clients:
                key = f"/rooms/{quote(room)}/state/{STATE_MEMBER}/{quote(f'_{client.account.user_id}_D_m.call')}"
                if turn == 0 or client is clients[1 + (turn - 1) % (n - 1)]:
                    await client.ask("PUT", key, {"application": "m.call", "turn": turn})
                client.others = {one.user_id: one for one in accounts if one is not client.account}
                client.turn, client.heard = turn + 1, {}
            await asyncio.sleep(2 * CALM)
            worked, ours, waited = processor_seconds(server.pid), time.process_time(), waited_seconds(server.pid)
            keys = await _leave(leaver, [client for client in clients if client is not leaver])
            ours, waited = time.process_time() - ours, waited_seconds(server.pid) - waited
            await asyncio.sleep(CALM)
            found.append(Leave(keys, processor_seconds(server.pid) - worked, ours, waited))
            say(f"pairwise {n}: {found[-1]}", quiet=quiet)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
    return found


async def _leave(leaver: Sharer, staying: Sequence[Sharer]) -> float:
    key = f"/rooms/{quote(leaver.room)}/state/{STATE_MEMBER}/{quote(f'_{leaver.account.user_id}_D_m.call')}"
    began = time.monotonic()
    wanted = {client.account.user_id for client in staying}
    put = asyncio.create_task(leaver.ask("PUT", key, {}))
    own = asyncio.create_task(leaver.rotate())
    while not all(wanted - {client.account.user_id} <= client.heard.keys() for client in staying):
        if time.monotonic() - began > 120:
            raise TimeoutError("not everybody has everybody's key within 120 s")
        await asyncio.sleep(0.005)
    await asyncio.gather(put, own)
    return max(client.heard[user] for client in staying for user in wanted - {client.account.user_id}) - began


async def _room(server: Synapse, accounts: Sequence[Account]) -> str:
    body = {
        "preset": "public_chat",
        "power_level_content_override": {"events": {STATE_MEMBER: 0}},
    }
    owner, *others = accounts
    room = str((await server.demand("POST", f"{CLIENT}/createRoom", token=owner.access_token, body=body))["room_id"])
    for account in others:
        await server.demand("POST", f"{CLIENT}/join/{quote(room)}", token=account.access_token, body={})
    return room


async def sessions(n: int, leaves: int, *, quiet: bool) -> list[Leave]:
    """From `Call.leave` until everybody who stays has been told the new keys."""
    found = []
    async with staged(n, quiet=quiet) as stage:
        await asyncio.gather(*(stage.join(seat) for seat in stage.seats))
        await stage.agreed()
        await asyncio.sleep(CALM)
        set_aside()
        for turn in range(leaves):
            leaver = stage.seats[1 + turn % (n - 1)]
            waited = waited_seconds(stage.server.pid)
            times = await one_leave(stage, leaver)
            waited = waited_seconds(stage.server.pid) - waited
            found.append(Leave(times["keys_last"], times["synapse_processor"], times["our_processor"], waited))
            say(f"mlsrtc {n}: {found[-1]}", quiet=quiet)
            await stage.agreed()
            await asyncio.sleep(CALM)
            await stage.join(leaver)
            await stage.agreed()
            await asyncio.sleep(CALM)
    return found


# -- the model ---------------------------------------------------------------------------------------------------------


def modelled(name: str, n: int, primitives: Primitives, costs: Mapping[str, float]) -> Leave:
    """The same leave in the model, with a homeserver that works so long; for what is not in it, as `NETWORK` says."""
    trace = growing(n)
    leaver = n // 2
    network = NetworkModel(link=(0.0, 0.0), changed=costs)
    record = SCHEMES[name].play(trace, network, primitives, 1, (LEAVE_AT - 0.001, LEAVE_AT + 60))
    staying = [stay for stay in range(n) if stay != leaver]
    keys = max(_first_free(record, stay, speaker, leaver) for stay in staying for speaker in staying) - LEAVE_AT
    before, after = record.marks
    return Leave(keys, after.homeserver_seconds - before.homeserver_seconds)


def _first_free(record: Record, stay: int, speaker: int, leaver: int) -> float:
    if stay == speaker:
        return LEAVE_AT
    begun = (key for time_, key in record.switches[speaker] if time_ > LEAVE_AT and key is not None)
    return record.held[next(key for key in begun if not record.opens(leaver, key))][stay]


def compared(runs: Mapping[str, Any], costs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is shown of each run: when the last key has come, and what Synapse worked."""
    primitives = measured()
    here = {name: one["here"] for name, one in costs.items()}
    rows: list[dict[str, Any]] = []
    for run, parts in runs.items():
        name, n = run.rsplit(maxsplit=1)
        models = [modelled(name, int(n), primitives, changed) for changed in (here, {})]
        middle = {part: parts[part]["median"] for part in PARTS}
        who = OURS if name == OURS else "Element Call"
        shown = (
            (WHAT[name], middle["keys"], middle["clients"], middle["waiting"], *(model.keys for model in models)),
            (f"{who}: Synapse's processor time for it", middle["synapse"], 0.0, 0.0, *(one.synapse for one in models)),
        )
        rows += [
            {"what": what, "n": int(n)} | dict(zip(FIGURES, (round(value, 3) for value in values), strict=True))
            for what, *values in shown
        ]
    return rows


def again(facts: dict[str, Any]) -> dict[str, Any]:
    """The models anew, beside the same runs."""
    return facts | {"compared": compared(facts["runs"], facts["costs"])}


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    facts: dict[str, Any] = {"machine": machine()}
    costs = await measured_costs()
    say(f"Synapse here: {costs}", quiet=options.quiet)
    size = measured().size("olm element_call")
    runs: dict[str, Any] = {}
    for n in options.n:
        for name in (PAIRWISE, OURS):
            if name == OURS:
                leaves = await sessions(n, options.leaves, quiet=options.quiet)
            else:
                leaves = await pairwise(n, options.leaves, size, quiet=options.quiet)
            runs[f"{name} {n}"] = {part: spread([getattr(leave, part) for leave in leaves]) for part in PARTS}
    sizes = " ".join(str(n) for n in options.n)
    facts["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    facts |= {
        "command": f"python tests/benchmarks/simulate_against_synapse.py -n {sizes} --leaves {options.leaves}",
        "costs": {name: {"here": here, "model": NETWORK[name].value} for name, here in costs.items()},
        "compared": [],
        "runs": runs,
    }
    return again(facts)


def describe(facts: dict[str, Any]) -> str:
    """The short tables."""
    costs = [["Synapse works for", "here, ms", "in the reports, ms"]]
    costs += [[name, f"{one['here'] * 1e3:.2f}", f"{one['model'] * 1e3:.2f}"] for name, one in facts["costs"].items()]
    rows = [DEVIATION_HEAD, *deviations(facts)]
    return "\n\n".join([table(rows), DEVIATION_EXPLAINED, table(costs), calibration_words(facts)])


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, nargs="+", default=[20, 50], help="devices in the call (default 20 50)")
    parser.add_argument("--leaves", type=int, default=7, help="leaves to measure (default 7)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="play the models anew beside the runs of FILE")
    add_output(parser)
    options = parser.parse_args()
    facts = asyncio.run(measure(options)) if options.again is None else again(json.loads(options.again.read_text()))
    put_out(options, facts, describe(facts))


if __name__ == "__main__":
    main()
