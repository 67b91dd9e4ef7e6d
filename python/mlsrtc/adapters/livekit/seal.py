"""Data packets, sealed by ourselves with SFrame, under the sender's media key (docs/protocol.md, Media keys): of the
epoch, or of the sender alone where keys are handed out.

The SDK hands on a packet that came in clear like one that it has decrypted, and of those that it decrypts it does not
say whose they are. So nothing is taken from what it says: neither that a packet was encrypted, nor whose it is.
"""

from mlsrtc.adapters.driver import MediaSink
from mlsrtc.adapters.livekit.errors import MediaError
from mlsrtc.adapters.livekit.handed import HandedReceiver, HandedSender
from mlsrtc.adapters.sframe import CallReceiver, CallSender, Opened, Participation
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.media.keys import Sender
from mlsrtc.notices import MediaKeysChanged, Notice, SendKeySwitched

LABEL = b"mlsrtc data packet 1"
"""Begins the metadata of a packet: no media frame under the same key is taken for one."""


class DataSeal:
    """Seals our packets and opens those of others, each once. Tell it every notice of the call, and keep it for as long
    as the call goes on: it remembers what was received.

    ourselves: says which member we are.
    """

    def __init__(self, ourselves: Participation) -> None:
        # One for each of the two ways: what is sent as fast as it can pushes nothing that is sent for sure out of the
        # receiver's window.
        self._senders = {reliable: CallSender(ourselves) for reliable in (True, False)}
        self._handed = {reliable: HandedSender(ourselves) for reliable in (True, False)}
        self._receiver = CallReceiver(ourselves)
        self._handed_receiver = HandedReceiver(ourselves)
        self._by_epoch: tuple[MediaSink, ...] = (*self._senders.values(), self._receiver)
        self._by_device: tuple[MediaSink, ...] = (*self._handed.values(), self._handed_receiver)

    def tell(self, notice: Notice) -> None:
        """What the call says. What has no epoch is of a call that hands its keys out."""
        match notice:
            case MediaKeysChanged(id=None) | SendKeySwitched(id=None):
                told = self._by_device
            case MediaKeysChanged() | SendKeySwitched():
                told = self._by_epoch
            case _:
                told = self._by_device + self._by_epoch
        for one in told:
            one.tell(notice)

    def seal(self, data: bytes, topic: str, *, reliable: bool = True) -> bytes:
        """What to send: at most 33 bytes more. The topic is authenticated with it. reliable: which way it goes.

        Raises MediaError("muted") while there is no key that we may send under, MediaError("passphrase") in a call
        whose key is one, and what `CallSender` raises else.
        """
        if self._handed[reliable].passphrase:
            raise MediaError("passphrase", "data packets would make it easier to guess than sound and pictures do")
        try:
            if self._handed[reliable].sends:
                return self._handed[reliable].seal(data, topic)
            return self._senders[reliable].encrypt(data, metadata=_metadata(topic))
        except LocalProtocolError as error:
            if error.reason != "muted":
                raise
            raise MediaError("muted", "there is no key that we may send under") from None

    def open(self, packet: bytes, topic: str) -> Opened[Sender]:
        """What was sent, and by whom. Raises RemoteProtocolError as `CallReceiver.decrypt` does."""
        try:
            return self._receiver.decrypt(packet, metadata=_metadata(topic))
        except RemoteProtocolError as error:
            if error.reason != "unknown_kid":
                raise
        return self._handed_receiver.open(packet, topic)


def _metadata(topic: str) -> bytes:
    return LABEL + topic.encode()
