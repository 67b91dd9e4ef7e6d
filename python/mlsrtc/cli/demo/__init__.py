"""A real call on a real homeserver that this command starts itself: N devices agree on keys by MLS.

They join within two seconds, some leave, one crashes and the homeserver withdraws it, a stranger without a valid
binding tries to get in, and one rejoins. The exit status is 0 only if all who stood on an epoch held the same keys, one
for each member, and so did everybody who was in the call wherever it came to rest; nobody held a key of an epoch before
it joined or after it left; what a device had saved when it left or crashed opens no later commit; and everybody in the
call refused the stranger, which is in no epoch, was told no key, and made a group that opens no commit.
"""

import argparse
import asyncio
import logging
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from mlsrtc.cli.demo.ledger import Ledger
from mlsrtc.cli.demo.scene import CallScene
from mlsrtc.cli.demo.screen import Screen, choose, picture
from mlsrtc.errors import MlsrtcError

HELP = "play a call of N devices on a homeserver that it starts itself"
LISTEN = 2.0  # seconds that are listened to without anything happening
FEWEST_WITH_MEDIA = 3  # one to leave, and two who stay and hear each other
FEWEST = 5  # one to stay, one to leave, one to crash, one to stay beside it, and the stranger's neighbour


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `mlsrtc demo`."""
    parser.add_argument(
        "-n", type=int, metavar="N", help="devices in the call (default 12, at least 5; with media 4 and 3)"
    )
    parser.add_argument("--media", action="store_true", help="with sound through a real SFU: who hears whom")
    parser.add_argument(
        "--livekit-server", type=Path, metavar="FILE", help="the SFU for --media (default: livekit-server on the PATH)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for machines")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the homeserver's and our logs in DIR")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a picture of the last table")
    parser.add_argument("--encrypted", action="store_true", help="hold the call in an encrypted room")


def run(options: argparse.Namespace) -> int:
    """Play it. Returns 0 if every check held, 1 if one did not, 2 if a file cannot be written."""
    try:
        import nio  # noqa: F401
        import rich  # noqa: F401
        import synapse  # noqa: F401

        if options.media:
            import livekit.api
            import livekit.rtc  # noqa: F401
    except ImportError as missing:
        print(f"mlsrtc demo needs the extra 'demo' (pip install 'mlsrtc[demo]'): {missing}", file=sys.stderr)
        return 2
    if options.livekit_server is not None and not options.media:
        print("mlsrtc demo starts --livekit-server with --media only", file=sys.stderr)
        return 2
    fewest, usual = (FEWEST_WITH_MEDIA, 4) if options.media else (FEWEST, 12)
    options.n = usual if options.n is None else options.n
    if options.n < fewest:
        print(f"mlsrtc demo needs at least {fewest} devices", file=sys.stderr)
        return 2
    try:
        _log_to(options.keep)
        if options.svg is not None:
            options.svg.open("a").close()
    except OSError as error:
        return _cannot_write(error)
    with choose(as_json=options.json, stream=sys.stdout) as screen:
        played = asyncio.run(_play(options, screen))
        screen.verdict(played.wrong, played.facts)
    if options.svg is not None and played.picture:
        try:
            options.svg.write_text(played.picture)
        except OSError as error:
            return _cannot_write(error)
    return 1 if played.wrong else 0


def _cannot_write(error: OSError) -> int:
    print(f"mlsrtc demo cannot write {error.filename}: {error.strerror}", file=sys.stderr)
    return 2


def _log_to(directory: Path | None) -> None:
    for name in ("nio", "mlsrtc", "asyncio", "livekit"):
        logger = logging.getLogger(name)
        logger.propagate = False
        if directory is None:
            logger.addHandler(logging.NullHandler())
        else:
            directory.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(directory / "demo.log")
            handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)


@dataclass(slots=True)
class _Played:
    """How it went: what was wrong, what was measured, and a picture if one is wanted and there was a call."""

    wrong: list[str] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    picture: str = ""


async def _play(options: argparse.Namespace, screen: Screen) -> _Played:
    from aiohttp import ClientError

    played = _Played()
    try:
        await (_hearing if options.media else _call)(options, screen, played)
    except BrokenPipeError:
        raise
    except (MlsrtcError, ClientError, OSError) as error:
        # The first line says it; what follows is the end of the homeserver's log.
        what = str(error).partition("\n")[0] or type(error).__name__
        played.wrong.append(f"{what} (--keep DIR keeps the logs)" if options.keep is None else what)
    return played


async def _call(options: argparse.Namespace, screen: Screen, played: _Played) -> None:
    from mlsrtc.cli.demo import scenario
    from mlsrtc.cli.demo.cost import olm_message_bytes
    from mlsrtc.testing.devices import cross_signed_devices
    from mlsrtc.testing.synapse import Synapse

    ledger = Ledger()
    names = [f"device{number:02}" for number in range(1, options.n + 1)] + ["stranger"]
    async with AsyncExitStack() as stack:
        screen.step("starting Synapse on a loopback port")
        server = await stack.enter_async_context(Synapse(logs=options.keep))
        screen.step(f"registering {len(names)} users with cross-signed devices")
        devices = await stack.enter_async_context(cross_signed_devices(server, names))
        screen.step("creating the room and bringing everybody in")
        room_id = await scenario.create_room(server, devices, encrypted=options.encrypted)
        screen.step("starting every device's sync")
        play = await stack.enter_async_context(scenario.seated(room_id, devices, ledger, screen.refresh))
        olm_bytes = olm_message_bytes(room_id, devices[0].account.user_id, devices[0].account.device_id)
        scene = CallScene(ledger, play.traffic, olm_bytes)
        screen.play(scene)
        try:
            await _scenes(play, screen, played.facts)
        except MlsrtcError as failed:
            ledger.failures.append(str(failed))
        played.facts |= _figures(scene)
        if options.svg is not None:
            played.picture = picture(scene)
        played.wrong += play.check()


async def _scenes(play: Any, screen: Screen, facts: dict[str, float]) -> None:
    """The scenes, in order. `facts` gets what was measured."""
    from mlsrtc.cli.demo import scenario
    from mlsrtc.cli.demo.stranger import intrude, watching

    *seats, stranger = play.seats
    n = len(seats)

    screen.say(f"{n} devices join within {scenario.JOIN_WITHIN:.0f} s")
    await scenario.all_within(scenario.JOIN_WITHIN, [partial(play.join, seat) for seat in seats])
    last_join = time.monotonic()
    await play.agreed("all stand on one epoch")
    facts["seconds_from_last_join_to_one_epoch"] = round(time.monotonic() - last_join, 2)
    facts["commits_for_the_joins"] = play.traffic.commits
    screen.say(f"one epoch {facts['seconds_from_last_join_to_one_epoch']} s after the last join")

    leavers = seats[1 : 1 + max(1, n // 6)]
    waits = []
    for seat in leavers:
        screen.say(f"{seat.name} leaves")
        began = time.monotonic()
        await play.leave(seat)
        await play.agreed("all who stay have new keys")
        waits.append(time.monotonic() - began)
    facts["seconds_from_leave_to_new_keys"] = round(median(waits), 2)
    screen.say(f"everyone who stays has new keys {facts['seconds_from_leave_to_new_keys']} s after a leave (median)")

    crashed = seats[1 + len(leavers)]
    screen.say(f"{crashed.name} crashes; the homeserver sends its leave")
    await play.crash(crashed)
    facts["seconds_from_crash_to_new_keys"] = round(await play.agreed("the crashed device is removed"), 2)

    screen.say("a stranger whose binding no device signed tries to get in")
    async with watching(play, stranger) as watcher:
        screen.say(f"the stranger was refused: {await intrude(play, stranger, watcher)}")
        await play.agreed("the call stands as before")

        returning = leavers[0]
        screen.say(f"{returning.name} comes back")
        await play.join(returning)
        facts["seconds_from_rejoin_to_one_epoch"] = round(await play.agreed("the returning device has keys"), 2)
        await play.until(
            "the returning device has refused the stranger",
            lambda: play.ledger.have_refused(play.ledger.intruder.events),
        )


async def _hearing(options: argparse.Namespace, screen: Screen, played: _Played) -> None:
    from mlsrtc.cli.demo import scenario
    from mlsrtc.cli.demo.hearing import hall
    from mlsrtc.cli.demo.hearing_scene import HearingScene
    from mlsrtc.testing.devices import cross_signed_devices
    from mlsrtc.testing.livekit import LiveKitServer
    from mlsrtc.testing.synapse import Synapse
    from mlsrtc.testing.token_service import TokenService

    names = [f"device{number:02}" for number in range(1, options.n + 1)]
    homeservers: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        screen.step("starting livekit-server and a token service on loopback ports")
        livekit = await stack.enter_async_context(LiveKitServer(options.livekit_server, logs=options.keep))
        service = await stack.enter_async_context(TokenService(livekit, homeservers))
        screen.step("starting Synapse, which announces them")
        foci = {"matrix_rtc": {"transports": [{"type": "livekit", "livekit_service_url": service.url}]}}
        server = await stack.enter_async_context(Synapse(logs=options.keep, extra=foci))
        homeservers["localhost"] = server.base_url
        screen.step(f"registering {len(names)} users with cross-signed devices")
        devices = await stack.enter_async_context(cross_signed_devices(server, names))
        screen.step("creating the room and bringing everybody in")
        room_id = await scenario.create_room(server, devices, encrypted=options.encrypted)
        play = hall(room_id, livekit, devices, screen.refresh)
        stack.push_async_callback(play.close)
        scene = HearingScene(play)
        screen.play(scene)
        try:
            await _hearing_scenes(play, screen, played)
        except MlsrtcError as failed:
            play.failures.append(str(failed))
        screen.refresh()
        if options.svg is not None:
            played.picture = picture(scene)
        played.wrong += play.failures


async def _hearing_scenes(play: Any, screen: Screen, played: _Played) -> None:
    """The scenes, in order, with the figures and what went wrong."""
    *staying, leaver = play.seats.values()
    facts = played.facts

    screen.say(f"{len(play.seats)} devices join, each with a tone of its own")
    for seat in play.seats.values():
        await play.join(seat)
    facts["seconds_from_last_join_to_all_heard"] = round(await play.until("all hear all", play.all_hear), 2)
    screen.say(f"everybody hears everybody {facts['seconds_from_last_join_to_all_heard']} s after the last join")

    keeper = f"copy of {leaver.name}"
    async with play.eavesdropper(keeper, leaver.call) as kept, play.eavesdropper("stranger", None) as stranger:
        screen.say(f"a stranger listens at the SFU, and a copy of {leaver.name}: somebody with all its keys")
        await play.until("the copy hears all who stay", lambda: all(kept.hears(seat.name) for seat in staying))
        await asyncio.sleep(LISTEN)
        screen.say(f"{leaver.name} leaves, and its copy listens on")
        began = time.monotonic()
        await play.leave(leaver)
        await play.until("the copy is deaf", lambda: not any(kept.hears(seat.name) for seat in staying))
        await asyncio.sleep(LISTEN)
        facts["seconds_from_leave_to_deaf"] = round(kept.last_heard - began, 2)
        screen.say(f"the copy has heard nothing since {facts['seconds_from_leave_to_deaf']} s after the leave")
        gaps = [ear.longest_gap(began) for seat in staying for ear in seat.ears.values()]
        facts["longest_gap_for_who_stays_ms"] = round(1000 * max(gaps))

        screen.say(f"{leaver.name} comes back")
        returned = time.monotonic()
        await play.join(leaver)
        facts["seconds_from_return_to_all_heard"] = round(await play.until("all hear all", play.all_hear), 2)
        if kept.last_heard >= returned:
            play.failures.append("the keys of the device that left open what was sent after it had come back")
        if any(any(ear.windows) for ear in stranger.ears.values()):
            play.failures.append("the stranger heard a tone")


def _figures(scene: CallScene) -> dict[str, float]:
    """What was sent, and what would have been: numbers and bytes."""
    traffic, olm = scene.traffic, scene.olm_messages()
    return {
        "epochs": len(scene.ledger.epochs),
        "commits_sent": traffic.commits,
        "words_sent": traffic.words,
        "events_sent": sum(traffic.events.values()),
        "bytes_sent": traffic.total_bytes,
        "olm_messages_instead": olm,
        "olm_bytes_instead": olm * scene.olm_bytes,
    }
