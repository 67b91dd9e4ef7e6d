"""The focus of a call that goes on: found in its memberships, followed where they move, and said in our own."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.focus import web
from mlsrtc.adapters.focus.discovery import (
    LIVEKIT,
    Focus,
    Source,
    age,
    further_foci,
    leading,
    name_this_machine,
    own_focus,
)
from mlsrtc.adapters.focus.errors import FocusError
from mlsrtc.adapters.focus.token import FocusTokens, Grant
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.wire.membership import RtcMembership, Transport

FORESIGHT_SECONDS = 2.0  # that joining waits to hear where our media will be
FURTHER_LIMIT = 8  # servers beside our own: whoever may write a membership chooses them


class CallFocus:
    """LiveKit tokens for our device in a call on matrix-nio: for the focus of its oldest membership, else for what our
    homeserver announces. Our membership says where: from its beginning if `foresee` was asked, which
    `LiveKitMedia.join` does, and else once we are connected.

    A call whose membership is a sticky event asks at `/get_token` and has the identity of Matrix 2.0 mode, another one
    for every participation; any other asks at `/sfu/get`. Each token is a new one: only the service makes a room of the
    SFU that is gone, and does so when it is asked for a token.

    well_known: the URL below which `/.well-known/matrix/client` stands; None is ``https://`` and our server's name.
    local: services on this machine that a membership may name. What our homeserver announces may be there anyhow.
    timeout: seconds for one request to the service. Raises LocalProtocolError if the call is on another transport.
    """

    def __init__(
        self,
        call: Call,
        *,
        well_known: str | None = None,
        local: Iterable[Focus] = (),
        timeout: float = web.TIMEOUT,
    ) -> None:
        if not isinstance(call.transport, NioTransport):
            raise LocalProtocolError("only a call on matrix-nio finds its focus by itself: give one that grants tokens")
        self._call = call
        self._client = call.transport.client
        self._well_known = well_known
        self._local = tuple(local)
        self._timeout = timeout
        self._own: Focus | None = None  # as our homeserver has announced it last
        self._asked: Focus | None = None  # for the last token
        self._here: Focus | None = None  # where we have arrived
        self._tries = 0  # since then

    async def foresee(self) -> None:
        """Before we join (`Call.ahead`): our first membership says where we are going to connect, and is not written
        again when we are. It says nothing if that is not known within two seconds."""
        with suppress(FocusError, RemoteProtocolError, TimeoutError):
            async with asyncio.timeout(FORESIGHT_SECONDS):
                self._say(await self._where())
        self._tries = 0

    async def grant(self) -> Grant:
        """A new token for where the call is now. Raises what `FocusTokens.grant` raises, and what `own_focus` raises
        where it is asked; LocalProtocolError before the call was entered."""
        self._check_inside()
        self._asked = await self._where()
        return await self._buy(self._asked)

    def arrived(self) -> None:
        """We are connected by the last token: our membership says so."""
        assert self._asked is not None
        self._here, self._tries = self._asked, 0
        self._say(self._here)

    async def moved(self) -> None:
        """Returns when a membership that is older than ours leads elsewhere than where we are. Where ours is the
        oldest, the others come to us."""
        while not self._elsewhere():
            await self._call.changed()

    def further(self) -> list[str]:
        """The services, other than where we have arrived, at whose servers others publish: at most eight, those of the
        oldest first. None before we are anywhere."""
        if self._here is None:
            return []
        others = [one for one in self._call.memberships if not self._is_ours(one)]
        found = [focus.service_url for focus in further_foci(others, _now_ms(), self._known)]
        return [url for url in found if url != self._here.service_url][:FURTHER_LIMIT]

    async def grant_at(self, service_url: str) -> Grant:
        """A new token for one of the `further` services. Raises what `FocusTokens.grant` raises."""
        known = {focus.service_url: focus for focus in self._known}
        return await self._buy(known.get(service_url) or Focus(service_url, Source.MEMBERSHIP))

    async def changed(self) -> None:
        """Returns when `further` may be others than before."""
        await self._call.changed()

    def _elsewhere(self) -> bool:
        memberships = self._call.memberships
        found = leading(memberships, _now_ms(), self._known)
        ours = [age(one) for one in memberships if self._is_ours(one)]
        if found is None or self._here is None or not ours:
            return False
        membership, focus = found
        return age(membership) < min(ours) and self._place(focus) != self._place(self._here)

    def _say(self, focus: Focus) -> None:
        self._call.announce([Transport(LIVEKIT, *self._place(focus))])

    def _place(self, focus: Focus) -> tuple[str, str]:
        """The service, and the room that it is asked for."""
        return focus.service_url, focus.alias or self._call.session.room_id

    async def _where(self) -> Focus:
        memberships = self._call.memberships
        found = leading(memberships, _now_ms(), await self._trusted(memberships))
        tries, self._tries = self._tries, self._tries + 1
        announced = None
        if found is not None:
            membership, focus = found
            if not self._is_ours(membership):
                return focus
            # What we have announced ourselves counts only if others can be there. It may be dead, and nobody else can
            # lead them away: so every second time it is our homeserver's word that counts.
            announced = None if all(map(self._is_ours, memberships)) else focus
            if announced is not None and tries % 2 == 0:
                return announced
        try:
            return await self._own_focus()
        except (FocusError, RemoteProtocolError):
            if announced is None:
                raise
            return announced

    async def _trusted(self, memberships: Iterable[RtcMembership]) -> tuple[Focus, ...]:
        """The services on this machine that a membership may name."""
        if self._own is None and name_this_machine(memberships):
            with suppress(FocusError, RemoteProtocolError):
                await self._own_focus()
        return self._known

    async def _buy(self, focus: Focus) -> Grant:
        self._check_inside()
        session = self._call.session
        member_id = session.member_id if self._call.sticky else None
        tokens = FocusTokens(
            self._client, focus, session.room_id, session.slot_id, member_id=member_id, timeout=self._timeout
        )
        return await tokens.grant()

    def _check_inside(self) -> None:
        if self._call.session.member_id is None:
            raise LocalProtocolError("we are not in the call: its media are connected inside its block")

    async def _own_focus(self) -> Focus:
        self._own = await own_focus(self._client, well_known=self._well_known)
        return self._own

    @property
    def _known(self) -> tuple[Focus, ...]:
        return self._local if self._own is None else (*self._local, self._own)

    def _is_ours(self, membership: RtcMembership) -> bool:
        session = self._call.session
        return (membership.user_id, membership.device_id) == (session.user_id, session.device_id)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
