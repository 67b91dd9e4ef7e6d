"""SFrame (RFC 9605): media frames encrypted and decrypted under the keys of a call, or of an MLS group of your own.

`CallSender` and `CallReceiver` are told a call's notices and use its per-sender keys. `MlsSender` and `MlsReceiver`
follow a group of `mlsrtc.mls` that is one call (RFC 9605 section 5.2). All of them may be used from several threads.

No counter is kept anywhere but in the sender that counts, and no two senders count under one key: each draws a random
context when it begins an epoch, which is part of the KID, and so of what the key is derived from. That holds after a
restart, in a child process, and for two senders of one member side by side. A sender cannot be copied or pickled, and
one that came over a fork refuses to encrypt.

A key is chosen by the KID alone, never by trying: AES-GCM does not commit to its key.

What a frame is refused for is told as RemoteProtocolError, and has changed nothing: `truncated`, `not_minimal`,
`unknown_kid`, `own_frame`, `crowded`, `replayed`, `too_late`, `bad_tag`. A frame with `unknown_kid` may be tried again
when new keys have come; every other one is to be dropped.
"""

from mlsrtc.adapters.sframe.call import CallReceiver, CallSender, Participation
from mlsrtc.adapters.sframe.group import MlsReceiver, MlsSender
from mlsrtc.adapters.sframe.header import Kid, decode_header, encode_header
from mlsrtc.adapters.sframe.keys import Opened
from mlsrtc.adapters.sframe.suites import Suite

__all__ = [
    "CallReceiver",
    "CallSender",
    "Kid",
    "MlsReceiver",
    "MlsSender",
    "Opened",
    "Participation",
    "Suite",
    "decode_header",
    "encode_header",
]
