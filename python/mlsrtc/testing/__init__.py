"""For tests of sessions and of applications: a hostile homeserver in memory, and a party of N devices on it.

Shipped with the package; needs nothing that the package does not need, but for `strategies` (Hypothesis).
Everything happens in virtual time and follows from one `random.Random`.
"""

from mlsrtc.testing.connection import Answer, Connection, SyncToken
from mlsrtc.testing.device import CrashPoint, PartyDevice, SessionFactory, SessionLike
from mlsrtc.testing.homeserver import Homeserver
from mlsrtc.testing.hostile import Twins
from mlsrtc.testing.identities import LabDevice, LabUser
from mlsrtc.testing.limits import Limits
from mlsrtc.testing.network import Hostility, Latency
from mlsrtc.testing.party import NeverHappened, Party
from mlsrtc.testing.world import RoomSettings, World

__all__ = [
    "Answer",
    "Connection",
    "CrashPoint",
    "Homeserver",
    "Hostility",
    "LabDevice",
    "LabUser",
    "Latency",
    "Limits",
    "NeverHappened",
    "Party",
    "PartyDevice",
    "RoomSettings",
    "SessionFactory",
    "SessionLike",
    "SyncToken",
    "Twins",
    "World",
]
