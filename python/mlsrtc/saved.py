"""The records that a checkpoint writes and a restart reads: bytes under text keys, each a JSON object or an MLS state.

The schema's version stands in the record `meta`; another one is refused, never guessed: before the first release no
store is brought up to date. Secrets are in here, so a store keeps these records as it would keep keys.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_args, get_type_hints

from mlsrtc import group, mls
from mlsrtc.drafts import Draft
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError, StoreError
from mlsrtc.evidence import Leaf
from mlsrtc.identifiers import EpochId, MemberId
from mlsrtc.outbox import Handed, Request
from mlsrtc.trust import Pins
from mlsrtc.wire import encoding
from mlsrtc.wire.binding import decode_binding
from mlsrtc.wire.fields import Field
from mlsrtc.wire.incoming import Json, RoomEvent

VERSION = 3  # 2 had in `meta` what `COMMITTED`, `BEGUN` and `REMOVED` mark
PIN = "pin/"  # the records that every call of a user shares
COMMITTED, BEGUN, REMOVED = "committed/", "begun/", "removed/"
MARK = b"1"  # the bytes of a record of which the key says all
TEXT_LIMIT = 1 << 16  # bytes of a text; what an event claims as its id is longer where a member told it
ATTACHMENT_LIMIT = 1 << 26  # bytes of a file that waits to be sent
REQUEST_TYPES = {kind.__name__: kind for kind in get_args(Request) if kind not in get_args(Handed)}

Records = Mapping[str, bytes]
T = TypeVar("T")


@contextmanager
def reading(key: str) -> Iterator[None]:
    """Raises StoreError naming the record, for whatever is wrong in it."""
    try:
        yield
    except (RemoteProtocolError, LocalProtocolError, ValueError) as error:
        reason, where = getattr(error, "reason", "bad_value"), getattr(error, "where", "")
        # `from None`: the cause could carry a piece of a key.
        detail = f"record {key} is broken: {reason} {where.lstrip('.')}".rstrip()
        raise StoreError(detail, reason="damaged") from None


def dump(value: Mapping[str, Any]) -> bytes:
    """A record's bytes: compact JSON."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def load(records: Records, key: str) -> Field:
    """A record read back, an object. Raises StoreError naming the record."""
    try:
        value = json.loads(records[key])
    except (KeyError, ValueError, RecursionError):
        raise StoreError(f"record {key} is missing or broken", reason="damaged") from None
    if not isinstance(value, dict):
        raise StoreError(f"record {key} is no object", reason="damaged")
    return Field(value, "")


def _text(value: Field) -> str:
    return value.text(TEXT_LIMIT)


def _texts(value: Field) -> tuple[str, ...]:
    return tuple(_text(item) for item in value.list(TEXT_LIMIT))


def _integer(value: Field) -> int:
    return value.integer(low=-(2**53))


def _epoch(value: Field) -> EpochId:
    return unhexed(_text(value))


READERS: Mapping[Any, Callable[[Field], Any]] = {
    str: _text,
    str | None: lambda value: value.optional(_text),
    int: _integer,
    int | None: lambda value: value.optional(_integer),
    bool: Field.boolean,
    Json: Field.object,
    tuple[str, ...]: _texts,
    tuple[str, ...] | None: lambda value: value.optional(_texts),
    Mapping[str, bytes]: lambda value: {
        name: item.base64(limit=ATTACHMENT_LIMIT) for name, item in value.items(TEXT_LIMIT)
    },
}
"""How the fields of requests and events are read, by their type."""


def _read(kind: type[T], value: Field) -> T:
    types = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := value.object().keys() - set(names):
        raise RemoteProtocolError("unknown_field", where=min(unknown))
    return kind(**{name: READERS[types[name]](value[name]) for name in names})


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
    with reading("meta"):
        version = value["version"].integer()
    check_version(version)
    with reading("meta"):
        return Meta(
            phase=_text(value["phase"]),
            tag=_text(value["tag"]),
            numbers=value["numbers"].integer(),
            n=value["n"].integer(),
            stand=value["stand"].optional(_epoch),
            delay_id=value["delay_id"].optional(_text),
            format=_text(value["format"]),
            head=value["head"].optional(_epoch),
            replaces=frozenset(member.member_id() for member in value["replaces"].list(TEXT_LIMIT)),
            created_ts=value["created_ts"].integer(),
        )


SHARING = "sharing"


@dataclass(frozen=True, slots=True)
class SharingMeta:
    """The record `sharing`: where a session is that hands its keys out. The keys themselves are kept nowhere."""

    phase: str
    tag: str
    numbers: int
    delay_id: str | None
    last_index: int  # of our newest key: the next one takes another place in the others' rings


def dump_sharing(meta: SharingMeta) -> bytes:
    """The record `sharing`, with the schema's version."""
    return dump({"version": VERSION, **{field.name: getattr(meta, field.name) for field in fields(meta)}})


def load_sharing(records: Records) -> SharingMeta | None:
    """The record `sharing`, or None for an empty store. Raises StoreError, and LocalProtocolError for a store that
    another version of the schema wrote."""
    if SHARING not in records:
        return None
    value = load(records, SHARING)
    with reading(SHARING):
        version = value["version"].integer()
    check_version(version)
    with reading(SHARING):
        return SharingMeta(
            value["phase"].text(),
            value["tag"].text(),
            value["numbers"].integer(),
            value["delay_id"].optional(_text),
            value["last_index"].integer(high=255),
        )


def check_version(version: int) -> None:
    """Raises LocalProtocolError for a store that another version of the schema wrote."""
    if version != VERSION:
        raise LocalProtocolError(
            f"the store was written by schema version {version}, this code reads {VERSION}: begin with an empty one",
            reason="other_schema",
        )


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


def drafted(requests: Iterable[Request]) -> Iterator[tuple[str, bytes]]:
    """A record for each request that is to be sent, but none with a media key in it."""
    for request in requests:
        if not isinstance(request, Handed):
            yield f"request/{request.id}", dump_request(request)


def dump_request(request: Request) -> bytes:
    """A request whose fate is not known, with the ciphertexts it carries."""
    value = {field.name: getattr(request, field.name) for field in fields(request)}
    if "attachments" in value:
        value["attachments"] = {key: encoding.encode_base64(data) for key, data in value["attachments"].items()}
    return dump({"request": type(request).__name__, **value})


def load_requests(records: Records) -> Iterable[Request]:
    """Every request that was released before the restart. Raises StoreError."""
    for key in sorted(records):
        if key.startswith("request/"):
            value = dict(load(records, key).object())
            kind = REQUEST_TYPES.get(str(value.pop("request", None)))
            if kind is None:
                raise StoreError(f"record {key} is of an unknown form", reason="damaged")
            with reading(key):
                yield _read(kind, Field(value, ""))


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
    with reading("participation"):
        signing_key = mls.SigningKey.load(value["suite"].integer(), mls.Secret(value["signing_key"].base64()))
        key_package: mls.KeyPackage | bytes = value["public_key_package"].base64()
        if "key_package" in records:
            key_package = mls.KeyPackage.load(mls.Secret(records["key_package"]))
        leaf = Leaf(
            value["member_id"].member_id(),
            value["user_id"].user_id(),
            value["device_id"].device_id(),
            value["device_key"].base64(size=32),
            signing_key.public,
        )
        return group.restore(leaf, signing_key, key_package, decode_binding(value["binding"].base64()))


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
    """Our own commits that had not come back before the restart. Raises StoreError."""
    drafts = []
    for key in sorted(records):
        if key.startswith("draft/"):
            value = load(records, key)
            with reading(key):
                state = mls.Secret(value["group"].base64(limit=ATTACHMENT_LIMIT))
                parent = value["parent"].optional(_epoch)
                drafts.append(Draft(_epoch(value["id"]), parent, participation.client.load_group(state)))
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
        epoch = bytes.fromhex(text)
    except ValueError:
        epoch = b""
    if len(epoch) != encoding.HASH_SIZE:
        raise StoreError("an epoch id in the store is broken", reason="damaged")
    return EpochId(epoch)


def dump_event(event: RoomEvent) -> bytes:
    """An event that counts as evidence, as it came."""
    return dump({field.name: getattr(event, field.name) for field in fields(event)})


def load_events(records: Records) -> Iterable[RoomEvent]:
    """Every event that was kept, in no particular order. Raises StoreError."""
    for key in sorted(records):
        if key.startswith("event/"):
            value = load(records, key)
            with reading(key):
                yield _read(RoomEvent, value)
