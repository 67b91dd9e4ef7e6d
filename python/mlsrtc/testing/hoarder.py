"""An eavesdropper, for tests of media (extra `livekit`): in the SFU's room, with every key that a call was told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from livekit import rtc

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit import room_options
from mlsrtc.media.keys import livekit_identity
from mlsrtc.notices import MediaKeysChanged, Notice
from mlsrtc.session import CallMember
from mlsrtc.testing.livekit import LiveKitServer


class Hoarder:
    """What a device can still hear that keeps all it had: keys go into its ring and never out of it.

    The SFU sends it everything, as it sends everything to itself.
    """

    def __init__(self, room: rtc.Room) -> None:
        self._room = room

    def tell(self, notice: Notice) -> None:
        """Keep the keys of a notice."""
        provider = self._room.e2ee_manager.key_provider
        if isinstance(notice, MediaKeysChanged) and provider is not None:
            for key in notice.keys:
                provider.set_key(key.livekit_identity, key.secret.expose(), key.index)

    def track(self, member: CallMember) -> rtc.Track | None:
        """A member's track, if it has come."""
        who = self._room.remote_participants.get(livekit_identity(member.user_id, member.device_id))
        tracks = () if who is None else [one.track for one in who.track_publications.values()]
        return next((track for track in tracks if track is not None), None)


@asynccontextmanager
async def hoarding(livekit: LiveKitServer, room: str, call: Call | None) -> AsyncIterator[Hoarder]:
    """An eavesdropper in a room of the SFU while the block is open. call: whose keys it has; None: nobody's."""
    options = room_options()
    options.auto_subscribe = True
    connection = rtc.Room()
    name = "eavesdropper" if call is None else f"eavesdropper with the keys of {call.session.device_id}"
    await connection.connect(livekit.url, livekit.token(room, name, publish=False), options)
    hoarder = Hoarder(connection)
    try:
        if call is not None:
            call.attach(hoarder)
        yield hoarder
    finally:
        if call is not None:
            call.detach(hoarder)
        await connection.disconnect()
