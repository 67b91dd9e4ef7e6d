"""One connection to LiveKit beside a room that is made up: what it looks at before media are fed, played or told."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from sframing import CallOfThree, Ourselves, member

from mlsrtc.identifiers import DeviceId, EpochId, KeyIndex, LeafIndex, UserId
from mlsrtc.media.keys import MediaKey, livekit_identity
from mlsrtc.media.shared import SharedKey
from mlsrtc.mls import Secret
from mlsrtc.notices import MediaKeysChanged, SendKeySwitched
from mlsrtc.policy import Policy
from mlsrtc.session import CallMember

pytest.importorskip("livekit.rtc", reason="the extra `test` installs LiveKit")

from livekit import rtc

from mlsrtc.adapters import livekit
from mlsrtc.adapters.livekit import audio
from mlsrtc.adapters.livekit import link as link_module
from mlsrtc.adapters.livekit.errors import MediaError
from mlsrtc.adapters.livekit.keyring import KeyRing
from mlsrtc.adapters.livekit.link import GCM, Link, room_options
from mlsrtc.adapters.livekit.seal import DataSeal

OURS, THEIRS = (livekit_identity(f"@{name}:one.test", "D") for name in ("ann", "ben"))
INDEX = KeyIndex(7)


@dataclass
class Cryptor:
    """What the SDK has for one track."""

    participant_identity: str
    track_sid: str
    enabled: bool = True
    index: int = 0

    def set_key_index(self, key_index: int) -> None:
        self.index = key_index


@dataclass
class Publication:
    """A track as signalling says it is."""

    sid: str = "TR_1"
    name: str = "audio"
    encryption_type: int = GCM
    subscribed: bool = True
    muted: bool = False

    def set_subscribed(self, subscribed: bool) -> None:
        self.subscribed = subscribed


@dataclass(eq=False)
class Track:
    """What is heard."""

    sid: str


@dataclass
class Room:
    """As much of the SDK's room as a link looks at. `cryptors`: those that the SDK makes for what is published."""

    cryptors: list[Cryptor] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    keys: dict[tuple[str, int], bytes] = field(default_factory=dict)

    @property
    def e2ee_manager(self) -> Any:
        return SimpleNamespace(frame_cryptors=lambda: self.cryptors)

    @property
    def local_participant(self) -> Any:
        return SimpleNamespace(
            identity=OURS,
            permissions=SimpleNamespace(HasField=lambda name: False),
            track_publications={},
            publish_track=self.publish,
            unpublish_track=self.withdraw,
        )

    async def publish(self, track: object, options: object) -> Publication:
        return Publication()

    async def withdraw(self, sid: str) -> None:
        self.withdrawn.append(sid)

    def set_key(self, participant_identity: str, key: bytes, key_index: int) -> None:
        self.keys[participant_identity, key_index] = key


class Call:
    """Ann's call with Ben, and what was told through it."""

    def __init__(self) -> None:
        self.members = {
            member(name): CallMember(member(name), UserId(f"@{name}:one.test"), DeviceId("D"), keyed=True)
            for name in ("ann", "ben")
        }
        self.told: list[Any] = []

    def tell(self, notice: Any) -> None:
        self.told.append(notice)


def connected(*cryptors: Cryptor) -> tuple[Any, Room, Call]:
    """A link that sends under INDEX, its room and its call."""
    call: Any = Call()
    room: Any = Room(list(cryptors))
    link: Any = Link(call, DataSeal(Ourselves(member("ann"))))
    ring = KeyRing(OURS, (UserId("@ann:one.test"), DeviceId("D")), room, lambda: room.cryptors, lambda: call.members)
    key = MediaKey(member("ann"), UserId("@ann:one.test"), DeviceId("D"), LeafIndex(0), INDEX, Secret(bytes(32)))
    ring.tell(MediaKeysChanged(EpochId(bytes(32)), 1, (key,)))
    ring.tell(SendKeySwitched(EpochId(bytes(32)), 1, INDEX))
    link.room, link._ring, link._signalling = room, ring, SimpleNamespace(plain=set())
    return link, room, call


def test_the_sdk_is_told_to_keep_keys_as_element_call_does_and_to_try_no_others() -> None:
    options = room_options()
    assert options.encryption is not None
    provider = options.encryption.key_provider_options
    assert options.encryption.encryption_type == GCM
    assert not options.auto_subscribe
    assert (provider.key_ring_size, provider.ratchet_window_size, provider.failure_tolerance) == (256, 0, 10)
    assert provider.key_derivation_function == rtc.KeyDerivationFunction.HKDF
    assert not provider.shared_key


async def test_who_ratchets_on_a_join_tries_the_ratchet_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else two with the same policy hear each other no more after a join."""
    windows = []

    async def connect(room: rtc.Room, url: str, token: str, options: rtc.RoomOptions) -> None:
        assert options.encryption is not None
        windows.append(options.encryption.key_provider_options.ratchet_window_size)
        raise rtc.ConnectError("nobody there")

    monkeypatch.setattr(rtc.Room, "connect", connect)
    for ratchets in (True, False):
        call: Any = Call()
        call.session = SimpleNamespace(policy=Policy(ratchet_on_join=ratchets))
        call.detach = lambda sink: None
        with pytest.raises(MediaError):
            await Link(call, DataSeal(Ourselves(member("ann")))).open("ws://127.0.0.1:9", "token")
    assert windows == [10, 0]


@pytest.mark.parametrize(
    ("key", "derivation"),
    [("open sesame", rtc.KeyDerivationFunction.PBKDF2), (bytes(range(32)), rtc.KeyDerivationFunction.HKDF)],
)
def test_where_all_have_one_key_the_sdk_begins_with_nobodys_and_derives_as_the_others_do(
    key: str | bytes, derivation: int
) -> None:
    options = room_options(SharedKey(key))
    assert options.encryption is not None
    provider = options.encryption.key_provider_options
    assert provider.key_derivation_function == derivation
    assert provider.ratchet_window_size == 0
    assert provider.shared_key is not None
    assert len(provider.shared_key) == 32
    assert provider.shared_key != SharedKey(key).secret.expose()
    assert provider.shared_key != room_options(SharedKey(key)).encryption.key_provider_options.shared_key  # type: ignore[union-attr]


async def test_a_track_that_is_published_goes_to_the_index_that_we_send_under() -> None:
    ours, theirs = Cryptor(OURS, "TR_1"), Cryptor(THEIRS, "TR_2")
    link, room, _ = connected()
    room.cryptors = [ours, theirs]
    await link.publish(None, None)
    assert (ours.index, theirs.index, room.withdrawn) == (INDEX, 0, [])


@pytest.mark.parametrize(
    "cryptors",
    [[], [Cryptor(OURS, "TR_1", enabled=False)], [Cryptor(OURS, "TR_2")], [Cryptor(THEIRS, "TR_1")]],
    ids=["none", "one that is off", "another track's", "another's"],
)
async def test_a_track_of_ours_that_nothing_encrypts_is_withdrawn(cryptors: list[Cryptor]) -> None:
    link, room, _ = connected(*cryptors)
    with pytest.raises(livekit.MediaError, match="no_cryptor"):
        await link.publish(None, None)
    assert room.withdrawn == ["TR_1"]


@pytest.mark.parametrize("cryptors", [[], [Cryptor(THEIRS, "TR_1", enabled=False)], [Cryptor(OURS, "TR_1")]])
async def test_a_track_that_nothing_decrypts_is_not_handed_on(cryptors: list[Cryptor]) -> None:
    link, _, call = connected(*cryptors)
    publication = Publication()
    link._subscribed(SimpleNamespace(sid="TR_1"), publication, SimpleNamespace(identity=THEIRS))
    assert not publication.subscribed
    assert call.told == [livekit.MediaRefused(THEIRS, "TR_1", "no_cryptor")]


async def test_a_track_that_is_decrypted_is_handed_on() -> None:
    link, _, call = connected(Cryptor(THEIRS, "TR_1"))
    track: Any = SimpleNamespace(sid="TR_1")
    link._subscribed(track, Publication(), SimpleNamespace(identity=THEIRS))
    assert call.told == [livekit.TrackReady(call.members[member("ben")], track)]


async def test_what_is_heard_on_a_track_ends_with_it() -> None:
    link, _, call = connected(Cryptor(THEIRS, "TR_1"))
    ben, track = call.members[member("ben")], Track("TR_1")
    who: Any = SimpleNamespace(identity=THEIRS, track_publications={})
    link._subscribed(track, Publication(), who)
    assert not audio.over(track).is_set()
    link._gone("TR_1", who)
    assert audio.over(track).is_set()
    assert call.told[-1] == livekit.TrackEnded(ben, track)


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[bool | Exception]:
    """What is found out of one picture after the other: whether it is dark."""
    found: asyncio.Queue[bool | Exception] = asyncio.Queue()

    async def is_dark(track: object) -> bool:
        answer = await found.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(link_module, "is_dark", is_dark)
    return found


async def test_a_picture_that_the_sdk_keeps_to_itself_is_subscribed_to_anew(pictures: asyncio.Queue[bool]) -> None:
    link, room, call = connected(Cryptor(THEIRS, "TR_1"))
    publication = Publication()
    who: Any = SimpleNamespace(identity=THEIRS, track_publications={"TR_1": publication})
    room.remote_participants = {THEIRS: who}
    first, second = (rtc.RemoteVideoTrack.__new__(rtc.RemoteVideoTrack) for _ in range(2))
    ben = call.members[member("ben")]
    link._subscribed(first, publication, who)
    pictures.put_nowait(True)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not publication.subscribed
    link._unsubscribed(first, publication, who)
    assert publication.subscribed
    link._subscribed(second, publication, who)
    pictures.put_nowait(False)
    await asyncio.sleep(0)
    assert publication.subscribed
    ready, ended = livekit.TrackReady, livekit.TrackEnded
    assert call.told == [ready(ben, first), ended(ben, first), ready(ben, second)]


async def test_a_picture_that_ends_or_cannot_be_looked_at_is_left_alone(pictures: asyncio.Queue[Any]) -> None:
    link, _, _ = connected(Cryptor(THEIRS, "TR_1"))
    publication = Publication()
    who: Any = SimpleNamespace(identity=THEIRS, track_publications={})
    link._subscribed(rtc.RemoteVideoTrack.__new__(rtc.RemoteVideoTrack), publication, who)
    pictures.put_nowait(ValueError("no figures"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    link._subscribed(rtc.RemoteVideoTrack.__new__(rtc.RemoteVideoTrack), publication, who)
    looking = link._seeing["TR_1"]
    await asyncio.sleep(0)
    link._gone("TR_1", who)
    await asyncio.wait([looking])
    assert looking.cancelled()
    assert publication.subscribed


async def test_a_track_that_is_muted_is_told_so_and_one_that_is_not_ready_is_not() -> None:
    link, _, call = connected(Cryptor(THEIRS, "TR_1"))
    ben, track = call.members[member("ben")], SimpleNamespace(sid="TR_1")
    told: list[Any] = [livekit.TrackReady(ben, track), livekit.MuteChanged(ben, track, muted=True)]
    link._subscribed(track, Publication(muted=True), SimpleNamespace(identity=THEIRS))
    assert call.told == told
    link._muted("TR_1", muted=False)
    link._muted("TR_2", muted=True)
    assert call.told == [*told, livekit.MuteChanged(ben, track, muted=False)]


async def test_why_a_packet_is_not_told_is_told_once() -> None:
    group = CallOfThree()
    link, _, call = connected()
    ben = DataSeal(Ourselves(member("ben")))
    for one in (ben, link._seal):
        one.tell(group.keys())
        one.tell(group.switch())

    def came(data: bytes) -> None:
        link._data(SimpleNamespace(data=data, topic="topic", participant=SimpleNamespace(identity=THEIRS)))

    first, second = (ben.seal(data, "topic", reliable=False) for data in (b"first", b"second"))
    came(first)
    for number in range(128):
        came(ben.seal(b"%d" % number, "topic", reliable=False))
    assert all(isinstance(one, livekit.DataReceived) for one in call.told)
    call.told.clear()
    newest = ben.seal(b"newest", "topic", reliable=False)
    for packet in (second, first, b"in clear", b"in clear", newest, newest, newest):
        came(packet)
    assert call.told == [
        livekit.DataRefused(THEIRS, "too_late"),
        livekit.DataRefused(THEIRS, "not_sealed"),
        livekit.DataReceived(call.members[member("ben")], b"newest", "topic"),
        livekit.DataRefused(THEIRS, "replayed"),
    ]
