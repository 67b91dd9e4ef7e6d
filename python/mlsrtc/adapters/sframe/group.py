"""SFrame from an MLS group by itself (RFC 9605 section 5.2): one base key for all senders of an epoch.

Only for a group that is one call: the base key is exported without a context, so two calls in one group would share it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from mlsrtc.adapters.sframe.header import EPOCH_BITS, LEAF_BITS, decode_header
from mlsrtc.adapters.sframe.keys import Opened, Receiving, SealingKey, SenderKeys, Unique, own_frame, unknown_kid
from mlsrtc.adapters.sframe.suites import Data, Suite
from mlsrtc.errors import LocalProtocolError
from mlsrtc.mls import Group, Member, Secret
from mlsrtc.policy import Policy

LABEL = "SFrame 1.0 Base Key"
GRACE = Policy().old_media_key_seconds

_LEAF = (1 << LEAF_BITS) - 1
_EPOCH = (1 << EPOCH_BITS) - 1


def base_key(group: Group, suite: Suite) -> Secret:
    """The secret that all keys of the epoch are derived from."""
    return group.export(LABEL, b"", suite.key_size)


def check_follows(group: Group, group_id: bytes) -> None:
    """Raises LocalProtocolError("wrong_group") unless it is the same group, at whatever epoch."""
    if group.group_id != group_id:
        raise LocalProtocolError("this is another group", reason="wrong_group")


class MlsSender(Unique):
    """Encrypts our own frames in the group's epoch: of all streams, or one sender for each.

    group: where we stand; give `follow` the next one when the others have had time to get there.
    suite: the same for all in the group.
    """

    def __init__(self, group: Group, *, suite: Suite = Suite.AES_128_GCM_SHA256_128) -> None:
        """Raises LocalProtocolError for a leaf index above 65,535."""
        self.suite = Suite(suite)
        self._group_id = group.group_id
        self._place: tuple[bytes, int] | None = None
        self.follow(group)

    def follow(self, group: Group) -> None:
        """Send in this epoch from now on, if we do not yet. Raises LocalProtocolError("wrong_group")."""
        check_follows(group, self._group_id)
        place = group.confirmation_tag, group.own_leaf
        if place == self._place:
            return
        secret = base_key(group, self.suite)
        self._key = SealingKey(self.suite, secret, group.own_leaf, group.epoch & _EPOCH)
        self._epoch, self._place = group.epoch, place
        secret.wipe()

    def encrypt(self, data: Data, *, metadata: Data = b"") -> bytes:
        """One frame: header, ciphertext and tag (RFC 9605 section 4.4.3). `metadata` is not in it: it goes beside it,
        authenticated, and the receiver needs the same.

        Raises LocalProtocolError: forked, spent_key, oversized.
        """
        return self._key.seal(data, metadata)

    def __repr__(self) -> str:
        return f"MlsSender({self.suite.name}, epoch {self._epoch})"


@dataclass(slots=True)
class _Epoch:
    number: int
    base_key: Secret
    own_leaf: int
    senders: dict[int, tuple[Member, SenderKeys]]
    until: float | None = None  # when it is dropped; None: we stand on it

    def __post_init__(self) -> None:
        self.senders.pop(self.own_leaf, None)


class MlsReceiver(Unique):
    """Decrypts the frames of the other members.

    group: where we stand; give `follow` the next one at once.
    suite: the same for all in the group.
    grace: seconds that a former epoch is still received in.
    window: so many counters behind the newest of a sender may come late, each once.
    contexts: so often may one sender begin in one epoch (streams with a sender of their own, restarts).
    clock: monotonic seconds.
    """

    def __init__(
        self,
        group: Group,
        *,
        suite: Suite = Suite.AES_128_GCM_SHA256_128,
        grace: float = GRACE,
        window: int = 128,
        contexts: int = 64,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises LocalProtocolError if window or contexts is not positive, or grace is negative."""
        self.suite = Suite(suite)
        self._how = Receiving(self.suite, window, contexts)
        if not grace >= 0:
            raise LocalProtocolError("grace is at least 0")
        self._grace, self._clock = grace, clock
        self._group_id = group.group_id
        self._epochs: dict[int, _Epoch] = {}  # by the low bits of their number
        self.follow(group)

    def follow(self, group: Group) -> None:
        """Receive in this epoch as well from now on; the one before ends after the grace. An older one whose number has
        the same low 8 bits ends at once. Raises LocalProtocolError("wrong_group")."""
        check_follows(group, self._group_id)
        secret = base_key(group, self.suite)
        place = group.epoch & _EPOCH
        held = self._epochs.get(place)
        for epoch in list(self._epochs.values()):  # another thread may drop one
            if epoch is not held and epoch.until is None:
                epoch.until = self._clock() + self._grace
        if held is not None and held.base_key == secret:
            held.until = None
            secret.wipe()
        else:
            if held is not None:
                held.base_key.wipe()
            senders = {member.leaf: (member, SenderKeys(self._how, secret)) for member in group.members()}
            self._epochs[place] = _Epoch(group.epoch, secret, group.own_leaf, senders)
        self._drop_old()

    def decrypt(self, frame: Data, *, metadata: Data = b"") -> Opened[Member]:
        """What a frame holds and whose it is (RFC 9605 section 4.4.4). Compare `sender` with whom the stream is shown
        as: a media server can send one member's frames in the stream of another.

        Raises RemoteProtocolError: truncated, not_minimal, unknown_kid, own_frame, crowded, replayed, too_late,
        bad_tag.
        """
        kid, counter, size = decode_header(frame)
        if len(self._epochs) > 1:
            self._drop_old()
        epoch, leaf = self._epochs.get(kid & _EPOCH), kid >> EPOCH_BITS & _LEAF
        if epoch is None or (found := epoch.senders.get(leaf)) is None:
            raise own_frame() if epoch is not None and leaf == epoch.own_leaf else unknown_kid()
        data = found[1].open(frame, kid, counter, size, metadata)
        return Opened(data, found[0], kid, counter)

    def _drop_old(self) -> None:
        now = self._clock()
        for place, epoch in list(self._epochs.items()):
            if epoch.until is not None and epoch.until <= now and self._epochs.pop(place, None) is epoch:
                epoch.base_key.wipe()

    def __repr__(self) -> str:
        return f"MlsReceiver({self.suite.name}, epochs {sorted(epoch.number for epoch in self._epochs.values())})"
