"""The focus of a call that goes on: found in its memberships, kept while it is good, and said in our own."""

import time
from contextlib import suppress

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.focus import web
from mlsrtc.adapters.focus.discovery import LIVEKIT, Focus, name_this_machine, oldest_focus, own_focus
from mlsrtc.adapters.focus.errors import FocusError
from mlsrtc.adapters.focus.token import FocusTokens, Grant
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.wire.membership import Transport


class CallFocus:
    """LiveKit tokens for our device in a call on matrix-nio: for the focus of its oldest membership, else for what our
    homeserver announces. Our membership says where we are.

    A call whose membership is a sticky event asks at `/get_token` and has the identity of Matrix 2.0 mode, another one
    for every participation; any other asks at `/sfu/get`.

    well_known: the URL below which `/.well-known/matrix/client` stands; None is ``https://`` and our server's name.
    timeout: seconds for one request to the service. Raises LocalProtocolError if the call is on another transport.
    """

    def __init__(self, call: Call, *, well_known: str | None = None, timeout: float = web.TIMEOUT) -> None:
        if not isinstance(call.transport, NioTransport):
            raise LocalProtocolError("only a call on matrix-nio finds its focus by itself: give one that grants tokens")
        self._call = call
        self._client = call.transport.client
        self._well_known = well_known
        self._timeout = timeout
        self._tokens: tuple[str | None, FocusTokens] | None = None
        self._own: Focus | None = None

    async def grant(self) -> Grant:
        """A token for now, as `FocusTokens.grant`, which says what it raises."""
        member_id = self._call.session.member_id if self._call.sticky else None
        if self._tokens is None or self._tokens[0] != member_id:
            room_id, slot_id = self._call.session.room_id, self._call.session.slot_id
            tokens = FocusTokens(
                self._client, self._where, room_id, slot_id, member_id=member_id, timeout=self._timeout
            )
            self._tokens = member_id, tokens
        return await self._tokens[1].grant()

    async def _where(self) -> Focus:
        if self._own is None and name_this_machine(self._call.memberships):
            with suppress(FocusError, RemoteProtocolError):
                self._own = await own_focus(self._client, well_known=self._well_known)
        local = () if self._own is None else (self._own,)
        focus = oldest_focus(self._call.memberships, time.time_ns() // 1_000_000, local)
        if focus is None:
            focus = self._own = self._own or await own_focus(self._client, well_known=self._well_known)
        self._call.announce([Transport(LIVEKIT, focus.service_url, self._call.session.room_id)])
        return focus
