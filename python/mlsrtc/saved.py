"""The records that a checkpoint writes and a restart reads: bytes under text keys, each a JSON object or an MLS state.

The schema's version stands in the record `meta`; another one is refused, never guessed: before the first release no
store is brought up to date. Secrets are in here, so a store keeps these records as it would keep keys.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from mlsrtc import group, mls
from mlsrtc.drafts import Draft
from mlsrtc.errors import LocalProtocolError, StoreError
from mlsrtc.evidence import Leaf
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, UserId
from mlsrtc.outbox import Request
from mlsrtc.trust import Pins
from mlsrtc.wire import encoding
from mlsrtc.wire.binding import decode_binding
from mlsrtc.wire.incoming import RoomEvent

VERSION = 3  # 2 had in `meta` what `COMMITTED`, `BEGUN` and `REMOVED` mark
PIN = "pin/"  # the records that every call of a user shares
COMMITTED, BEGUN, REMOVED = "committed/", "begun/", "removed/"
MARK = b"1"  # the bytes of a record of which the key says all
EVENT_FIELDS = tuple(field.name for field in fields(RoomEvent))
REQUEST_TYPES = {kind.__name__: kind for kind in get_args(Request)}

Records = Mapping[str, bytes]


def dump(value: Mapping[str, Any]) -> bytes:
    """A record's bytes: compact JSON."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def load(records: Records, key: str) -> dict[str, Any]:
    """A record read back. Raises StoreError naming the record."""
    try:
        value = json.loads(records[key])
    except (KeyError, ValueError):
        raise StoreError(f"record {key} is missing or broken") from None
    if not isinstance(value, dict):
        raise StoreError(f"record {key} is no object")
    return value


@dataclass(frozen=True, slots=True)
class Meta:
    """The record `meta`: where the stages of a session are, as far as no event tells it."""

    phase: str
    tag: str  # of this session's request ids, and how many there were
    numbers: int
    n: int  # commits and words of our participation
    stand: EpochId | None
    delay_id: str | None
    format: str
    head: EpochId | None  # when we joined
    replaces: frozenset[MemberId]
    created_ts: int  # milliseconds since the epoch


def dump_meta(meta: Meta) -> bytes:
    """The record `meta`, with the schema's version."""
    return dump(
        {
            "version": VERSION,
            "phase": meta.phase,
            "tag": meta.tag,
            "numbers": meta.numbers,
            "n": meta.n,
            "stand": hexed(meta.stand),
            "delay_id": meta.delay_id,
            "format": meta.format,
            "head": hexed(meta.head),
            "replaces": sorted(meta.replaces),
            "created_ts": meta.created_ts,
        }
    )


def load_meta(records: Records) -> Meta | None:
    """The record `meta`, or None in an empty store. Raises StoreError, and LocalProtocolError if another version of
    the schema was written.
    """
    if "meta" not in records:
        return None
    value = load(records, "meta")
    version = value.get("version")
    if not isinstance(version, int):
        raise StoreError("record meta names no schema version")
    if version != VERSION:
        raise LocalProtocolError(
            f"the store was written by schema version {version}, this code reads {VERSION}: begin with an empty one"
        )
    try:
        return Meta(
            phase=value["phase"],
            tag=value["tag"],
            numbers=value["numbers"],
            n=value["n"],
            stand=_epoch_or_none(value["stand"]),
            delay_id=value["delay_id"],
            format=value["format"],
            head=_epoch_or_none(value["head"]),
            replaces=frozenset(MemberId(member) for member in value["replaces"]),
            created_ts=value["created_ts"],
        )
    except (KeyError, TypeError, ValueError):
        raise StoreError("record meta is broken") from None


# What only grows stands in records of its own: written whole each time, it would cost more the longer a call lasts.


def committed_key(parent: EpochId | None) -> str:
    """The record that says that we have made a commit on this parent."""
    return f"{COMMITTED}{hexed(parent) or ''}"


def begun_key(epoch_id: EpochId) -> str:
    """The record that says that this epoch was sent under."""
    return f"{BEGUN}{epoch_id.hex()}"


def removed_key(member: MemberId) -> str:
    """The record that says that an epoch which we stood on had removed this member."""
    return f"{REMOVED}{member}"


def load_committed(records: Records) -> set[EpochId | None]:
    """The parents on which we have made a commit. Raises StoreError."""
    return {unhexed(name) if name else None for name in _names(records, COMMITTED)}


def load_begun(records: Records) -> set[EpochId]:
    """The epochs that were sent under. Raises StoreError."""
    return {unhexed(name) for name in _names(records, BEGUN)}


def load_removed(records: Records) -> set[MemberId]:
    """Whom an epoch that we stood on had removed."""
    return {MemberId(name) for name in _names(records, REMOVED)}


def _names(records: Records, kind: str) -> Iterator[str]:
    return (key.removeprefix(kind) for key in records if key.startswith(kind))


def changed_pins(before: Pins, after: Pins) -> Iterator[tuple[str, bytes]]:
    """A record for each user whose pinned master key is new or another: one a user, so that calls share them."""
    for user, key in after.masters.items():
        pin = Pins({user: key}, after.verified & {user})
        if (before.masters.get(user), user in before.verified) != (key, user in after.verified):
            yield f"{PIN}{user}", pin.encode()


def load_pins(records: Records) -> Pins:
    """Every pinned master key. Raises StoreError."""
    pins = [Pins.decode(records[key]) for key in sorted(records) if key.startswith(PIN)]
    masters = {user: key for pin in pins for user, key in pin.masters.items()}
    return Pins(masters, frozenset(user for pin in pins for user in pin.verified))


def dump_request(request: Request) -> bytes:
    """A request whose fate is not known, with the ciphertexts it carries."""
    value = {field.name: getattr(request, field.name) for field in fields(request)}
    if "attachments" in value:
        value["attachments"] = {key: encoding.encode_base64(data) for key, data in value["attachments"].items()}
    return dump({"request": type(request).__name__, **value})


def load_requests(records: Records) -> Iterable[Request]:
    """Every request that was released before the restart."""
    for key in sorted(records):
        if not key.startswith("request/"):
            continue
        value = load(records, key)
        kind = REQUEST_TYPES.get(str(value.pop("request", None)))
        if kind is None or set(value) != {field.name for field in fields(kind)}:
            raise StoreError(f"record {key} is of an unknown form")
        if "attachments" in value:
            value["attachments"] = {name: encoding.decode_base64(data) for name, data in value["attachments"].items()}
        if "user_ids" in value:
            value["user_ids"] = tuple(value["user_ids"])
        yield kind(**value)


def dump_participation(participation: group.Participation) -> bytes:
    """Our participation: leaf key, public KeyPackage, binding. The KeyPackage's private halves are a record of their
    own, `key_package`: a store overwrites what is deleted, and not what is replaced."""
    leaf = participation.leaf
    return dump(
        {
            "suite": participation.signing_key.suite,
            "member_id": leaf.member_id,
            "user_id": leaf.user_id,
            "device_id": leaf.device_id,
            "device_key": encoding.encode_base64(leaf.device_key),
            "signing_key": encoding.encode_base64(participation.signing_key.save().expose()),
            "public_key_package": encoding.encode_base64(participation.public_key_package),
            "binding": encoding.encode_base64(participation.binding.encode()),
        }
    )


def load_participation(records: Records) -> group.Participation | None:
    """Our participation, or None if we are not in the call. Raises StoreError."""
    if "participation" not in records:
        return None
    value = load(records, "participation")
    try:
        suite = int(value["suite"])
        signing_key = mls.SigningKey.load(suite, mls.Secret(encoding.decode_base64(value["signing_key"])))
        key_package: mls.KeyPackage | bytes = encoding.decode_base64(value["public_key_package"])
        if "key_package" in records:
            key_package = mls.KeyPackage.load(mls.Secret(records["key_package"]))
        leaf = Leaf(
            MemberId(value["member_id"]),
            UserId(value["user_id"]),
            DeviceId(value["device_id"]),
            encoding.decode_base64(value["device_key"]),
            signing_key.public,
        )
        bound = decode_binding(encoding.decode_base64(value["binding"]))
    except Exception:
        # `from None`: the cause could carry a piece of a key.
        raise StoreError("record participation is broken") from None
    return group.restore(leaf, signing_key, key_package, bound)


def dump_draft(draft: Draft) -> bytes:
    """One of our own commits that has not come back: where it leads, and the group there."""
    return dump(
        {
            "id": draft.id.hex(),
            "parent": hexed(draft.parent),
            "group": encoding.encode_base64(draft.group.save().expose()),
        }
    )


def load_drafts(records: Records, participation: group.Participation) -> list[Draft]:
    """Our own commits that had not come back before the restart."""
    drafts = []
    for key in sorted(records):
        if key.startswith("draft/"):
            value = load(records, key)
            state = mls.Secret(encoding.decode_base64(value["group"]))
            parent = _epoch_or_none(value["parent"])
            drafts.append(Draft(unhexed(value["id"]), parent, participation.client.load_group(state)))
    return drafts


def load_groups(records: Records) -> Iterator[tuple[EpochId, mls.Secret]]:
    """The saved groups, by the epoch they stand on."""
    for key in sorted(records):
        if key.startswith("group/"):
            yield unhexed(key.removeprefix("group/")), mls.Secret(records[key])


def hexed(identifier: EpochId | None) -> str | None:
    """An epoch id as text."""
    return None if identifier is None else identifier.hex()


def unhexed(text: str) -> EpochId:
    """The inverse of `hexed`. Raises StoreError."""
    try:
        return EpochId(bytes.fromhex(text))
    except ValueError:
        raise StoreError("an epoch id in the store is broken") from None


def dump_event(event: RoomEvent) -> bytes:
    """An event that counts as evidence, as it came."""
    return dump({name: getattr(event, name) for name in EVENT_FIELDS})


def load_events(records: Records) -> Iterable[RoomEvent]:
    """Every event that was kept, in no particular order."""
    for key in sorted(records):
        if key.startswith("event/"):
            yield RoomEvent(**load(records, key))


def _epoch_or_none(text: str | None) -> EpochId | None:
    return None if text is None else unhexed(text)
