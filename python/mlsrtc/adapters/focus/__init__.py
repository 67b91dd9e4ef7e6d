"""The focus of a call (extra `livekit`): which LiveKit SFU its media goes to, and the token that lets us in.

A *focus* is a token service and the SFU behind it. Homeservers and memberships announce the service; it takes an OpenID
token of our homeserver and gives the address of the SFU and a LiveKit token. Knows nothing of media, keys and MLS.
"""

from mlsrtc.adapters.focus.call import CallFocus
from mlsrtc.adapters.focus.discovery import Focus, Source, find_focus, oldest_focus, own_focus, present_memberships
from mlsrtc.adapters.focus.errors import FocusError
from mlsrtc.adapters.focus.token import FocusTokens, Grant, room_alias

__all__ = [
    "CallFocus",
    "Focus",
    "FocusError",
    "FocusTokens",
    "Grant",
    "Source",
    "find_focus",
    "oldest_focus",
    "own_focus",
    "present_memberships",
    "room_alias",
]
