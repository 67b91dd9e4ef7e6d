"""The schemes that are compared, each as one value with a name, its constants, and a way to play a trace.

A model is a `Peer` of its own for the hall; a real state machine is a `Machine` that plays on the homeserver in memory.
Both write the same `Record`. To put one in, add it to `SCHEMES`.
"""

from collections.abc import Mapping

from mlsrtc.simulate.schemes.element_call import ELEMENT_CALL, ELEMENT_CALL_BUDGET, ELEMENT_CALL_LIMIT
from mlsrtc.simulate.schemes.famedly import FAMEDLY, FAMEDLY_RATCHET
from mlsrtc.simulate.schemes.jitsi import JITSI, JITSI_UNLIMITED
from mlsrtc.simulate.schemes.keyshare import KEYSHARE
from mlsrtc.simulate.schemes.ordered import CLOUDFLARE, DAVE, WEBEX, WIRE
from mlsrtc.simulate.schemes.ours import MLSRTC
from mlsrtc.simulate.schemes.scheme import Model, Scheme
from mlsrtc.simulate.schemes.zoom import ZOOM

ALL: tuple[Scheme, ...] = (
    JITSI,
    JITSI_UNLIMITED,
    ZOOM,
    ELEMENT_CALL,
    ELEMENT_CALL_LIMIT,
    ELEMENT_CALL_BUDGET,
    FAMEDLY,
    FAMEDLY_RATCHET,
    DAVE,
    WEBEX,
    WIRE,
    CLOUDFLARE,
    KEYSHARE,
    MLSRTC,
)
SCHEMES: Mapping[str, Scheme] = {scheme.name: scheme for scheme in ALL}

__all__ = ["SCHEMES", "Model", "Scheme"]
