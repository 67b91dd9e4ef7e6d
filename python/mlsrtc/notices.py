"""What a session tells the application: a closed union of frozen values. *Event* is a Matrix event only.

Secrets are `mls.Secret` objects: their repr tells nothing, and they are wiped when their keys retire.
"""

from dataclasses import dataclass
from typing import TypeAlias

from mlsrtc.identifiers import DeviceId, EpochId, EventId, KeyIndex, MemberId, UserId
from mlsrtc.media.keys import MediaKey, Sender


@dataclass(frozen=True, slots=True)
class EpochChanged:
    """We stand on a new epoch. `safety_code` is equal for everybody who stands on it: 30 digits to compare aloud."""

    id: EpochId
    epoch: int
    committer: MemberId | None
    safety_code: str
    members: tuple[MemberId, ...]
    added: tuple[MemberId, ...]
    removed: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True)
class MediaKeysChanged:
    """Receive with exactly these keys in this epoch, one per sender, our own among them. A leaf that our trust policy
    refuses, or whose join we have not seen, has none: nothing that it sends is to be heard.

    Told again for an epoch when whom we refuse has changed. Then first overwrite the slots of `withdrawn` with random
    bytes, each at its index and for its identity, as `MediaKeysRetired` does for all: a key ring has no delete. Then
    install `keys`, before the next `SendKeySwitched`. A key that was told before is the same object: its counter of
    nonces goes on. `flagged`: who is let in by `Trust.ANY_DEVICE` alone.

    Where keys are handed out (`PER_MEMBER`) there are no epochs: `id` and `epoch` are None, and `keys` come beside
    those that were told before. An index then belongs to its sender alone, and what is over is `withdrawn`.
    """

    id: EpochId | None
    epoch: int | None
    keys: tuple[MediaKey, ...]
    withdrawn: tuple[Sender, ...] = ()
    flagged: frozenset[MemberId] = frozenset()


@dataclass(frozen=True, slots=True)
class SendKeySwitched:
    """Send under this index from now on. Where keys are handed out, `id` and `epoch` are None."""

    id: EpochId | None
    epoch: int | None
    index: KeyIndex


@dataclass(frozen=True, slots=True)
class MediaKeysRetired:
    """The keys at this index are wiped: overwrite the slot."""

    id: EpochId
    index: KeyIndex


@dataclass(frozen=True, slots=True)
class Muted:
    """There is no epoch we may send under: send nothing until the next `SendKeySwitched`."""

    reason: str  # gone, removed, refused, begun_before, index_held; left, where keys are handed out


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """Who is in the call changed, whether or not it has keys yet."""

    joined: tuple[MemberId, ...]
    left: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True)
class NotAddable:
    """A device in the call gets no keys from us, and why.

    reason: no_mls, was_mls, version, suite, expired_key, bad_key_package, crowded (it has more participations than the
    policy looks at, and the older ones get none), unknown_device (keys/query does not name it), no_device (its
    membership does not tell it, so that nobody knows where to send a key), or trust's: no_chain, bad_chain,
    master_changed, two_masters, not_verified, revoked. device_id: None where its membership does not tell it, or the
    user has too many devices.
    """

    user_id: UserId
    device_id: DeviceId | None
    reason: str


@dataclass(frozen=True, slots=True)
class Mixed:
    """Participants without MLS take part in a call with MLS: each of these devices is handed our own key, and hands us
    its own. Told when it changes; empty: there are none any more.

    They and whoever they tell hear the call; what they send is protected as Element Call protects it. Those who get no
    key are told by `NotAddable`.
    """

    devices: tuple[tuple[UserId, DeviceId], ...]


@dataclass(frozen=True, slots=True)
class OwnMasterKeyChanged:
    """Our homeserver names another master key (32 bytes) for our own user than the one that is pinned. Ask the user
    whether it has reset its cross-signing, and call `accept_master_key` if so: until then other devices of our user
    that it signed are refused. Our own device goes on; the others refuse it, once it joins anew, until they accept.
    """

    key: bytes


@dataclass(frozen=True, slots=True)
class KeyUndelivered:
    """A participant without MLS does not get our key yet; it is tried again, at growing distances. Where keys are room
    events: it does not get the Megolm session, or our homeserver does not take the event.

    reason: no_one_time_key (its homeserver has no one-time key of it left: it has to come online and make new ones),
    bad_one_time_key (what it has is none, or not signed by the device), unknown_device (keys/query does not name the
    device, or names it with another key), blacklisted (by the application, in its Matrix client), unreachable (its
    homeserver does not answer), or refused (ours takes no such message). Told when the reason changes.
    """

    user_id: UserId
    device_id: DeviceId
    reason: str


@dataclass(frozen=True, slots=True)
class KeyMissing:
    """A participant without MLS has not handed us a key, or not the one that it sends under, as a media adapter sees:
    we cannot hear it. Told once, until a key has come, or it is heard.

    Where its client can be asked it is, and a few times more at growing distances. Else it hands a key over when it
    makes the next one, at the latest when somebody leaves.
    """

    user_id: UserId
    device_id: DeviceId


@dataclass(frozen=True, slots=True)
class MessageNotOpened:
    """A message that may have been a participant's media key could not be opened, or not believed. What was in it is
    lost. Told once for each user and reason, until a key of that user comes. device_id: None where nobody knows.

    reason, and what to do:

    * cannot_decrypt: one of the two has lost its end of the Olm session. A new one is made at once, by which a
      participant on this library hands its key over again; of others the next key comes by it. If `KeyMissing` follows,
      have the participant leave the call and come back.
    * unknown_device, keys_unavailable: its homeserver does not name the device that wrote, or did not answer. Likewise,
      once it does.
    * ambiguous_device: two of its devices publish one key. One of them is to be logged out.
    * not_for_us, wrong_recipient, wrong_recipient_key: it was written for another device than ours. If our client has
      lost its store and goes by an old name, log it in anew.
    * wrong_sender, wrong_sender_key, wrong_sender_device: somebody passes on what another has written, or a homeserver
      lies. Nothing is to be done: it counted for nothing.
    * malformed, bad_ciphertext, bad_json, or a reason of `RemoteProtocolError` for its form: the participant's client
      is broken.
    * flooded: too many messages of unknown devices waited at once.
    """

    user_id: UserId
    device_id: DeviceId | None
    reason: str


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """A message with a media key did not hold. It changed nothing.

    reason: not_encrypted (it came in the clear), not_authenticated (in a room event, by a Megolm session that is no
    known device's own), wrong_device (it claims another device than the one that encrypted it), or those of
    `RemoteProtocolError` for its form. device_id: the one that encrypted it, None where nobody knows.
    """

    user_id: UserId
    device_id: DeviceId | None
    reason: str
    where: str


@dataclass(frozen=True, slots=True)
class EventRefused:
    """An event of the call did not hold. It changed nothing."""

    event_id: EventId
    sender: UserId
    reason: str
    where: str


@dataclass(frozen=True, slots=True)
class Rejoining:
    """We enter again under a fresh member_id, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stranded:
    """We cannot reach the epoch the others stand on, and what we do about it."""

    reason: str


@dataclass(frozen=True, slots=True)
class HistoryNotVisible:
    """The room does not show us everything, and nobody answered for it: it does not let us read back, or not far
    enough, or our homeserver hides something. A call that goes on here, or the newer part of ours, is hidden from us.
    We go on asking when there is more to show that it is there."""


@dataclass(frozen=True, slots=True)
class KeysUnreadable:
    """Our homeserver's answer about our own user's keys (keys/query) does not hold: what was wrong, and where in it. It
    is asked again; if we wait for it in order to enter, `Left` with `keys_unreadable` follows after a few times."""

    reason: str
    where: str


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """The homeserver will not take a request."""

    request_id: str
    status: int
    errcode: str


@dataclass(frozen=True, slots=True)
class Left:
    """The call is over for us.

    reason: left, kicked, banned, left_room; room_closed, slot_closed, slot_encryption (the slot is for calls with
    another encryption); logged_out, sync_stopped or closed, as the transport has it; or why our homeserver did not let
    us enter: join_refused (it does not take our membership: we are not in the room, or may not write), keys_refused or
    keys_unreadable (of our own user's keys). detail: what a person may want to know beside it, or empty.
    """

    reason: str
    detail: str = ""


KeyNotice: TypeAlias = MediaKeysChanged | SendKeySwitched | MediaKeysRetired | Muted
"""What a key ring is kept by: what to receive with, and what to send under."""

Notice: TypeAlias = (
    EpochChanged
    | MediaKeysChanged
    | SendKeySwitched
    | MediaKeysRetired
    | Muted
    | MembersChanged
    | NotAddable
    | Mixed
    | KeyUndelivered
    | KeyMissing
    | KeyRefused
    | MessageNotOpened
    | OwnMasterKeyChanged
    | EventRefused
    | Rejoining
    | Stranded
    | HistoryNotVisible
    | KeysUnreadable
    | RequestRefused
    | Left
)
"""Everything that a call tells."""
