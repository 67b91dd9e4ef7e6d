"""One connection to a LiveKit room, from its beginning to its end: keys in, tracks and data out.

Nothing leaves in clear and nothing in clear is played. A publication must say that it is encrypted with AES-GCM, and
the SDK must have a cryptor for it, before a track of ours is fed or another's handed on: signalling is the server's
word, and the SDK does without encryption what the server calls unencrypted. Data packets have a seal of their own.
A track of ours that is published anew is fed while it is looked at. So that it is encrypted then too, whatever the
server says, the SDK does not hear it say otherwise (`signalling`).
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from livekit import rtc
from livekit.rtc.participant import PublishDataError, PublishTrackError, UnpublishTrackError

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit import audio
from mlsrtc.adapters.livekit.errors import MediaError
from mlsrtc.adapters.livekit.keyring import KEY_RING_SIZE, KeyRing, nobodys_key
from mlsrtc.adapters.livekit.notices import (
    DataReceived,
    DataRefused,
    Decryption,
    MediaConnected,
    MediaLost,
    MediaRefused,
    MuteChanged,
    RemoteTrack,
    TrackEnded,
    TrackReady,
)
from mlsrtc.adapters.livekit.seal import DataSeal
from mlsrtc.adapters.livekit.shared_ring import SharedRing
from mlsrtc.adapters.livekit.sight import is_dark
from mlsrtc.adapters.livekit.signalling import Signalling
from mlsrtc.adapters.livekit.states import States
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.media.keys import Derivation, hashed_livekit_identity, livekit_identity
from mlsrtc.media.shared import SharedKey
from mlsrtc.notices import MediaKeysChanged, MembersChanged, Notice
from mlsrtc.session import CallMember
from mlsrtc.shared_key_session import SharedKeySession

LOGGER = logging.getLogger("mlsrtc")
T = TypeVar("T")
RATCHET_WINDOW = 10  # steps that are tried where keys are ratcheted; Element Call's
FAILURE_TOLERANCE = 10  # frames that do not decrypt before a cryptor tells of it; LiveKit's default tells never
PLACE_SECONDS = 2.0  # that the server's name of the room may come late
REASON_SECONDS = 1.0  # that the reason of a disconnection may come late
SETTLING_SECONDS = 5.0  # that we wait for the end of a new connection of the SDK's own
UNWANTED = frozenset({"replayed", "too_late", "crowded"})  # of data packets: sealed by a member, and yet not told
GCM = rtc.EncryptionType.GCM
KDF = rtc.KeyDerivationFunction
FINAL = frozenset({rtc.DisconnectReason.DUPLICATE_IDENTITY, rtc.DisconnectReason.PARTICIPANT_REMOVED})
"""To connect again would be to fight over a name, or against a moderator."""
STATES = {
    rtc.EncryptionState.OK: Decryption.OK,
    rtc.EncryptionState.ENCRYPTION_FAILED: Decryption.FAILED,
    rtc.EncryptionState.DECRYPTION_FAILED: Decryption.FAILED,
    rtc.EncryptionState.MISSING_KEY: Decryption.NO_KEY,
    rtc.EncryptionState.INTERNAL_ERROR: Decryption.BROKEN,
}


def room_options(shared: SharedKey | None = None, *, ratchets: bool = False) -> rtc.RoomOptions:
    """How a room is connected so that it works with Element Call: HKDF, 256 slots; and so that it tells what does not
    decrypt. Tracks are subscribed to one by one, after a look at each.

    shared: in a call in which all send under one key. Then everybody has one slot, in which nobody's key lies at first;
    and of a passphrase frame keys are made by PBKDF2, as the others do it. ratchets: frames that do not open are tried
    with the keys that follow too (`Policy.ratchet_on_join`).
    """
    by_passphrase = shared is not None and shared.derivation is Derivation.PBKDF2
    provider = rtc.KeyProviderOptions(
        shared_key=None if shared is None else nobodys_key().expose(),
        key_ring_size=KEY_RING_SIZE,
        ratchet_window_size=RATCHET_WINDOW if ratchets else 0,
        failure_tolerance=FAILURE_TOLERANCE,
        key_derivation_function=KDF.PBKDF2 if by_passphrase else KDF.HKDF,
    )
    return rtc.RoomOptions(
        auto_subscribe=False, encryption=rtc.E2EEOptions(key_provider_options=provider, encryption_type=GCM)
    )


class Link:
    """One connection, to the server at `url`. `over` is set when it has ended, and `reason` says why.

    sends: what becomes of it is told; of one that only receives it is not.
    """

    def __init__(self, call: Call, seal: DataSeal, *, sends: bool = True) -> None:
        self.room = rtc.Room()
        self.url = ""
        self.place = ""  # the server's own name of the room, another one for each that it makes; empty if it told none
        self.over = asyncio.Event()
        self.reason: rtc.DisconnectReason.ValueType | None = None
        self._closing = False
        self._sends = sends
        self._call = call
        self._seal = seal
        self._ring: KeyRing | SharedRing | None = None
        self._shared: SharedKey | None = None  # by which all send
        self._signalling: Signalling | None = None
        self._heard: dict[str, tuple[CallMember, RemoteTrack]] = {}  # by track sid
        self._seeing: dict[str, asyncio.Task[None]] = {}  # by track sid
        self._refused: set[str] = set()  # track sids
        self._refused_data: set[tuple[str, str]] = set()  # by identity, and why
        self._states = States(call, self._members, self._set_anew)
        self._ending: asyncio.Future[None] | None = None
        self._settled = asyncio.Event()  # the SDK does not connect anew by itself
        self._settled.set()

    async def open(self, url: str, token: str) -> None:
        """Connect. Nothing is sent before a key is there, at first one that nobody else has.

        Raises MediaError if the server cannot be reached or does not take the token. Who cancels this waits until the
        SDK has connected, and has disconnected again, or has given up: half a minute, if the server does not answer.
        """
        self._listen()
        self.url = url
        self._signalling = Signalling(url)
        session = self._call.session
        self._shared = session.key if isinstance(session, SharedKeySession) else None
        options = room_options(self._shared, ratchets=session.policy.ratchet_on_join)
        try:
            await in_any_case(self.room.connect(await self._signalling.open(), token, options))
        except BaseException as error:
            await self._end()
            if isinstance(error, rtc.ConnectError):
                raise MediaError("connect", error.message) from None
            raise
        try:
            with suppress(TimeoutError, RuntimeError):
                self.place = await asyncio.wait_for(self.room.sid, PLACE_SECONDS)
            self._begin()
        except BaseException:
            await self.close()
            raise

    def _begin(self) -> None:
        manager = self.room.e2ee_manager
        if manager.key_provider is None or not manager.enabled:
            raise MediaError("not_encrypted", "the SDK has no key provider for this room")
        session = self._call.session
        if self._shared is not None:
            self._ring = SharedRing(manager.key_provider)
        else:
            self._ring = KeyRing(
                self.room.local_participant.identity,
                (session.user_id, session.device_id),
                manager.key_provider,
                manager.frame_cryptors,
                lambda: self._call.members,
            )
        self._call.attach(self)
        self._look()

    async def close(self) -> None:
        """End the connection, and all that it has of this machine; nothing if that is done."""
        self._call.detach(self)
        self._closing = True
        seeing = tuple(self._seeing.values())
        for task in seeing:
            task.cancel()
        await asyncio.gather(*seeing, return_exceptions=True)
        try:
            await self._end()
        finally:
            self._states.close()
            self.over.set()

    async def _end(self) -> None:
        try:
            await self._settle()
        finally:
            if self._signalling is not None:
                self._signalling.leaving = True
            try:
                await self.room.disconnect()
            finally:
                if self._signalling is not None:
                    await self._signalling.close()

    async def _settle(self) -> None:
        """Wait while the SDK connects anew, but not for ever: who withdraws a track or disconnects while it publishes
        others anew hangs, or ends the process."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLING_SECONDS):
                await self._settled.wait()

    @property
    def stands(self) -> bool:
        """Whether it is there, and goes on."""
        return self.room.isconnected() and not self._closing and not self.over.is_set()

    @property
    def identity(self) -> str:
        """Who we are for the server."""
        return self.room.local_participant.identity

    @property
    def may_send(self) -> bool:
        """Whether there is an epoch that we may send under."""
        return self._ring is not None and self._ring.sends

    def tell(self, notice: Notice) -> None:
        """What the call says: keys go into the ring, and who is a member is looked up anew."""
        assert self._ring is not None
        self._ring.tell(notice)
        if isinstance(notice, MediaKeysChanged | MembersChanged):
            self._look()
            self._states.look()

    async def publish(self, track: rtc.LocalTrack, options: rtc.TrackPublishOptions) -> rtc.LocalTrackPublication:
        """Publish a track that nobody feeds yet. Raises MediaError if it would not be encrypted; it is withdrawn. Also
        if we may not publish, or if the connection ends meanwhile."""
        may = self.room.local_participant.permissions
        if may.HasField("can_publish") and not may.can_publish:
            raise MediaError("not_permitted", "the token of the media server lets us receive only")
        try:
            publication = await self._unless_over(self.room.local_participant.publish_track(track, options))
        except PublishTrackError as error:
            raise MediaError("publish", error.message) from None
        reason = self._flaw(publication, self.identity)
        if reason is not None:
            with suppress(UnpublishTrackError):  # it is gone
                await self._unless_over(self.room.local_participant.unpublish_track(publication.sid))
            raise MediaError(reason, f"the server takes {publication.name or publication.sid} as it is, unencrypted")
        assert self._ring is not None
        self._ring.published()
        return publication

    async def unpublish(self, track: rtc.LocalTrack) -> None:
        """Withdraw a track; nothing if it is not published. Raises MediaError if it cannot be withdrawn, or if the
        connection ends meanwhile."""
        await self._settle()
        for publication in tuple(self.room.local_participant.track_publications.values()):
            if publication.track is track:
                try:
                    await self._unless_over(self.room.local_participant.unpublish_track(publication.sid))
                except UnpublishTrackError as error:
                    if publication.sid in self.room.local_participant.track_publications:
                        raise MediaError("publish", error.message) from None

    async def send_data(self, data: bytes, *, topic: str, reliable: bool) -> None:
        """Seal a packet and send it to everybody. Raises MediaError while we may not send, or if the connection ends
        meanwhile."""
        if not self.may_send:
            raise MediaError("muted", "there is no epoch that we may send under")
        sealed = self._seal.seal(data, topic, reliable=reliable)
        try:
            sending = self.room.local_participant.publish_data(sealed, reliable=reliable, topic=topic)
            await self._unless_over(sending)
        except PublishDataError as error:
            raise MediaError("publish", error.message) from None

    async def _unless_over(self, job: Coroutine[Any, Any, T]) -> T:
        """What the SDK answers. It waits for ever for an answer that the end of the connection has overtaken."""
        answer, ending = asyncio.ensure_future(job), asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait([answer, ending], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise MediaError("not_connected", "the connection to the media server has been lost meanwhile")
            return answer.result()
        finally:
            answer.cancel()
            ending.cancel()

    # -- what the room says --------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        room = self.room
        room.on("track_published", lambda publication, participant: self._look())
        room.on("participant_connected", lambda participant: self._look())
        room.on("track_subscribed", self._subscribed)
        room.on("track_unsubscribed", self._unsubscribed)
        room.on("track_muted", lambda participant, publication: self._muted(publication.sid, muted=True))
        room.on("track_unmuted", lambda participant, publication: self._muted(publication.sid, muted=False))
        room.on("track_unpublished", lambda publication, participant: self._gone(publication.sid, participant))
        room.on("participant_disconnected", lambda participant: self._states.forget(participant.identity))
        room.on("local_track_republished", lambda publication, previous_sid: self._republished())
        room.on("reconnecting", self._reconnecting)
        room.on("reconnected", self._reconnected)
        room.on("e2ee_state_changed", self._state)
        room.on("data_received", self._data)
        room.on("disconnected", self._disconnected)
        room.on("connection_state_changed", self._changed)

    def _members(self) -> Mapping[str, CallMember]:
        """Who is in the call by either identity."""
        found: dict[str, CallMember] = {}
        for one in self._call.members.values():
            found[livekit_identity(one.user_id, one.device_id)] = one
            found[hashed_livekit_identity(one.user_id, one.device_id, one.member_id)] = one
        return found

    def _look(self) -> None:
        """Subscribe to what members have published, and to nothing of anybody else."""
        members = self._members()
        for identity, participant in self.room.remote_participants.items():
            for publication in participant.track_publications.values():
                if identity not in members:
                    if publication.subscribed:
                        publication.set_subscribed(False)
                elif publication.encryption_type != GCM:
                    self._refuse(identity, publication.sid, "not_encrypted")
                elif not publication.subscribed and publication.sid not in self._refused:
                    publication.set_subscribed(True)

    def _subscribed(
        self, track: RemoteTrack, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        reason = self._flaw(publication, participant.identity)
        member = self._members().get(participant.identity)
        if reason is not None or member is None:
            publication.set_subscribed(False)
            if reason is not None:
                self._refuse(participant.identity, publication.sid, reason)
            return
        self._heard[publication.sid] = member, track
        self._call.tell(TrackReady(member, track))
        if publication.muted:
            self._muted(publication.sid, muted=True)
        if isinstance(track, rtc.RemoteVideoTrack):
            self._seeing[publication.sid] = asyncio.ensure_future(self._see(track, publication))

    async def _see(self, track: rtc.RemoteVideoTrack, publication: rtc.RemoteTrackPublication) -> None:
        """A picture that the SDK keeps to itself is subscribed to anew, as soon as the subscription has ended."""
        try:
            if await is_dark(track):
                LOGGER.warning("%s is decoded and not handed out: subscribing to it anew", publication.sid)
                publication.set_subscribed(False)
        except Exception as error:
            LOGGER.warning("whether %s is handed out cannot be seen: %s", publication.sid, error)

    def _unsubscribed(
        self, track: RemoteTrack, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        self._gone(publication.sid, participant)
        self._look()

    def _muted(self, sid: str, *, muted: bool) -> None:
        if (heard := self._heard.get(sid)) is not None:
            self._call.tell(MuteChanged(*heard, muted))

    def _gone(self, sid: str, participant: rtc.RemoteParticipant) -> None:
        self._ended(sid)
        if not self._heard.keys() & participant.track_publications.keys():
            self._states.forget(participant.identity)

    def _ended(self, sid: str) -> None:
        if (seeing := self._seeing.pop(sid, None)) is not None:
            seeing.cancel()
        if (heard := self._heard.pop(sid, None)) is not None:
            audio.over(heard[1]).set()
            self._call.tell(TrackEnded(*heard))

    def _republished(self) -> None:
        """The SDK has connected anew, and our track has another name and a cryptor at index 0."""
        assert self._ring is not None
        self._ring.published()

    def _reconnecting(self) -> None:
        self._settled.clear()
        if self._sends:
            self._call.tell(MediaLost("reconnecting", retried=True))

    def _reconnected(self) -> None:
        """The SDK has connected anew by itself. What we subscribed to meanwhile, it has not heard. If the server does
        not take a track of ours, we connect anew too, which looks at each. Not earlier (`_settle`)."""
        self._settled.set()
        ours = self.room.local_participant.track_publications.values()
        if any(self._flaw(publication, self.identity) is not None for publication in ours):
            self._ending = asyncio.ensure_future(self.close())
            return
        self._look()
        if self._sends:
            self._call.tell(MediaConnected())

    def _flaw(self, publication: rtc.TrackPublication, identity: str) -> str | None:
        """Why a track is not to be fed or played; None if it is encrypted."""
        assert self._signalling is not None
        if publication.encryption_type != GCM or publication.sid in self._signalling.plain:
            return "not_encrypted"
        cryptors = self.room.e2ee_manager.frame_cryptors()
        there = any(
            one.participant_identity == identity and one.track_sid == publication.sid and one.enabled
            for one in cryptors
        )
        return None if there else "no_cryptor"

    def _refuse(self, identity: str, sid: str, reason: str) -> None:
        if sid not in self._refused:
            self._refused.add(sid)
            self._call.tell(MediaRefused(identity, sid, reason))

    def _state(self, participant: rtc.Participant | None, state: rtc.EncryptionState.ValueType) -> None:
        told = STATES.get(state)
        if participant is not None and told is not None:
            self._states.tell(participant.identity, told, ours=participant.identity == self.identity)

    def _set_anew(self, identity: str) -> None:
        assert self._ring is not None
        self._ring.set_anew(identity)

    def _data(self, packet: rtc.DataPacket) -> None:
        topic = packet.topic or ""
        try:
            opened = self._seal.open(packet.data, topic)
        except RemoteProtocolError as error:
            identity = "" if packet.participant is None else packet.participant.identity
            reason = error.reason if error.reason in UNWANTED else "not_sealed"
            if (identity, reason) not in self._refused_data:
                self._refused_data.add((identity, reason))
                self._call.tell(DataRefused(identity, reason))
            return
        member = self._call.members.get(opened.sender.member_id)
        if member is not None:
            self._call.tell(DataReceived(member, opened.data, topic))

    def _changed(self, state: rtc.ConnectionState.ValueType) -> None:
        """The SDK's own `Room.disconnect` may leave it at this, and not tell the reason."""
        if state == rtc.ConnectionState.CONN_DISCONNECTED:
            asyncio.get_running_loop().call_later(REASON_SECONDS, self._finish)

    def _disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        self.reason = reason
        self._finish()

    def _finish(self) -> None:
        for sid in tuple(self._heard):
            self._ended(sid)
        self._states.close()
        self._settled.set()
        self.over.set()


async def in_any_case(job: Coroutine[Any, Any, None]) -> None:
    """Waits for something that is not cancelled half way, and then says whether it should have been. The SDK's own
    `Room.connect` is such: once its native part has connected and is not told to go on, it ends the whole process."""
    task = asyncio.ensure_future(job)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        with suppress(Exception):
            task.result()
        raise asyncio.CancelledError
    task.result()
