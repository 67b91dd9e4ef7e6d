"""The key ring of one LiveKit room, kept by the notices of a call. Knows the SDK by three of its methods only.

LiveKit's rules (docs/how-to/livekit.md): a ring has 256 slots for each identity and no delete, so a slot is emptied by
random bytes; whose key is set says nothing of what we send under, which each of our tracks is told for itself; but data
packets are sent under the index that was set last, for anybody, so our own key is always set last. A track that is
published begins at index 0: there lies a random key that nobody else has, and while we may not send we are there.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from mlsrtc.identifiers import DeviceId, EpochId, KeyIndex, MemberId, UserId
from mlsrtc.media.keys import MediaKey, Sender
from mlsrtc.mls import Secret, random_bytes
from mlsrtc.notices import MediaKeysChanged, MediaKeysRetired, Muted, Notice, SendKeySwitched

KEY_RING_SIZE = 256
KEY_BYTES = 32
NOWHERE = KeyIndex(0)
"""The index of no epoch: what is sent there is read by nobody."""


Whose = tuple[EpochId | None, MemberId]
"""Whose a key is, and of which epoch: that of a participant without MLS may have the index of an epoch, and stays when
the epoch retires."""


class KeyProvider(Protocol):
    """`livekit.rtc.KeyProvider`, as far as it is used."""

    def set_key(self, participant_identity: str, key: bytes, key_index: int) -> None:
        """Put a key into a slot, in place of what is there."""


class Cryptor(Protocol):
    """`livekit.rtc.FrameCryptor`, as far as it is used."""

    @property
    def participant_identity(self) -> str:
        """Whose track it encrypts or decrypts."""

    def set_key_index(self, key_index: int) -> None:
        """Encrypt under the key in this slot from now on."""


class KeyRing:
    """Puts the keys that a call tells where LiveKit looks for them.

    identity: our own, as the server knows us. us: our user and device. cryptors: those of all tracks in the room, now.
    standing: who is in the call, now.
    """

    def __init__(
        self,
        identity: str,
        us: tuple[UserId, DeviceId],
        provider: KeyProvider,
        cryptors: Callable[[], Iterable[Cryptor]],
        standing: Callable[[], Iterable[MemberId]],
    ) -> None:
        self._identity = identity
        self._us = us
        self._provider = provider
        self._cryptors = cryptors
        self._standing = standing
        self._own: dict[KeyIndex, Secret] = {NOWHERE: nobodys_key()}
        # The keys of each slot: last the one that lies there, before it those that other participations of the same
        # device have put there.
        self._held: dict[tuple[str, KeyIndex], dict[Whose, Secret]] = {}
        self._index = NOWHERE
        self._set_own()

    @property
    def sends(self) -> bool:
        """Whether there is an epoch that we may send under."""
        return self._index != NOWHERE

    def tell(self, notice: Notice) -> None:
        """Do what a notice asks of a key ring; other notices ask nothing."""
        match notice:
            case MediaKeysChanged(id=epoch, keys=keys, withdrawn=withdrawn):
                for sender in withdrawn:
                    for identity in self._names(sender):
                        self._withdraw(identity, sender.index, (epoch, sender.member_id))
                standing = frozenset(self._standing())
                # A device can have two leaves for a moment, under one identity: the one that is here comes last.
                for key in sorted(keys, key=lambda one: one.member_id in standing):
                    self._install(epoch, key)
                if self._index in self._own:
                    self._set_own()
                else:
                    self._switch(NOWHERE)  # our own key was withdrawn
            case SendKeySwitched(index=index):
                self._switch(index)
            case MediaKeysRetired(id=epoch, index=index):
                if index == self._index:
                    self._switch(NOWHERE)
                slots = [(identity, tuple(held)) for (identity, at), held in self._held.items() if at == index]
                for identity, whose in slots:
                    for one in whose:
                        if one[0] == epoch:
                            self._withdraw(identity, index, one)
                self._set_own()
            case Muted():
                self._own[NOWHERE] = nobodys_key()
                self._switch(NOWHERE)
            case _:
                pass

    def set_anew(self, identity: str) -> None:
        """Put the keys of a participant where they lie already; nothing if there are none, or if it is us."""
        slots = [(index, held) for (name, index), held in self._held.items() if name == identity != self._identity]
        for index, held in slots:
            self._set(identity, index, [*held.values()][-1])
        if slots:
            self._set_own()

    def published(self) -> None:
        """A track of ours is new: it goes to the index that the others are at."""
        for cryptor in self._cryptors():
            if cryptor.participant_identity == self._identity:
                cryptor.set_key_index(self._index)

    def _install(self, epoch: EpochId | None, key: MediaKey) -> None:
        for identity in self._names(key):
            held = self._held.setdefault((identity, key.index), {})
            held.pop((epoch, key.member_id), None)
            held[epoch, key.member_id] = key.secret
            self._put(identity, key.index, key.secret)

    def _withdraw(self, identity: str, index: KeyIndex, whose: Whose) -> None:
        """The key of another participation of the same device stays, or comes back."""
        held = self._held.get((identity, index), {})
        if held.pop(whose, None) is None:
            return
        if held:
            self._put(identity, index, [*held.values()][-1])
            return
        del self._held[identity, index]
        if identity == self._identity:
            self._own.pop(index, None)
        self._set(identity, index, nobodys_key())

    def _put(self, identity: str, index: KeyIndex, secret: Secret) -> None:
        if identity == self._identity:
            self._own[index] = secret
        self._set(identity, index, secret)

    def _names(self, sender: Sender) -> tuple[str, ...]:
        """Under which its key lies: ours under the one that we have in this room."""
        ours = (sender.user_id, sender.device_id) == self._us
        return (self._identity,) if ours else identities(sender)

    def _switch(self, index: KeyIndex) -> None:
        """Send under this index, or, if there is no key of ours, where nobody reads it."""
        self._index = index if index in self._own else NOWHERE
        self._set_own()
        self.published()

    def _set(self, identity: str, index: KeyIndex, secret: Secret) -> None:
        # Epochs that are wiped at once are told to be over one by one: a wiped key is over, whatever was told.
        self._provider.set_key(identity, (secret or nobodys_key()).expose(), index)

    def _set_own(self) -> None:
        self._set(self._identity, self._index, self._own[self._index])


def identities(sender: Sender) -> tuple[str, str]:
    """The identities that a member can have in LiveKit: the legacy one, and that of Matrix 2.0 mode (MSC4195)."""
    return sender.livekit_identity, sender.hashed_livekit_identity


def nobodys_key() -> Secret:
    """A key that nobody else has: 32 random bytes."""
    return random_bytes(KEY_BYTES)
