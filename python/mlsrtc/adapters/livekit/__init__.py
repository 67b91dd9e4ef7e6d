"""The LiveKit adapter (extra `livekit`): the media of a call, with its keys kept, on LiveKit's own Python SDK."""

from mlsrtc.adapters.livekit.audio import frames, microphone, tone, wav
from mlsrtc.adapters.livekit.errors import MediaError
from mlsrtc.adapters.livekit.granter import Follower, Grant, Granter, Spread
from mlsrtc.adapters.livekit.handles import Playing, Recording
from mlsrtc.adapters.livekit.keyring import Cryptor, KeyProvider, KeyRing
from mlsrtc.adapters.livekit.link import room_options
from mlsrtc.adapters.livekit.media import LiveKitMedia
from mlsrtc.adapters.livekit.notices import (
    DataReceived,
    DataRefused,
    Decryption,
    DecryptionChanged,
    MediaConnected,
    MediaLost,
    MediaMoved,
    MediaNotMoved,
    MediaRefused,
    MediaUnreached,
    MuteChanged,
    RecordingFailed,
    RemoteTrack,
    TrackEnded,
    TrackReady,
    TrackWithdrawn,
)

__all__ = [
    "Cryptor",
    "DataReceived",
    "DataRefused",
    "Decryption",
    "DecryptionChanged",
    "Follower",
    "Grant",
    "Granter",
    "KeyProvider",
    "KeyRing",
    "LiveKitMedia",
    "MediaConnected",
    "MediaError",
    "MediaLost",
    "MediaMoved",
    "MediaNotMoved",
    "MediaRefused",
    "MediaUnreached",
    "MuteChanged",
    "Playing",
    "Recording",
    "RecordingFailed",
    "RemoteTrack",
    "Spread",
    "TrackEnded",
    "TrackReady",
    "TrackWithdrawn",
    "frames",
    "microphone",
    "room_options",
    "tone",
    "wav",
]
