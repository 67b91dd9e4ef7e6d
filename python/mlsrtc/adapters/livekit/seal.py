"""Data packets, sealed by ourselves with SFrame, under the sender's key of the epoch (docs/protocol.md, Media keys).

The SDK hands on a packet that came in clear like one that it has decrypted, and of those that it decrypts it does not
say whose they are. So nothing is taken from what it says: neither that a packet was encrypted, nor whose it is.
"""

from mlsrtc.adapters.livekit.errors import MediaError
from mlsrtc.adapters.sframe import CallReceiver, CallSender, Opened, Participation
from mlsrtc.errors import LocalProtocolError
from mlsrtc.media.keys import Sender
from mlsrtc.notices import Notice, SendKeySwitched

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
        self._receiver = CallReceiver(ourselves)
        self._no_epochs = False

    def tell(self, notice: Notice) -> None:
        """What the call says. One that hands its keys out has no epochs, and nothing is sealed or opened in it."""
        if isinstance(notice, SendKeySwitched) and notice.id is None:
            self._no_epochs = True
            return
        for sender in self._senders.values():
            sender.tell(notice)
        self._receiver.tell(notice)

    def seal(self, data: bytes, topic: str, *, reliable: bool = True) -> bytes:
        """What to send: at most 33 bytes more. The topic is authenticated with it. reliable: which way it goes.

        Raises MediaError("muted") while there is no epoch that we may send under, MediaError("no_epochs") in a call
        that hands its keys out, and what `CallSender` raises else.
        """
        if self._no_epochs:
            raise MediaError("no_epochs", "data packets need a call keyed by MLS: this one hands its keys out")
        try:
            return self._senders[reliable].encrypt(data, metadata=_metadata(topic))
        except LocalProtocolError as error:
            if error.reason != "muted":
                raise
            raise MediaError("muted", "there is no epoch that we may send under") from None

    def open(self, packet: bytes, topic: str) -> Opened[Sender]:
        """What was sent, and by whom. Raises RemoteProtocolError as `CallReceiver.decrypt` does."""
        return self._receiver.decrypt(packet, metadata=_metadata(topic))


def _metadata(topic: str) -> bytes:
    return LABEL + topic.encode()
