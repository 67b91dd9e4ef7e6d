"""Joins the call of a room as one of your devices, and says what happens in it: who is there, in a call keyed by MLS
the epochs and their safety code, warnings. With --livekit it publishes sound, tells whom it hears, and can record them.
Ctrl-C leaves.

The password is asked for, or taken from MLSRTC_PASSWORD; a device that exists already is taken by MLSRTC_ACCESS_TOKEN
and --device. The store keeps the device for the next time.
"""

import argparse
import asyncio
import importlib.util
import signal
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mlsrtc.cli import login, usage
from mlsrtc.cli.plain import plain
from mlsrtc.errors import LocalProtocolError, MlsrtcError
from mlsrtc.identifiers import MemberId
from mlsrtc.media.shared import SharedKey
from mlsrtc.notices import (
    EpochChanged,
    EventRefused,
    HistoryNotVisible,
    KeyMissing,
    KeyRefused,
    KeysUnreadable,
    KeyUndelivered,
    Left,
    MembersChanged,
    MessageNotOpened,
    Mixed,
    Muted,
    NotAddable,
    Notice,
    OwnMasterKeyChanged,
    Rejoining,
    RequestRefused,
    SendKeySwitched,
    Stranded,
)
from mlsrtc.policy import AUTO, MLS, PER_MEMBER, Encryption, Policy, Trust
from mlsrtc.wire.membership import MembershipFormat

if TYPE_CHECKING:
    import nio

    from mlsrtc.adapters.driver import Call, MediaNotice
    from mlsrtc.cli.sound import Sound

ENCRYPTIONS = {"auto": AUTO, "mls": MLS, "per-member": PER_MEMBER, "passphrase": Encryption.SHARED_KEY}
HELP = "join the call of a room, on any homeserver"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `mlsrtc call`."""
    login.add_arguments(parser)
    parser.add_argument("room", metavar="ROOM", help="its id (!...) or alias (#...); it is joined if need be")
    parser.add_argument("--slot", default="m.call#ROOM", help="which call of the room (default: %(default)s, its own)")
    parser.add_argument("--intent", choices=("audio", "video"), default="audio", help="shown to the others")
    parser.add_argument(
        "--membership",
        choices=[one.value for one in MembershipFormat],
        default=MembershipFormat.STATE.value,
        help="who sees us: those of Element Call, by a state event or by a sticky one (MSC4354), or those of Famedly's "
        "clients (default: %(default)s)",
    )
    parser.add_argument(
        "--encryption",
        choices=ENCRYPTIONS,
        default="auto",
        help="how the call is keyed: by MLS, by keys that are handed out, as Element Call does it, or by a passphrase, "
        f"that of a link, in {login.PASSPHRASE} or asked for (default: %(default)s, what the room says, or else "
        "those who are in the call; MLS where there is nobody)",
    )
    parser.add_argument(
        "--trust",
        choices=[one.value for one in Trust],
        default=Trust.CROSS_SIGNED.value,
        help="which devices get keys (default: %(default)s)",
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="leave after so long; without, at Ctrl-C")
    media = parser.add_argument_group("media", "each needs the extra `livekit`; all but the first imply --livekit")
    media.add_argument("--livekit", action="store_true", help="connect to the call's LiveKit server")
    sound = media.add_mutually_exclusive_group()
    sound.add_argument("--tone", type=float, metavar="HZ", help="publish a tone")
    sound.add_argument("--file", type=Path, metavar="WAV", help="publish the sound of a file")
    sound.add_argument("--microphone", action="store_true", help="publish the microphone")
    media.add_argument("--record", type=Path, metavar="DIR", help="write what is heard, a WAV file for each track")
    media.add_argument(
        "--well-known",
        metavar="URL",
        help="below which /.well-known/matrix/client stands (default: https:// and the server's name)",
    )


def run(options: argparse.Namespace) -> int:
    """Take part until Ctrl-C. Returns 0 after a leave of our own, 1 if the call or its media ended otherwise, 2 if the
    options cannot be done, 130 or 143 if SIGINT or SIGTERM came before we were in the call."""
    wanted = (options.record, options.file, options.tone, options.well_known)
    media = options.livekit or options.microphone or any(one is not None for one in wanted)
    for extra in ("nio", "livekit") if media else ("nio",):  # each installs a module of its own name
        if importlib.util.find_spec(extra) is None:
            print(f"this needs the extra `{extra}`: pip install 'mlsrtc[nio,livekit]'", file=sys.stderr)
            return 2
    if (wrong := usage.refusal(options, media=media)) is not None:
        print(wrong, file=sys.stderr)
        return 2
    try:
        password = login.ask_password(options)
        encryption: Encryption | SharedKey = ENCRYPTIONS[options.encryption]
        if encryption is Encryption.SHARED_KEY:
            encryption = SharedKey(login.ask("passphrase", "of the call", login.PASSPHRASE))
        return asyncio.run(_take_part(options, password, encryption, media=media))
    except MlsrtcError as error:
        print(plain(f"{type(error).__name__}: {error}"), file=sys.stderr)
        return 1


async def _take_part(
    options: argparse.Namespace, password: str | None, encryption: Encryption | SharedKey, *, media: bool
) -> int:
    """The exit status. SIGINT and SIGTERM end it at any time, by a leave once we are in the call."""
    loop = asyncio.get_running_loop()
    taking_part = _TakingPart(options, password, encryption, media=media)
    # Not by the loop's own handlers, which Windows has not; SIGINT has one of asyncio.run, put back at the end.
    before = {
        number: signal.signal(number, lambda number, frame: loop.call_soon_threadsafe(taking_part.stop, number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return await taking_part.task
    except asyncio.CancelledError:
        if taking_part.stopped is None:
            raise
        if taking_part.entered:
            return 0
        print("interrupted", file=sys.stderr)
        return 128 + taking_part.stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _TakingPart:
    """One participation, in a task that can be stopped once. entered: whether the call was. stopped: by which signal,
    0 if the time was up, None if it was not stopped."""

    def __init__(
        self, options: argparse.Namespace, password: str | None, encryption: Encryption | SharedKey, *, media: bool
    ) -> None:
        self.entered = False
        self.stopped: int | None = None
        self._options = options
        self._encryption = encryption
        self._media = media
        self.task = asyncio.create_task(self._run(password))

    def stop(self, number: int) -> None:
        """Leaves, wherever it is; nothing if it is on its way already."""
        if self.stopped is None:
            self.stopped = number
            self.task.cancel()

    async def _run(self, password: str | None) -> int:
        from mlsrtc.adapters.nio import NioTransport
        from mlsrtc.adapters.sqlite import SqliteStore

        options = self._options
        client = await login.log_in(options, password)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(client.close)
            room_id = await _enter_room(client, options.room)
            store = stack.enter_context(SqliteStore(options.store / "calls.db"))
            transport = await stack.enter_async_context(NioTransport(client))
            call = transport.call(
                room_id,
                slot_id=options.slot,
                store=store,
                encryption=self._encryption,
                policy=Policy(trust=Trust(options.trust)),
                intent=options.intent,
                membership=MembershipFormat(options.membership),
            )
            connecting = _sound(call, options) if self._media else None
            await stack.enter_async_context(call)
            self.entered = True
            if options.seconds is not None:
                stack.callback(asyncio.get_running_loop().call_later(options.seconds, self.stop, 0).cancel)
            print(f"in the call of {room_id} as {client.user_id} {client.device_id}; Ctrl-C leaves", flush=True)
            try:
                sound = None if connecting is None else await stack.enter_async_context(connecting)
                return await _follow(call, sound)
            except asyncio.CancelledError:
                print("leaving", flush=True)
                raise


def _sound(call: "Call", options: argparse.Namespace) -> "AbstractAsyncContextManager[Sound]":
    """The media of a call that is about to be entered."""
    from mlsrtc.adapters.focus import CallFocus
    from mlsrtc.cli.sound import Sound

    focus = CallFocus(call, well_known=options.well_known)
    call.ahead(focus.foresee)
    return Sound.connect(call, focus, options)


async def _enter_room(client: "nio.AsyncClient", room: str) -> str:
    import nio

    answer = await client.join(room)
    if not isinstance(answer, nio.JoinResponse):
        raise LocalProtocolError(f"{room} cannot be joined: {answer}")
    return str(answer.room_id)


async def _follow(call: "Call", sound: "Sound | None") -> int:
    """Says what is told until the call is over; 1 then, since it was not we who left."""
    report = Report(call)
    async for notice in call.notices():
        report.tell(notice)
        if sound is not None:
            sound.tell(notice)
    return 1


class Report:
    """The notices of a call as lines for a person. Who is in it is said once we are, and what changes then: what was
    before us is told by the call, and not said."""

    def __init__(self, call: "Call") -> None:
        self._call = call
        self._said: dict[MemberId, str] = {}

    def tell(self, notice: "Notice | MediaNotice") -> None:
        """Says one notice, if it is anything for a person."""
        line = self._line(notice)
        if line is not None:
            print(plain(line), flush=True)

    def _members(self) -> str | None:
        members = {member: f"{one.user_id} {one.device_id}" for member, one in self._call.members.items()}
        session, said = self._call.session, self._said
        if session.encryption is not MLS and session.member_id is not None:  # which does not list ourselves
            members[session.member_id] = f"{session.user_id} {session.device_id}"
        if not said and session.member_id not in members:
            return None
        self._said = members
        if not said:
            return f"{len(members)} in the call: {', '.join(members.values())}"
        changes = [f"+ {name}" for member, name in members.items() if member not in said]
        changes += [f"- {name}" for member, name in said.items() if member not in members]
        return f"{len(members)} in the call: {', '.join(changes)}" if changes else None

    def _line(self, notice: "Notice | MediaNotice") -> str | None:
        match notice:
            case MembersChanged():
                return self._members()
            case EpochChanged(epoch=epoch, safety_code=code, members=members):
                return f"epoch {epoch}: {len(members)} have its keys; safety code {_spaced(code)}"
            case SendKeySwitched(epoch=None, index=index):
                return f"sending under key {index} of ours"
            case SendKeySwitched(epoch=epoch):
                return f"sending under epoch {epoch}"
            case Muted(reason=reason):
                return f"warning: there is no key to send under ({reason})"
            case KeyMissing(user_id=user, device_id=device):
                return f"warning: {user} {device} has handed us no key: it is not heard"
            case KeyUndelivered(user_id=user, device_id=device, reason=reason):
                return f"warning: {user} {device} cannot hear us yet: our key was not delivered ({reason})"
            case KeyRefused(user_id=user, device_id=device, reason=reason, where=where):
                return f"warning: a key of {user} {device or '(some device)'} does not hold ({reason} {where})".rstrip()
            case MessageNotOpened(user_id=user, device_id=device, reason=reason):
                return f"warning: a message of {user} {device or '(some device)'} could not be opened ({reason})"
            case NotAddable(user_id=user, device_id=device, reason=reason):
                return f"warning: {user} {device or '(some device)'} gets no keys ({reason})"
            case Mixed(devices=()):
                return "everybody has MLS again"
            case Mixed(devices=devices):
                return f"without MLS, and served: {', '.join(f'{user} {device}' for user, device in devices)}"
            case OwnMasterKeyChanged():
                return "warning: your homeserver names another master key for you; did you reset your cross-signing?"
            case EventRefused(sender=sender, reason=reason, where=where):
                return f"warning: an event of {sender} does not hold ({reason} {where})".rstrip()
            case HistoryNotVisible():
                return "warning: this room does not show everything that the call needs"
            case KeysUnreadable(reason=reason, where=where):
                return f"warning: the homeserver's answer about our own keys does not hold ({reason} {where})"
            case RequestRefused(status=status, errcode=errcode):
                return f"warning: the homeserver refused a request ({status} {errcode})"
            case Rejoining(reason=reason):
                return f"joining anew ({reason})"
            case Stranded(reason=reason):
                return f"warning: cannot reach the others' epoch yet ({reason})"
            case Left(reason=reason, detail=detail):
                return f"the call is over: {reason} {detail}".rstrip()
            case _:
                return None


def _spaced(code: str) -> str:
    return " ".join(code[place : place + 5] for place in range(0, len(code), 5))
