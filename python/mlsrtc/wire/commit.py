"""The commit event ``dev.mlsrtc.commit`` and the word ``dev.mlsrtc.word``: JSON <-> values. Checks form only.

Fields that repeat bytes of the commit (id, epoch, parent, n, left) are hints that let a reader sort before it
looks; the bytes decide, and `mlsrtc.judge` compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlsrtc.identifiers import EpochId, EventId, MemberId, SlotId
from mlsrtc.wire.attachment import EncryptedFile, RandomBytes, decode_file, encode_file
from mlsrtc.wire.commit_data import decode_refusal
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.fields import Field, refuse
from mlsrtc.wire.fitting import FILE_SUFFIX, Fitted, fit

LEFT_LIMIT = 1000  # members removed with their leave by one commit
SIGNATURE_LIMIT = 512  # bytes; 64 in suite 1, 139 is the longest of RFC 9420 section 17.1
INLINE_LIMIT = 0xFFFF  # bytes: no event can hold more

Part = bytes | EncryptedFile
"""Bytes in the event itself, or where to fetch them."""


@dataclass(frozen=True, slots=True)
class CommitEvent:
    """One commit with everything that follows from it: no member is added and left without its Welcome."""

    slot_id: SlotId
    root: EpochId
    parent: EpochId | None  # None: this is the root
    id: EpochId
    epoch: int  # of the child
    n: int
    commit: Part  # MLSMessage(PublicMessage)
    group_info: bytes  # MLSMessage(GroupInfo) of the child epoch, without tree
    left: Mapping[MemberId, bytes]  # leaf-key signatures of those removed who had left
    group_info_0: bytes | None = None  # root only: MLSMessage(GroupInfo) of epoch 0, with its one-leaf tree
    welcome: Part | None = None
    tree: Part | None = None
    relates_to: EventId | None = None  # the event in which the sender first saw the root; None in the root itself

    def files(self) -> Mapping[str, EncryptedFile]:
        """The parts that must be fetched, by name."""
        parts = {"commit": self.commit, "welcome": self.welcome, "tree": self.tree}
        return {name: part for name, part in parts.items() if isinstance(part, EncryptedFile)}


@dataclass(frozen=True, slots=True)
class WordEvent:
    """Where a member last stood, and which commit it refuses."""

    slot_id: SlotId
    root: EpochId
    member_id: MemberId
    n: int
    id: EpochId
    signature: bytes
    relates_to: EventId
    refuse: tuple[EpochId, str] | None = None


def decode_commit(content: Mapping[str, Any]) -> CommitEvent:
    """Raises RemoteProtocolError with the reasons of `Field` and `decode_file`, and ambiguous (a part both
    inline and as a file), wrong_root, wrong_epoch, unexpected_field."""
    field = Field(content)
    root, id = field["root"].epoch_id(), field["id"].epoch_id()
    parent = field["parent"].optional(Field.epoch_id)
    epoch = field["epoch"].integer(1)
    if (parent is None) != (root == id):
        refuse("wrong_root", "content.root", "a root is its own root and has no parent")
    if (parent is None) != (epoch == 1):
        refuse("wrong_epoch", "content.epoch", "a root and nothing else leads to epoch 1")
    group_info_0 = field["group_info_0"].optional(lambda item: item.base64(limit=INLINE_LIMIT))
    if parent is None and group_info_0 is None:
        refuse("missing_field", "content.group_info_0")
    if parent is not None and group_info_0 is not None:
        refuse("unexpected_field", "content.group_info_0")
    commit = _part(field, "commit")
    if commit is None:
        refuse("missing_field", "content.commit")
    left = field["left"]
    return CommitEvent(
        slot_id=field["slot_id"].slot_id(),
        root=root,
        parent=parent,
        id=id,
        epoch=epoch,
        n=field["n"].integer(1),
        commit=commit,
        group_info=field["group_info"].base64(limit=INLINE_LIMIT),
        left={
            Field(name, left.where).member_id(): item.base64(limit=SIGNATURE_LIMIT)
            for name, item in left.items(LEFT_LIMIT)
        },
        group_info_0=group_info_0,
        welcome=_part(field, "welcome"),
        tree=_part(field, "tree"),
        relates_to=_reference(field, required=parent is not None),
    )


def encode_commit(commit: CommitEvent) -> dict[str, Any]:
    """The content of the event, every part where it is."""
    content = _without_parts(commit)
    for name, part in (("commit", commit.commit), ("welcome", commit.welcome), ("tree", commit.tree)):
        if isinstance(part, EncryptedFile):
            content[name + FILE_SUFFIX] = encode_file(part)
        elif part is not None:
            content[name] = encode_base64(part)
    return content


def fit_commit(commit: CommitEvent, *, limit: int, random_bytes: RandomBytes) -> Fitted:
    """The content with those of commit, Welcome and tree in files that would push it past `limit` bytes."""
    content, parts = _without_parts(commit), {}
    for name, part in (("commit", commit.commit), ("welcome", commit.welcome), ("tree", commit.tree)):
        if isinstance(part, EncryptedFile):
            content[name + FILE_SUFFIX] = encode_file(part)
        elif part is not None:
            parts[name] = part
    return fit(content, parts, limit=limit, random_bytes=random_bytes)


def decode_word(content: Mapping[str, Any]) -> WordEvent:
    """Raises RemoteProtocolError with the reasons of `Field`, and bad_refusal."""
    field = Field(content)
    refused = None
    if "refuse" in field:
        items = field["refuse"].list(2)
        if len(items) != 2:
            refuse("bad_refusal", "content.refuse", "not [id, why]")
        refused = decode_refusal(items[0].epoch_id(), items[1].text(), where="content.refuse")
    relates_to = _reference(field, required=True)
    assert relates_to is not None
    return WordEvent(
        slot_id=field["slot_id"].slot_id(),
        root=field["root"].epoch_id(),
        member_id=field["member_id"].member_id(),
        n=field["n"].integer(1),
        id=field["id"].epoch_id(),
        signature=field["sig"].base64(limit=SIGNATURE_LIMIT),
        relates_to=relates_to,
        refuse=refused,
    )


def encode_word(word: WordEvent) -> dict[str, Any]:
    """The content of the event."""
    content: dict[str, Any] = {
        "slot_id": word.slot_id,
        "root": encode_base64(word.root),
        "member_id": word.member_id,
        "n": word.n,
        "id": encode_base64(word.id),
        "sig": encode_base64(word.signature),
        "m.relates_to": _relation(word.relates_to),
    }
    if word.refuse is not None:
        content["refuse"] = [encode_base64(word.refuse[0]), word.refuse[1]]
    return content


def _without_parts(commit: CommitEvent) -> dict[str, Any]:
    content: dict[str, Any] = {
        "slot_id": commit.slot_id,
        "root": encode_base64(commit.root),
        "parent": None if commit.parent is None else encode_base64(commit.parent),
        "id": encode_base64(commit.id),
        "epoch": commit.epoch,
        "n": commit.n,
        "left": {member_id: encode_base64(signature) for member_id, signature in commit.left.items()},
        "group_info": encode_base64(commit.group_info),
    }
    if commit.group_info_0 is not None:
        content["group_info_0"] = encode_base64(commit.group_info_0)
    if commit.relates_to is not None:
        content["m.relates_to"] = _relation(commit.relates_to)
    return content


def _part(field: Field, name: str) -> Part | None:
    inline, file = field[name], field[name + FILE_SUFFIX]
    if not inline.absent and not file.absent:
        refuse("ambiguous", inline.where, "both in the event and in a file")
    return file.optional(decode_file) if inline.absent else inline.base64(limit=INLINE_LIMIT)


def _reference(field: Field, *, required: bool) -> EventId | None:
    relation = field["m.relates_to"]
    if relation.absent and not required:
        return None
    if relation["rel_type"].text() != "m.reference":
        refuse("wrong_relation", f"{relation.where}.rel_type")
    return EventId(relation["event_id"].text())


def _relation(event_id: EventId) -> dict[str, str]:
    return {"rel_type": "m.reference", "event_id": event_id}
