"""How the frames of each participant fare, as the SDK says it, and what is done about those that do not decrypt.

The call is told whom we do not hear: a key that was missed is asked for. And what has failed for a while the SDK tries
no more until a key of its sender is set, so keys are set anew as long as it fails: one that is right after all, having
come twice or having lain there while its sender was under another, is not to wait for the next. Knows no SDK.
"""

import asyncio
from collections.abc import Callable, Mapping

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit.notices import Decryption, DecryptionChanged
from mlsrtc.session import CallMember

ANEW_SECONDS = 2.0  # between two times that a key is set anew; each has the SDK try ten frames or so
UNHEARD = frozenset({Decryption.FAILED, Decryption.NO_KEY})


class States:
    """Of everybody in one connection, until `close`.

    members: who is in the call, by identity in LiveKit. set_anew: puts the keys of one identity where they lie already.
    """

    def __init__(
        self, call: Call, members: Callable[[], Mapping[str, CallMember]], set_anew: Callable[[str], None]
    ) -> None:
        self._call = call
        self._members = members
        self._set_anew = set_anew
        self._states: dict[str, Decryption] = {}
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, identity: str, state: Decryption, *, ours: bool = False) -> None:
        """What the SDK says of somebody, us included."""
        if self._states.get(identity) == state:
            return
        self._states[identity] = state
        member = self._members().get(identity)
        self._call.tell(DecryptionChanged(identity, member, state))
        if not ours:
            self._mark(identity, member)
            if state is Decryption.FAILED and self._timer is None:
                self._wait()

    def look(self) -> None:
        """There may be other members than there were."""
        unheard = [identity for identity, state in self._states.items() if state in UNHEARD]
        members = self._members() if unheard else {}
        for identity in unheard:
            self._mark(identity, members.get(identity))

    def forget(self, identity: str) -> None:
        """Somebody sends nothing more: nothing of it fails."""
        if self._states.pop(identity, None) in UNHEARD:
            self._mark(identity, self._members().get(identity))

    def close(self) -> None:
        """The connection is over."""
        for identity in tuple(self._states):
            self.forget(identity)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _mark(self, identity: str, member: CallMember | None) -> None:
        if member is not None:
            self._call.mark_heard(member.member_id, heard=self._states.get(identity) not in UNHEARD)

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(ANEW_SECONDS, self._try_anew)

    def _try_anew(self) -> None:
        self._timer = None
        failing = [identity for identity, state in self._states.items() if state is Decryption.FAILED]
        for identity in failing:
            self._set_anew(identity)
        if failing:
            self._wait()
