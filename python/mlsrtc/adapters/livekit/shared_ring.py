"""The key of one LiveKit room in which all send under one, kept by the notices of a call. Knows the SDK by one method.

The SDK has a mode for it: one key for everybody in the room, whoever it is, at index 0, where each track begins. While
we may not send, a random key lies there that nobody else has.
"""

from typing import Protocol

from mlsrtc.adapters.livekit.keyring import nobodys_key
from mlsrtc.mls import Secret
from mlsrtc.notices import MediaKeysChanged, Muted, Notice, SendKeySwitched


class SharedKeyProvider(Protocol):
    """`livekit.rtc.KeyProvider`, as far as it is used."""

    def set_shared_key(self, key: bytes, key_index: int) -> None:
        """Put everybody's key into a slot, in place of what is there."""


class SharedRing:
    """Puts the key that a call tells where LiveKit looks for it, with the verbs of `KeyRing`."""

    def __init__(self, provider: SharedKeyProvider) -> None:
        self._provider = provider
        self._secret: Secret | None = None
        self._sends = False

    @property
    def sends(self) -> bool:
        """Whether we may send."""
        return self._sends

    def tell(self, notice: Notice) -> None:
        """Do what a notice asks of a key ring. Who comes and goes asks nothing: the key is everybody's."""
        match notice:
            case MediaKeysChanged(keys=(key, *_)) if self._secret is None:
                self._secret = key.secret
                self._set(key.secret)
            case SendKeySwitched():
                self._sends = self._secret is not None
            case Muted():
                self._secret, self._sends = None, False
                self._set(nobodys_key())
            case _:
                pass

    def set_anew(self, identity: str) -> None:
        """Put the key where it lies already, whoever is not heard: it is everybody's."""
        if self._secret is not None:
            self._set(self._secret)

    def published(self) -> None:
        """A track of ours is new: it is at the index of the key already."""

    def _set(self, secret: Secret) -> None:
        # A call that has ended at once has wiped its key before it was told.
        self._provider.set_shared_key((secret or nobodys_key()).expose(), 0)
