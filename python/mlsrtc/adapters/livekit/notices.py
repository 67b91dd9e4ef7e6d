"""What the LiveKit adapter tells through its call, beside the notices of the session."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from livekit import rtc

from mlsrtc.adapters.driver import MediaNotice
from mlsrtc.session import CallMember

RemoteTrack: TypeAlias = rtc.RemoteAudioTrack | rtc.RemoteVideoTrack
"""What others publish: sound, or pictures."""


class Decryption(Enum):
    """How a participant's frames fare, as LiveKit's cryptor says it; of our own ones, how they are encrypted."""

    OK = "ok"
    FAILED = "failed"  # the key at this index is another
    NO_KEY = "no_key"  # there is no key at this index
    BROKEN = "broken"  # the cryptor itself failed


@dataclass(frozen=True, slots=True)
class TrackReady(MediaNotice):
    """A member's track can be heard or seen from now on. It is encrypted end to end."""

    member: CallMember
    track: RemoteTrack


@dataclass(frozen=True, slots=True)
class TrackEnded(MediaNotice):
    """A track that was ready brings nothing more."""

    member: CallMember
    track: RemoteTrack


@dataclass(frozen=True, slots=True)
class MuteChanged(MediaNotice):
    """A member has muted a track that is ready, or has taken that back. Meanwhile it brings silence, or no picture."""

    member: CallMember
    track: RemoteTrack
    muted: bool


@dataclass(frozen=True, slots=True)
class TrackWithdrawn(MediaNotice):
    """A track of ours is published no more, and it was not the application that withdrew it.

    reason: source (the frames have raised something); or why a new connection does not publish it: not_encrypted (the
    server calls it so), no_cryptor (the SDK does not encrypt it), publish (the server does not take it) or
    not_permitted (the token lets us receive only).
    detail: for a person.
    """

    track: rtc.LocalTrack
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class RecordingFailed(MediaNotice):
    """What is heard on a track is written to `path` no more. detail: why, for a person."""

    track: rtc.Track
    path: Path
    detail: str


@dataclass(frozen=True, slots=True)
class DecryptionChanged(MediaNotice):
    """What happens to somebody's frames is not what it was. `identity`: in LiveKit. The SDK does not say of which
    track: somebody's sound and pictures share one state, the one that was told last."""

    identity: str
    member: CallMember | None
    state: Decryption


@dataclass(frozen=True, slots=True)
class DataReceived(MediaNotice):
    """A data packet that opened under this member's key: from its `LiveKitMedia.send_data`, with this topic, once."""

    member: CallMember
    data: bytes
    topic: str


@dataclass(frozen=True, slots=True)
class MediaRefused(MediaNotice):
    """Media that is not encrypted end to end was offered, by `identity`; it is neither fed nor played, nor told.

    reason: not_encrypted (its publication says so), no_cryptor (it says that it is, and the SDK does not decrypt it).
    """

    identity: str
    track_sid: str
    reason: str


@dataclass(frozen=True, slots=True)
class DataRefused(MediaNotice):
    """A data packet is not told. Once for each sender, reason and connection. `identity` is whom the SDK names, without
    proof, and empty where it names nobody.

    reason: not_sealed (it opens under no other member's key), replayed (it came before), too_late (it was sent without
    `reliable`, and 128 newer ones of its sender were here before it), crowded (its sender began too often).
    """

    identity: str
    reason: str


@dataclass(frozen=True, slots=True)
class MediaLost(MediaNotice):
    """The connection to the server is gone, and why. `retried`: it is made again, and `MediaConnected` tells when.

    reason: reconnecting (the SDK tries by itself, for about half a minute), or LiveKit's, once it has given up or the
    server has sent us away: then we go on with a new token, unless it is duplicate_identity or participant_removed.
    While none comes about it is told again, when the reason has changed and ten seconds later at the earliest: then it
    is that of the `FocusError`, `RemoteProtocolError` or `MediaError` that keeps us out (token_refused, say), or
    unforeseen.
    """

    reason: str
    retried: bool


@dataclass(frozen=True, slots=True)
class MediaConnected(MediaNotice):
    """The connection to the server is there again; our tracks are published anew."""


@dataclass(frozen=True, slots=True)
class MediaUnreached(MediaNotice):
    """Members publish at another server than we do, at that of the token service `service`, and we do not get there:
    they are not heard. It is tried again, unless we were sent away there (duplicate_identity, participant_removed).

    reason: of the `FocusError`, `RemoteProtocolError` or `MediaError` that keeps us out, unforeseen, or LiveKit's. Told
    again when it changes.
    """

    service: str
    reason: str


@dataclass(frozen=True, slots=True)
class MediaMoved(MediaNotice):
    """The call meets at another server than where we were: we are connected there, at `url`, and our tracks are
    published anew. The tracks of others that were there have ended, those of others that are here are ready."""

    url: str


@dataclass(frozen=True, slots=True)
class MediaNotMoved(MediaNotice):
    """The call meets at another server than where we are, and we do not get there: we stay, and try again.

    reason: of the `FocusError`, `RemoteProtocolError` or `MediaError` that keeps us out, or unforeseen. Told again when
    it changes.
    """

    reason: str
