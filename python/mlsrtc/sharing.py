"""Our own key where keys are handed out (`m.per_member`): made, handed to whom it is for, and told.

Knows the desk, and who is in the call device by device; knows no membership and no MLS.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from mlsrtc.desk import Desk
from mlsrtc.handing import Handing, Ourselves
from mlsrtc.keyshare.audience import Guest
from mlsrtc.keyshare.rotation import LAST_INDEX, SMALL_RING, OwnKey, Rotation
from mlsrtc.media.keys import MediaKey, Sender
from mlsrtc.notices import KeyNotice, MediaKeysChanged, Muted, SendKeySwitched
from mlsrtc.policy import Policy
from mlsrtc.wire.incoming import Now
from mlsrtc.wire.key_event import KeyFormat


@dataclass(slots=True)
class Sharing:
    """The keys of one session."""

    policy: Policy
    handing: Handing
    rotation: Rotation = field(init=False)
    _told: dict[int, MediaKey] = field(default_factory=dict)  # our own keys, by generation
    _sending: int | None = None  # the generation that we send under, as told

    def __post_init__(self) -> None:
        self.rotation = Rotation(self.policy)

    def settle(self, desk: Desk, guests: Collection[Guest], *, inside: bool, lobby: bool = False) -> None:
        """Bring the keys to who is here. `inside`: we are in the call; else we watch. `lobby`: we are about to join,
        and our policy says whether that is the time to hand out our key."""
        now, handing = desk.now.monotonic, self.handing
        self._look(guests)
        if inside:
            self.rotation.settle(now, handing.holders)
        elif lobby and self.policy.share_in_lobby:
            self.rotation.prepare(now, handing.holders)
        handing.listen(desk, inside=inside)
        if inside:
            self._tell(desk)
        handing.hand_out(desk, {key: self.rotation.holders(key) for key in self.rotation.keys})
        desk.at(self.rotation.next_timer())

    def clear(self, clear: bool) -> None:
        """Whether keys go out in the clear. One that did is the homeservers' too, and not used once they go sealed."""
        if self.handing.clear and not clear:
            self.rotation.give_up()
        self.handing.clear = clear

    def begin(self, now: Now, guests: Collection[Guest]) -> None:
        """We are about to be in the call: what was handed out in the lobby is begun, and handed out again if the others
        may have thrown it away meanwhile."""
        self._look(guests)
        self.handing.renew(now, older_than=self.policy.keys_waiting_seconds / 2)
        self.rotation.begin(now.monotonic, self.handing.holders)

    def renew(self, now: Now) -> None:
        """Our membership was gone and comes back: the others may have thrown our key away."""
        self.handing.renew(now, older_than=0.0)

    def stop(self, desk: Desk, ourselves: Ourselves) -> None:
        """Forget every key: we are in the call no more. `ourselves`: who we are in the next participation."""
        withdrawn = (*self.handing.stop(desk), *(key.sender for key in self._told.values()))
        self.rotation.stop()
        if self._sending is not None:
            desk.tell(Muted("left"))
        if withdrawn:
            desk.tell(MediaKeysChanged(None, None, (), withdrawn))
        self._told.clear()
        self._sending = None
        self.handing.ourselves = ourselves

    def standing(self) -> list[KeyNotice]:
        """The notices that tell the keys of this moment to who has heard none before."""
        keys = (*self.handing.standing(), *self._told.values())
        notices: list[KeyNotice] = [MediaKeysChanged(None, None, keys, (), self.handing.flagged)] if keys else []
        if self._sending is not None:
            notices.append(SendKeySwitched(None, None, self._told[self._sending].index))
        return notices

    # -- inside --------------------------------------------------------------------------------------------------------

    def _look(self, guests: Collection[Guest]) -> None:
        self.handing.look(guests)
        small = any(guest.format is KeyFormat.FAMEDLY for guest in self.handing.guests.values())
        self.rotation.ring = SMALL_RING if small else LAST_INDEX

    def _tell(self, desk: Desk) -> None:
        """Install, switch, then withdraw, so that nothing is sent under a slot that is empty."""
        flagged, installed = self.handing.flagged, []
        for key in self.rotation.keys:
            if key.generation not in self._told:
                self._told[key.generation] = _media_key(self.handing.ourselves.sender(key.index), key)
                installed.append(self._told[key.generation])
        if installed:
            desk.tell(MediaKeysChanged(None, None, tuple(installed), (), flagged))
        current = self.rotation.current
        if current is not None and self._sending != current.generation:
            self._sending = current.generation
            desk.tell(SendKeySwitched(None, None, current.index))
        live = {key.generation: key.index for key in self.rotation.keys}
        withdrawn: list[Sender] = []
        for generation in self._told.keys() - live.keys():
            sender = self._told.pop(generation).sender
            if sender.index not in live.values():  # A ratcheted key has taken its place already.
                withdrawn.append(sender)
        if withdrawn:
            desk.tell(MediaKeysChanged(None, None, (), tuple(withdrawn), flagged))


def _media_key(sender: Sender, key: OwnKey) -> MediaKey:
    return MediaKey(sender.member_id, sender.user_id, sender.device_id, None, sender.index, key.secret)
