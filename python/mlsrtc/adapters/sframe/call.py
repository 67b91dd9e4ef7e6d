"""SFrame under the keys of a call: what it tells goes in, frames come out.

Each sender has a base key of its own, its media key of the epoch (docs/protocol.md, Media keys).
"""

from dataclasses import dataclass, field
from typing import Protocol

from mlsrtc.adapters.sframe.header import EPOCH_BITS, LEAF_BITS, decode_header
from mlsrtc.adapters.sframe.keys import Opened, Receiving, SealingKey, SenderKeys, Unique, own_frame, unknown_kid
from mlsrtc.adapters.sframe.suites import Data, Suite
from mlsrtc.errors import LocalProtocolError
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, UserId
from mlsrtc.media.keys import MediaKey, Sender
from mlsrtc.notices import Left, MediaKeysChanged, MediaKeysRetired, Muted, Notice, SendKeySwitched

_LEAF = (1 << LEAF_BITS) - 1
_INDEX = (1 << EPOCH_BITS) - 1


def no_epochs() -> LocalProtocolError:
    """The call hands its keys out. A KID here names an epoch and a leaf, and such a call has neither."""
    return LocalProtocolError("SFrame is for calls keyed by MLS: this call hands its keys out", reason="no_epochs")


class Participation(Protocol):
    """Says which member of the call we are. A `Session` does: `call.session` of a call that an adapter drives."""

    @property
    def member_id(self) -> MemberId | None:
        """Our present participation; None outside the call."""


@dataclass(frozen=True, slots=True)
class _Sending:
    """What we send under."""

    epoch: EpochId
    base: MediaKey
    key: SealingKey


class CallSender(Unique):
    """Encrypts our own frames in a call: of all streams, or one sender for each.

    ourselves: says which of the keys that are told is ours.
    suite: the same for all in the call.

    Tell it every notice of the call, in their order and at once: it switches and stops by them. Before the first
    `SendKeySwitched`, and after a `Muted`, it encrypts nothing.
    """

    def __init__(self, ourselves: Participation, *, suite: Suite = Suite.AES_128_GCM_SHA256_128) -> None:
        self.suite = Suite(suite)
        self._ourselves = ourselves
        self._keys: dict[EpochId, MediaKey] = {}  # our own
        self._sending: _Sending | None = None

    def tell(self, notice: Notice) -> None:
        """What the call tells. Other notices than those of keys are passed over."""
        match notice:
            case MediaKeysChanged(id=bytes() as epoch, keys=keys):
                own = self._ourselves.member_id
                self._keys.update((epoch, key) for key in keys if key.member_id == own)
            case SendKeySwitched(id=bytes() as epoch):
                self._sending = self._begin(epoch)
            case SendKeySwitched():
                raise no_epochs()
            case MediaKeysRetired(id=epoch):
                self._keys.pop(epoch, None)
                if self._sending is not None and self._sending.epoch == epoch:
                    self._sending = None
            case Muted():
                self._sending = None
            case Left():
                self._sending = None
                self._keys.clear()
            case _:
                pass

    def encrypt(self, data: Data, *, metadata: Data = b"") -> bytes:
        """One frame: header, ciphertext and tag (RFC 9605 section 4.4.3). `metadata` is not in it: it goes beside it,
        authenticated, and the receiver needs the same.

        Raises LocalProtocolError: muted, there is no key that we may send under; forked; spent_key; oversized.
        """
        sending = self._sending
        if sending is None or not sending.base.secret:
            raise LocalProtocolError("there is no key to send under", reason="muted")
        return sending.key.seal(data, metadata)

    def _begin(self, epoch: EpochId) -> _Sending | None:
        if self._sending is not None and self._sending.epoch == epoch:
            return self._sending  # told again
        key = self._keys.get(epoch)
        if key is None or key.leaf is None:
            return None
        try:
            return _Sending(epoch, key, SealingKey(self.suite, key.secret, key.leaf, key.index))
        except LocalProtocolError as error:
            if error.reason != "wiped":
                raise
            return None  # told late: the session has dropped the epoch since

    def __repr__(self) -> str:
        under = "muted" if self._sending is None else f"sending under index {self._sending.base.index}"
        return f"CallSender({self.suite.name}, {under})"


@dataclass(slots=True)
class _Epoch:
    """Who is heard in one epoch, by leaf. What was received is remembered of those as well who are not heard now."""

    id: EpochId
    heard: dict[int, tuple[Sender, SenderKeys]] = field(default_factory=dict)
    known: dict[int, SenderKeys] = field(default_factory=dict)
    own: set[int] = field(default_factory=set)


class CallReceiver(Unique):
    """Decrypts the frames of the others in a call.

    ourselves: says which of the keys that are told is ours, under which nothing is opened.
    suite: the same for all in the call.
    window: so many counters behind the newest of a sender may come late, each once.
    contexts: so often may one sender begin in one epoch (streams with a sender of their own, restarts).

    Tell it every notice of the call, in their order. It knows nothing of what was received before it was made.
    """

    def __init__(
        self,
        ourselves: Participation,
        *,
        suite: Suite = Suite.AES_128_GCM_SHA256_128,
        window: int = 128,
        contexts: int = 64,
    ) -> None:
        """Raises LocalProtocolError if a number is not positive."""
        self.suite = Suite(suite)
        self._how = Receiving(self.suite, window, contexts)
        self._ourselves = ourselves
        self._device: tuple[UserId, DeviceId] | None = None  # ours, once a key of ours was told
        self._epochs: dict[int, _Epoch] = {}  # by key index

    def tell(self, notice: Notice) -> None:
        """What the call tells. Other notices than those of keys are passed over."""
        match notice:
            case MediaKeysChanged(id=bytes() as epoch, keys=keys):
                self._install(epoch, keys)
            case SendKeySwitched(id=None):
                raise no_epochs()
            case MediaKeysRetired(id=epoch, index=index):
                if (held := self._epochs.get(index)) is not None and held.id == epoch:
                    del self._epochs[index]
            case Left():
                self._epochs.clear()
            case _:
                pass

    def decrypt(self, frame: Data, *, metadata: Data = b"") -> Opened[Sender]:
        """What a frame holds and whose it is (RFC 9605 section 4.4.4). Compare `sender` with whom the stream is shown
        as: a media server can send one member's frames in the stream of another.

        Raises RemoteProtocolError: truncated, not_minimal, unknown_kid, own_frame, crowded, replayed, too_late,
        bad_tag.
        """
        kid, counter, size = decode_header(frame)
        epoch, leaf = self._epochs.get(kid & _INDEX), kid >> EPOCH_BITS & _LEAF
        if epoch is None or (found := epoch.heard.get(leaf)) is None:
            raise own_frame() if epoch is not None and leaf in epoch.own else unknown_kid()
        data = found[1].open(frame, kid, counter, size, metadata)
        return Opened(data, found[0], kid, counter)

    def _install(self, epoch: EpochId, keys: tuple[MediaKey, ...]) -> None:
        for key in keys:
            if key.member_id == self._ourselves.member_id:
                self._device = key.user_id, key.device_id
        held = next((one for one in self._epochs.values() if one.id == epoch), None) or _Epoch(epoch)
        by_leaf: dict[int, MediaKey] = {key.leaf: key for key in keys if key.leaf is not None}
        own = {leaf for leaf, key in by_leaf.items() if (key.user_id, key.device_id) == self._device}
        held.heard = {
            leaf: (key.sender, held.known.setdefault(leaf, SenderKeys(self._how, key.secret)))
            for leaf, key in by_leaf.items()
            if leaf not in own
        }
        held.own = own
        self._epochs.update((key.index, held) for key in keys)  # one index for all of them

    def __repr__(self) -> str:
        return f"CallReceiver({self.suite.name}, indexes {sorted(self._epochs)})"
