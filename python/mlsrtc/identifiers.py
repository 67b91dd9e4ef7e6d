"""Names for the things a call is made of. Knows nothing else of the package.

Each is the plain value under a `NewType`, so a type checker keeps them apart and nothing is paid at run time.
"""

from typing import NewType

RoomId = NewType("RoomId", str)
"""A Matrix room: ``!opaque:server``."""

SlotId = NewType("SlotId", str)
"""A call slot of a room (MSC4143): ``m.call#ROOM``."""

UserId = NewType("UserId", str)
"""A Matrix user: ``@localpart:server``."""

DeviceId = NewType("DeviceId", str)
"""A Matrix device of a user."""

EventId = NewType("EventId", str)
"""A Matrix event: ``$opaque``."""

MemberId = NewType("MemberId", str)
"""One participation of one device: 43 characters of unpadded base64url, a SHA-256 (docs/protocol.md, member_id).

It commits to the device and to a leaf key that is fresh per join, so that nobody can speak or leave in another's name.
"""

EpochId = NewType("EpochId", bytes)
"""One epoch on one branch: 32 bytes, SHA-256 over GroupContext and confirmation tag (docs/protocol.md, epoch id)."""

LeafIndex = NewType("LeafIndex", int)
"""The place of a leaf in the ratchet tree (RFC 9420 section 4.1), from 0."""

KeyIndex = NewType("KeyIndex", int)
"""The place of a media key in a LiveKit or Element Call key ring, 1..255."""
