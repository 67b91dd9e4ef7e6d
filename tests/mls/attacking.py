"""How attacks are made: what reaches a victim, and who makes it of which proposals with which touches.

Each is made by the rogue of `world`, who signs and tags what it has made: it is wrong in the thing that is touched,
or in the proposals it is of, and in nothing else. Made not `spoiled`, the same message is lawful.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from types import EllipsisType, SimpleNamespace
from typing import Any

import twins
from cipher_suites import SUITES
from presentation import OPAQUE, Raw
from rogue import Draft, Person, Touch
from twins import (
    Extension,
    PreSharedKeyID,
    Proposal,
    ProposalOrRef,
    ReInit,
    RequiredCapabilities,
    Resumption,
    Sender,
)
from world import ACCOMPLICE, GROUP_ID, SEATS, World, client, newcomer, plain, twin

from mlsrtc.mls import Client, KeyPackage, Secret

BLANK = SEATS.index(None)
UNKNOWN = 0xF0F0
"""A type of extension or proposal that nobody lists."""


# -- what reaches a victim -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """A commit or a proposal to the members, after proposals that they remember."""

    message: bytes
    before: Sequence[bytes] = ()
    psks: Mapping[bytes, Secret] = field(default_factory=dict)
    victims: Sequence[int] = (0, 1, 4, 5, 7)


@dataclass(frozen=True)
class Proposed:
    """A proposal to the members."""

    message: bytes


@dataclass(frozen=True)
class Spoken:
    """An application message to the members, after others."""

    message: bytes
    before: Sequence[bytes] = ()


@dataclass(frozen=True)
class Offered:
    """A KeyPackage, to a member who is asked to add it at a time (seconds since 1970)."""

    key_package: bytes
    now: int | None = None


@dataclass(frozen=True)
class Greeted:
    """A Welcome and a tree, to the newcomer whose key package it is for."""

    welcome: bytes
    tree: bytes
    newcomer: Client
    key_package: KeyPackage
    psks: Mapping[bytes, Secret] = field(default_factory=dict)


@dataclass(frozen=True)
class Shown:
    """A GroupInfo and a tree, to somebody who wants to join from outside."""

    group_info: bytes
    tree: bytes
    outsider: Client


Attempt = Sent | Proposed | Spoken | Offered | Greeted | Shown
Make = Callable[[World, bool], Attempt]
Proposing = Proposal | Callable[[World], Proposal]


@dataclass(frozen=True)
class Attack:
    section: str
    must: str
    how: str
    reason: str
    make: Make
    world: Callable[[], World] = plain
    told: str = ""  # the section that the error names, if it is not `section`
    taken: str = ""  # why the engine takes it although it must not
    refused: str = ""  # why the engine refuses it although it should not
    asks: bool = False  # it asks for what a call may give: the error is the caller's, who knows better


# -- how they are made ---------------------------------------------------------------------------------------


def made(world: World, proposals: Sequence[Proposing]) -> list[Proposal]:
    return [one(world) if callable(one) else deepcopy(one) for one in proposals]


def commit(
    *proposals: Proposing,
    lawful: Sequence[Proposing] | EllipsisType = ...,
    by: str = "rogue",
    victims: Sequence[int] = (0, 1, 4, 5, 7),
    psks: Mapping[bytes, bytes] | None = None,
    touch: Mapping[str, Touch] | None = None,
    **how: Any,
) -> Make:
    """A commit of proposals by value, touched. Lawful is the same untouched, of the proposals `lawful`."""

    def make(world: World, spoiled: bool) -> Attempt:
        asked = proposals if spoiled or isinstance(lawful, EllipsisType) else lawful
        author = getattr(world, by) if by != "outsider" else world.outsider()
        draft = author.commit(
            made(world, asked), psks=psks, touch=touch if spoiled else None, external=by == "outsider", **how
        )
        known = {name: Secret(value) for name, value in (psks or {}).items()}
        return Sent(draft.bytes, psks=known, victims=victims)

    return make


def referred(
    *proposals: Proposing,
    lawful: Sequence[Proposing] | EllipsisType = ...,
    by: str = "accomplice",
    touch: Mapping[str, Touch] | None = None,
    committed: Mapping[str, Touch] | None = None,
    sender: Sender | None = None,
    value: Sequence[Proposing] = (),
    **how: Any,
) -> Make:
    """Proposals sent by `by` (touched) and then committed by the rogue by reference (`committed` touches that)."""

    def make(world: World, spoiled: bool) -> Attempt:
        asked = proposals if spoiled or isinstance(lawful, EllipsisType) else lawful
        author = getattr(world, by)
        framed = [
            author.propose(one, touch if spoiled else None, **({"sender": deepcopy(sender)} if sender else {}))
            for one in made(world, asked)
        ]
        draft = world.rogue.commit(made(world, value), received=framed, touch=committed if spoiled else None, **how)
        return Sent(draft.bytes, before=[one.bytes for one in framed])

    return make


def proposed(
    proposal: Proposing,
    touch: Mapping[str, Touch],
    sender: Sender | None = None,
    by: str = "rogue",
    lawful: Proposing | None = None,
) -> Make:
    """A proposal to be remembered, touched."""

    def make(world: World, spoiled: bool) -> Attempt:
        author = getattr(world, by)
        how = {"sender": deepcopy(sender)} if sender else {}
        asked = proposal if spoiled or lawful is None else lawful
        return Proposed(author.propose(made(world, [asked])[0], touch if spoiled else None, **how).bytes)

    return make


def secretly(proposal: Proposing, touch: Mapping[str, Touch]) -> Make:
    """The same encrypted."""

    def make(world: World, spoiled: bool) -> Attempt:
        content = world.rogue.framed(twins.PROPOSAL, made(world, [proposal])[0])
        return Proposed(world.rogue.encrypt(content, touch if spoiled else None).bytes)

    return make


def spoken(touch: Mapping[str, Touch], second: bool = False) -> Make:
    """An application message, touched; or the second of two."""

    def make(world: World, spoiled: bool) -> Attempt:
        sent = world.rogue.framed(twins.APPLICATION, b"hello")
        before = [world.rogue.encrypt(deepcopy(sent)).bytes] if second else []
        return Spoken(world.rogue.encrypt(sent, touch if spoiled else None).bytes, before)

    return make


def offered(
    touch: Mapping[str, Touch], now: int | None = None, message: Callable[[bytes], bytes] | None = None
) -> Make:
    """A KeyPackage, touched."""

    def make(world: World, spoiled: bool) -> Attempt:
        package = newcomer(touch=touch if spoiled else None).message
        return Offered(message(package) if message and spoiled else package, now)

    return make


def welcomed(
    touch: Mapping[str, Touch] | None = None,
    *proposals: Proposing,
    lawful: Sequence[Proposing] | EllipsisType = ...,
    joiner: Callable[[], Client] | None = None,
    tree: Callable[[Draft], bytes] | None = None,
    psks: Mapping[bytes, bytes] | None = None,
    path: bool = True,
) -> Make:
    """A Welcome for an honest newcomer, touched."""

    def make(world: World, spoiled: bool) -> Attempt:
        somebody = joiner() if joiner and spoiled else client("joiner")
        package = somebody.key_package()
        asked = proposals if spoiled or isinstance(lawful, EllipsisType) else lawful
        draft = world.rogue.commit(
            [Proposal(twins.ADD, twin(package.public)), *made(world, asked)],
            touch=touch if spoiled else None,
            path=path,
            psks=psks,
        )
        told = tree(draft) if tree and spoiled else draft.tree.encode()
        known = {name: Secret(value) for name, value in (psks or {}).items()}
        return Greeted(twins.message(draft.welcome), told, somebody, package, known)

    return make


def shown(touch: Mapping[str, Touch], tree: Callable[[Draft], bytes] | None = None) -> Make:
    """The GroupInfo of an epoch that the rogue has made, touched, for somebody who joins from outside."""

    def make(world: World, spoiled: bool) -> Attempt:
        def public_key(draft: Draft) -> None:
            assert draft.secrets is not None
            key = OPAQUE.write(draft.suite.kem.public(draft.secrets.external()))
            draft.info.extensions.append(Extension(twins.EXTERNAL_PUB, key))
            draft.touched("info", touch if spoiled else {})

        draft = world.rogue.commit(touch={**(touch if spoiled else {}), "info": public_key})
        told = tree(draft) if tree and spoiled else draft.tree.encode()
        return Shown(twins.message(draft.info), told, client("outsider"))

    return make


# -- proposals -----------------------------------------------------------------------------------------------


def remove(leaf: int) -> Proposal:
    return Proposal(twins.REMOVE, leaf)


def add(person: Person | str = "newcomer", **touch: Touch) -> Callable[[World], Proposal]:
    """Touches: leaf, signed_leaf, package, signed_package."""
    touched = {name.replace("_", " "): one for name, one in touch.items()}
    return lambda _: newcomer(person, touched).add


def update(person: Person = ACCOMPLICE, **touch: Touch) -> Callable[[World], Proposal]:
    """Of the accomplice's leaf. Touches: leaf, signed_leaf."""

    def make(world: World) -> Proposal:
        author = world.accomplice if person is ACCOMPLICE else world.rogue
        leaf = deepcopy(author.tree.leaf(author.index))
        draft = SimpleNamespace(leaf=leaf, member=author)
        leaf.encryption_key = fresh_key()
        leaf.source, leaf.body = twins.FROM_UPDATE, None
        touch.get("leaf", lambda _: None)(draft)
        person.sign_leaf(leaf, author.context.group_id, author.index)
        touch.get("signed_leaf", lambda _: None)(draft)
        return Proposal(twins.UPDATE, leaf)

    return make


def extensions(*listed: tuple[int, bytes]) -> Proposal:
    """GroupContextExtensions."""
    return Proposal(twins.GROUP_CONTEXT_EXTENSIONS, [Extension(kind, data) for kind, data in listed])


def required(**lists: list[int]) -> tuple[int, bytes]:
    return twins.REQUIRED_CAPABILITIES, RequiredCapabilities(**lists).encode()


def psk(name: bytes = b"named", nonce: bytes = bytes(range(32))) -> Proposal:
    return Proposal(twins.PSK, PreSharedKeyID(twins.EXTERNAL_PSK, name, nonce))


def resumption(usage: int, epoch: int = 8) -> Proposal:
    return Proposal(
        twins.PSK, PreSharedKeyID(twins.RESUMPTION_PSK, Resumption(usage, GROUP_ID, epoch), bytes(range(32)))
    )


def reinit(version: int = 1) -> Proposal:
    return Proposal(twins.REINIT, ReInit(group_id=b"next", version=version))


CUSTOM = Proposal(UNKNOWN, b"anything")
EXTERNAL_INIT = Proposal(twins.EXTERNAL_INIT, bytes(31) + b"\x09")
NAMED = {b"named": b"value"}


# -- touches -------------------------------------------------------------------------------------------------


def both(*touches: Touch) -> Touch:
    def touch(draft: Any) -> None:
        for one in touches:
            one(draft)

    return touch


def resealed(draft: Draft, step: int, secrets: Callable[[int], bytes]) -> None:
    """Encrypts the path secret of one step anew: `secrets` gives what the i-th receiver gets."""
    _, copath = draft.member.tree.filtered(draft.index)[step]
    keys = draft.tree.keys(draft.tree.resolution(copath))
    draft.path.nodes[step].encrypted_path_secret = [
        draft.suite.encrypt_with_label(key, "UpdatePathNode", draft.sealing, secrets(place))
        for place, key in enumerate(keys)
    ]


def fresh_key() -> bytes:
    """The public half of a key that nobody keeps."""
    return SUITES[1].kem.public(SUITES[1].kem.generate())


def longer(items: list[ProposalOrRef]) -> Raw:
    """A vector whose length takes a byte more than it needs to."""
    content = b"".join(one.encode() for one in items)
    assert len(content) < 1 << 6
    return Raw(b"\x40" + bytes([len(content)]) + content)
