"""The media side of `mlsrtc call`: publishes one sound, tells whom it hears, and records them."""

import argparse
import asyncio
import math
import re
from array import array
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from livekit import rtc

from mlsrtc.adapters.driver import Call, MediaNotice
from mlsrtc.adapters.focus import CallFocus
from mlsrtc.adapters.livekit import (
    DataRefused,
    Decryption,
    DecryptionChanged,
    LiveKitMedia,
    MediaConnected,
    MediaLost,
    MediaMoved,
    MediaNotMoved,
    MediaRefused,
    MediaUnreached,
    MuteChanged,
    RecordingFailed,
    TrackEnded,
    TrackReady,
    TrackWithdrawn,
    frames,
    microphone,
    tone,
    wav,
)
from mlsrtc.cli.plain import plain
from mlsrtc.identifiers import MemberId
from mlsrtc.notices import Notice

HEARD = -60.0  # dB below full scale: a louder second counts as heard
FULL_SCALE = 32768
GRACE = 2.0  # seconds: frames that do not decrypt for less are those of a join or a new epoch


class Sound:
    """What goes out and what comes in, in words."""

    def __init__(self, media: LiveKitMedia, record: Path | None) -> None:
        self._media = media
        self._record = record
        self._meters: dict[str, asyncio.Task[None]] = {}
        self._failing: dict[str, _Failing] = {}
        self._files = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, call: Call, focus: CallFocus, options: argparse.Namespace) -> AsyncIterator["Sound"]:
        """Connected while the block is open. Raises what `LiveKitMedia` and its focus raise."""
        async with AsyncExitStack() as stack:
            media = await stack.enter_async_context(LiveKitMedia.connect(call, focus=focus))
            sound = cls(media, options.record)
            if (sent := _frames(options)) is not None:
                await media.publish(sent)
            print(f"connected to LiveKit as {media.room.local_participant.identity}", flush=True)
            try:
                yield sound
            finally:
                for identity in tuple(sound._failing):
                    sound._forget(identity)
                for task in sound._meters.values():
                    task.cancel()
                await asyncio.gather(*sound._meters.values(), return_exceptions=True)

    def tell(self, notice: Notice | MediaNotice) -> None:
        """Says one notice of the media, and does what it asks for."""
        match notice:
            case TrackReady(member=member, track=track):
                name = f"{member.user_id} {member.device_id}"
                if not isinstance(track, rtc.RemoteAudioTrack):
                    _say(f"{name} sends video")
                    return
                self._meters[track.sid] = asyncio.create_task(_meter(track, name))
                if self._record is not None:
                    path = self._file(name)
                    self._media.record(track, path)
                    _say(f"recording {name} in {path}")
            case TrackEnded(member=member, track=track):
                for identity, failing in tuple(self._failing.items()):
                    if failing.member_id == member.member_id:
                        self._forget(identity)
                if (task := self._meters.pop(track.sid, None)) is not None:
                    task.cancel()
            case DecryptionChanged(identity=identity, state=Decryption.OK):
                if (over := self._forget(identity)) is not None and over.told:
                    _say(f"frames of {over.name} decrypt now")
            case DecryptionChanged(identity=identity, member=member, state=state):
                if identity not in self._failing:
                    name = identity if member is None else f"{member.user_id} {member.device_id}"
                    begun = self._failing[identity] = _Failing(name, None if member is None else member.member_id)
                    begun.timer = asyncio.get_running_loop().call_later(GRACE, begun.tell)
                self._failing[identity].state = state
            case MediaRefused(identity=identity, reason=reason):
                _say(f"warning: {identity} offers media that is not encrypted end to end ({reason}): not played")
            case MuteChanged(member=member, muted=muted):
                _say(f"{member.user_id} {member.device_id} is {'muted' if muted else 'muted no more'}")
            case TrackWithdrawn(detail=detail):
                _say(f"warning: our own sound is not sent any more ({detail})")
            case RecordingFailed(path=path, detail=detail):
                _say(f"warning: {path} is not written any more: {detail}")
            case DataRefused(identity=identity, reason=reason):
                _say(f"warning: data of {identity or 'somebody'} do not count ({reason})")
            case MediaLost(reason=reason, retried=retried):
                _say(f"warning: LiveKit is gone ({reason})" + ("; trying again" if retried else ""))
            case MediaMoved(url=url):
                _say(f"the call meets at {url}: moved there")
            case MediaNotMoved(reason=reason):
                _say(f"warning: the call meets at another server, and we do not get there ({reason})")
            case MediaUnreached(service=service, reason=reason):
                _say(f"warning: whoever sends to the server of {service} is not heard: we do not get there ({reason})")
            case MediaConnected():
                _say("connected to LiveKit again")
            case _:
                pass

    def _forget(self, identity: str) -> "_Failing | None":
        failing = self._failing.pop(identity, None)
        if failing is not None and failing.timer is not None:
            failing.timer.cancel()
        return failing

    def _file(self, name: str) -> Path:
        assert self._record is not None
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_")
        while True:
            self._files += 1
            path = self._record / f"{plain}-{self._files}.wav"
            if not path.exists():
                return path


@dataclass(slots=True)
class _Failing:
    """Somebody whose frames do not decrypt now; told once that has lasted."""

    name: str
    member_id: MemberId | None
    state: Decryption = Decryption.OK
    told: bool = False
    timer: asyncio.TimerHandle | None = None

    def tell(self) -> None:
        self.told = True
        _say(f"warning: frames of {self.name} do not decrypt ({self.state.value})")


def _frames(options: argparse.Namespace) -> AsyncIterator[rtc.AudioFrame] | None:
    if options.tone is not None:
        return tone(options.tone)
    if options.file is not None:
        return wav(options.file)
    return microphone() if options.microphone else None


async def _meter(track: rtc.RemoteAudioTrack, name: str) -> None:
    """Says when somebody is heard and when no more, by whole seconds."""
    heard, energy, count = False, 0.0, 0
    async with aclosing(frames(track)) as sound:
        async for frame in sound:
            samples = array("h", frame.data.tobytes())
            energy += sum(sample * sample for sample in samples[::16])
            count += len(samples[::16])
            if count < 48_000 // 16:
                continue
            level = 10 * math.log10(max(energy / count, 1e-3) / FULL_SCALE**2)
            if (level > HEARD) != heard:
                heard = not heard
                _say(f"hears {name} ({level:.0f} dB)" if heard else f"hears nothing of {name}")
            energy, count = 0.0, 0


def _say(line: str) -> None:
    print(plain(line), flush=True)
