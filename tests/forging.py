"""What the tests of reader and judge are made with: devices with real bindings, and forged MLS messages.

A forged message is well formed and *signed*, by a key that may well be a member's: an insider can send it. So
each clause of valid(c) can be broken alone. Nothing here opens or encrypts; tags and path secrets are filler.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlsrtc import mls
from mlsrtc.evidence import Committed, Leaf
from mlsrtc.identifiers import DeviceId, EpochId, LeafIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.judge import Candidate, Judged
from mlsrtc.wire import encoding
from mlsrtc.wire.binding import EXTENSION_TYPE, Binding, bind
from mlsrtc.wire.commit_data import CommitData

ROOM = RoomId("!room:example.org")
SLOT = SlotId("m.call#ROOM")
TAG = bytes(range(32))


@dataclass(frozen=True)
class Device:
    """One participation: a Matrix device, its leaf key and what follows from them."""

    user_id: UserId
    device_id: DeviceId
    device_key: Ed25519PrivateKey
    signing_key: mls.SigningKey
    room: RoomId = ROOM
    slot: SlotId = SLOT

    @staticmethod
    def new(name: str, **changes: Any) -> "Device":
        user = UserId(f"@{name}:example.org")
        device = Device(user, DeviceId(name.upper()), Ed25519PrivateKey.generate(), mls.SigningKey.generate())
        return replace(device, **changes)

    def again(self) -> "Device":
        """The same device with a fresh leaf key: another participation."""
        return replace(self, signing_key=mls.SigningKey.generate(self.signing_key.suite))

    @property
    def device_public(self) -> bytes:
        return self.device_key.public_key().public_bytes_raw()

    @property
    def member_id(self) -> MemberId:
        return encoding.member_id(
            self.room,
            self.slot,
            self.user_id,
            self.device_id,
            device_key=self.device_public,
            leaf_key=self.signing_key.public,
        )

    @property
    def identity(self) -> encoding.Identity:
        return encoding.Identity(self.user_id, self.device_id, self.member_id)

    @property
    def binding(self) -> Binding:
        return bind(
            self.room,
            self.slot,
            self.identity,
            device_key=self.device_public,
            leaf_key=self.signing_key.public,
            sign=lambda text: self.device_key.sign(text.encode()),
        )

    @property
    def leaf(self) -> Leaf:
        return Leaf(self.member_id, self.user_id, self.device_id, self.device_public, self.signing_key.public)

    @property
    def client(self) -> mls.Client:
        return mls.Client(
            self.identity.encode(),
            self.signing_key,
            leaf_extensions=[(EXTENSION_TYPE, self.binding.encode())],
            extension_types=[EXTENSION_TYPE],
            successor=mls.Successor.first_fields(2),
        )

    def create(self) -> mls.Group:
        return self.client.create_group(encoding.group_id(self.room, self.slot, self.member_id))

    def left(self) -> bytes:
        """The signature of L(m)."""
        return self.signing_key.sign(encoding.signing_tuple(encoding.LEFT_LABEL, self.room, self.slot, self.member_id))


def candidate(
    sender: Device,
    commit: bytes,
    group_info: bytes,
    parent: Judged | None,
    data: CommitData,
    group_info_0: bytes | None = None,
) -> Candidate:
    """The event that would carry these, its hints in agreement with the bytes."""
    info = mls.inspect_group_info(group_info)
    id = encoding.epoch_id(info.context, info.confirmation_tag)
    return Candidate(
        room_id=sender.room,
        sender=sender.user_id,
        slot_id=sender.slot,
        root=id if parent is None else parent.committed.root,
        parent=None if parent is None else parent.committed.id,
        id=id,
        epoch=info.epoch,
        n=data.n,
        left=data.left,
        commit=commit,
        group_info=group_info,
        group_info_0=group_info_0,
    )


def said(n: int, left: Mapping[MemberId, bytes] | None = None) -> CommitData:
    """What a forged commit says beside MLS; `Forged` names the parent."""
    return CommitData(None, n, left or {})


# -- the TLS presentation language (RFC 9420 section 2.1) ----------------------------------------------------


def opaque(value: bytes) -> bytes:
    """``opaque value<V>``."""
    size = len(value)
    if size < 1 << 6:
        return bytes([size]) + value
    return struct.pack(">H", size | 0x4000) + value if size < 1 << 14 else struct.pack(">I", size | 1 << 31) + value


def extension_list(items: Sequence[tuple[int, bytes]]) -> bytes:
    return opaque(b"".join(struct.pack(">H", kind) + opaque(body) for kind, body in items))


def sign(key: mls.SigningKey, label: str, content: bytes) -> bytes:
    """SignWithLabel (RFC 9420 section 5.1.2), as ``opaque signature<V>``."""
    return opaque(key.sign(opaque(b"MLS 1.0 " + label.encode()) + opaque(content)))


def leaf_node(device: Device, source: str, place: tuple[bytes, int] | None = None, **changes: Any) -> bytes:
    """LeafNode (section 7.2). changes: identity, credential (whole), extensions, signing_key, encryption_key."""
    key = changes.get("signing_key", device.signing_key)
    identity = changes.get("identity", device.identity.encode())
    extensions = changes.get("extensions", [(EXTENSION_TYPE, device.binding.encode())])
    capabilities = (
        opaque(b"\0\1") + opaque(b"\0\1") + opaque(struct.pack(">H", EXTENSION_TYPE)) + b"\0" + opaque(b"\0\1")
    )
    sources = {"key_package": b"\1" + bytes(8) + b"\xff" * 8, "update": b"\2", "commit": b"\3" + opaque(b"")}
    content = (
        opaque(changes.get("encryption_key", b"\2" * 32))
        + opaque(device.signing_key.public)
        + changes.get("credential", b"\0\1" + opaque(identity))
        + capabilities
        + sources[source]
        + extension_list(extensions)
    )
    signed = content if place is None else content + opaque(place[0]) + struct.pack(">I", place[1])
    return content + sign(key, "LeafNodeTBS", signed)


def key_package(device: Device, *, suite: int = 1, leaf: bytes | None = None, **changes: Any) -> bytes:
    """KeyPackage (section 10), without the head of an MLSMessage. changes: package_key, init_key, a leaf's."""
    key = changes.pop("package_key", device.signing_key)
    init_key = changes.pop("init_key", b"\1" * 32)
    leaf = leaf or leaf_node(device, "key_package", **changes)
    content = struct.pack(">HH", 1, suite) + opaque(init_key) + leaf + opaque(b"")
    return content + sign(key, "KeyPackageTBS", content)


def add(device: Device, **changes: Any) -> bytes:
    return struct.pack(">BH", 1, 1) + key_package(device, **changes)


def remove(index: int) -> bytes:
    return struct.pack(">BHI", 1, 3, index)


EXTERNAL_INIT = struct.pack(">BH", 1, 6) + opaque(bytes(32))
BY_REFERENCE = b"\2" + opaque(bytes(32))
GROUP_CONTEXT_EXTENSIONS = struct.pack(">BH", 1, 7) + opaque(b"")


@dataclass(frozen=True)
class Forged:
    """A commit on `parent` by `author` at leaf `index` (None: an external commit) and the GroupInfo after it.

    Every field may be replaced before `candidate` writes and signs it all. `path` is the leaf of the path;
    True makes the author's own.
    """

    author: Device
    index: int | None
    parent: Judged
    proposals: Sequence[bytes] = ()
    path: bytes | bool = False
    path_keys: Sequence[bytes] = ()  # of the nodes above the leaf, with nothing encrypted to anybody
    place: int | None = None  # the author's leaf index after the commit, if the commit is external
    data: CommitData = field(default_factory=lambda: said(2))
    names: EpochId | EllipsisType | None = ...  # the parent that it names under its signature; ...: its own
    authenticated_data: bytes | None = None
    commit_key: mls.SigningKey | None = None
    info_key: mls.SigningKey | None = None
    signer: int | None = None
    commit_epoch: int | None = None
    info_epoch: int | None = None
    group_id: bytes | None = None
    info_group_id: bytes | None = None
    info_suite: int | None = None
    context_extensions: bytes | None = None
    info_tag: bytes = TAG
    confirmed: bytes | None = None
    tree_hash: bytes = bytes(32)

    def candidate(self) -> Candidate:
        parent = self.parent
        data = replace(self.data, parent=parent.committed.id if isinstance(self.names, EllipsisType) else self.names)
        seat = self.index if self.index is not None else self.place or 0
        epoch = parent.committed.epoch if self.commit_epoch is None else self.commit_epoch
        group_id = parent.committed.group_id if self.group_id is None else self.group_id
        path = self.path
        if path is True:
            path = leaf_node(self.author, "commit", (parent.committed.group_id, seat))
        nodes = opaque(b"".join(opaque(key) + opaque(b"") for key in self.path_keys))
        framed = (
            struct.pack(">HH", 1, 1)
            + opaque(group_id)
            + struct.pack(">Q", epoch)
            + (b"\4" if self.index is None else struct.pack(">BI", 1, self.index))
            + opaque(data.encode() if self.authenticated_data is None else self.authenticated_data)
            + b"\3"
            + opaque(b"".join(self.proposals))
            + (b"\1" + path + nodes if path else b"\0")
        )
        message = framed + sign(self.commit_key or self.author.signing_key, "FramedContentTBS", framed + parent.context)
        message += opaque(TAG) + (b"" if self.index is None else opaque(bytes(32)))
        return candidate(self.author, message, self.group_info(message, seat), parent, data)

    def group_info(self, message: bytes, seat: int) -> bytes:
        parent = self.parent
        confirmed, _ = mls.inspect_commit(message).transcript(parent.suite, parent.interim_transcript_hash)
        context = group_context(
            suite=self.info_suite or parent.suite,
            group_id=self.info_group_id or parent.committed.group_id,
            epoch=parent.committed.epoch + 1 if self.info_epoch is None else self.info_epoch,
            tree_hash=self.tree_hash,
            confirmed=confirmed if self.confirmed is None else self.confirmed,
            extensions=parent.context_extensions if self.context_extensions is None else self.context_extensions,
        )
        signer = seat if self.signer is None else self.signer
        return group_info(context, self.info_tag, signer, self.info_key or self.author.signing_key)


def group_context(
    *, suite: int, group_id: bytes, epoch: int, tree_hash: bytes, confirmed: bytes, extensions: bytes
) -> bytes:
    """GroupContext (section 8.1)."""
    head = struct.pack(">HH", 1, suite) + opaque(group_id) + struct.pack(">Q", epoch)
    return head + opaque(tree_hash) + opaque(confirmed) + extensions


def group_info(
    context: bytes,
    tag: bytes,
    signer: int,
    key: mls.SigningKey,
    extensions: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """MLSMessage(GroupInfo) (section 12.4.3)."""
    content = context + extension_list(extensions) + opaque(tag) + struct.pack(">I", signer)
    return struct.pack(">HH", 1, 4) + content + sign(key, "GroupInfoTBS", content)


def group_info_0(creator: Device, **changes: Any) -> bytes:
    """The GroupInfo of epoch 0. changes: suite, group_id, epoch, confirmed, signer, key, leaf, leaf_hash,
    tree, extensions."""
    leaf = changes.get("leaf") or leaf_node(creator, "key_package")
    tree = opaque(b"\1\1" + leaf)
    hashed = mls.inspect_tree(tree)[0].tree_hash(1, 0)
    context = group_context(
        suite=changes.get("suite", 1),
        group_id=changes.get("group_id", encoding.group_id(creator.room, creator.slot, creator.member_id)),
        epoch=changes.get("epoch", 0),
        tree_hash=changes.get("leaf_hash", hashed),
        confirmed=changes.get("confirmed", b""),
        extensions=opaque(b""),
    )
    extensions = changes.get("extensions", [(2, changes.get("tree", tree))])
    key = changes.get("key", creator.signing_key)
    return group_info(context, TAG, changes.get("signer", 0), key, extensions)


def epoch_0(info_0: bytes, creator: Device) -> Judged:
    """Epoch 0 in the shape of a parent, to forge a root on it. Its id stands for nothing."""
    info = mls.inspect_group_info(info_0)
    committed = Committed(
        id=EpochId(b"0" * 32),
        parent=None,
        root=EpochId(b"0" * 32),
        epoch=info.epoch,
        group_id=info.group_id,
        author=creator.leaf,
        n=0,
        leaves={},
        added=frozenset(),
        removed=frozenset(),
        left=frozenset(),
        has_path=False,
        external=False,
    )
    return Judged(
        committed=committed,
        suite=info.suite,
        context=info.context,
        confirmation_tag=info.confirmation_tag,
        interim_transcript_hash=mls.interim_transcript_hash(info.suite, b"", info.confirmation_tag),
        context_extensions=info.context_extensions,
        tree_hash=info.tree_hash,
        external_pub=None,
        author_index=LeafIndex(0),
        ever=frozenset(),
        idle_user=None,
    )


def forged_root(creator: Device, info_0: bytes, **changes: Any) -> Candidate:
    """A root on that epoch 0."""
    forged = Forged(creator, 0, epoch_0(info_0, creator), path=True, data=said(1), names=None, **changes)
    made = forged.candidate()
    return replace(made, parent=None, root=made.id, group_info_0=info_0)
