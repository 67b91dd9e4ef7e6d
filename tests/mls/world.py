"""Groups that a rogue member is in, beside clients of `mlsrtc.mls`: the scene of every attack.

The tree has what trees can have: parents set by several members, blank ones, a blank leaf between others, an
unmerged leaf. Made once per kind of group; groups are values, and the rogue is copied for each attack.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache

import twins
from rogue import Announced, Draft, Member, Person, Touch
from twins import KeyPackage, MLSMessage, Proposal

from mlsrtc.mls import Client, Group, SigningKey

KNOWN = 0xF001
"""A non-default extension type that every client here lists as known."""

GROUP_ID = b"attacked"
SEATS = ("zero", "one", "rogue", "accomplice", "late", "five", None, "seven")
"""Who sits where. The accomplice and `late` came last and are unmerged above their leaves."""

FOUNDERS = ("zero", "one", "five", "seven")
"""Those of them who are there from the beginning; others sat on the other leaves before."""

ROGUE, ACCOMPLICE = Person(b"rogue"), Person(b"accomplice")


def client(name: str) -> Client:
    return Client(name.encode(), SigningKey.generate(), extension_types=[KNOWN])


def twin(key_package: bytes) -> KeyPackage:
    """The twin of a published KeyPackage."""
    package: KeyPackage = MLSMessage.decode(key_package).body
    return package


def newcomer(person: Person | str = "newcomer", touch: Mapping[str, Touch] | None = None) -> Announced:
    """Somebody with a KeyPackage that the group takes, unless a touch spoils it."""
    touch = touch or {}
    if isinstance(person, str):
        person = Person(person.encode())

    def listed(announced: Announced) -> None:
        announced.leaf.capabilities.extensions = [KNOWN]
        announced.touched("leaf", touch)

    return person.key_package({**touch, "leaf": listed})


@dataclass
class World:
    """`groups` are the clients' views of one epoch, by leaf index; `rogue` is a member of it too, and its accomplice,
    whose keys it has."""

    clients: dict[int, Client]
    groups: dict[int, Group]
    rogue: Member

    @property
    def accomplice(self) -> Member:
        return replace(self.rogue, person=ACCOMPLICE, index=SEATS.index("accomplice"))

    def outsider(self, person: Person | None = None) -> Member:
        """Somebody outside with a GroupInfo of the epoch and its tree."""
        info = MLSMessage.decode(self.groups[0].group_info()).body
        return Member.outside(person or Person(b"outsider"), info, self.groups[0].tree())

    def advanced(self, draft: Draft) -> None:
        """The rogue commits, lawfully, and all apply it."""
        self.groups = {leaf: group.stage(draft.bytes).apply() for leaf, group in self.groups.items()}
        self.rogue = draft.after


@cache
def _built(extensions: tuple[tuple[int, bytes], ...]) -> World:
    clients = {leaf: client(name or "nobody") for leaf, name in enumerate(SEATS)}
    gone = {leaf for leaf, name in enumerate(SEATS) if name not in FOUNDERS}
    packages = {leaf: one.key_package() for leaf, one in clients.items() if leaf}
    made = (
        clients[0].create_group(GROUP_ID, extensions=extensions).commit(add=[one.public for one in packages.values()])
    )
    assert made.welcome is not None
    joined = {leaf: clients[leaf].join(made.welcome, one, tree=made.tree) for leaf, one in packages.items()}
    world = World(clients, {0: made.group} | joined, None)  # type: ignore[arg-type]
    for author, removed in ((0, gone), (5, set()), (7, set()), (1, set())):
        made = world.groups[author].commit(remove=sorted(removed))
        world.groups = {
            leaf: made.group if leaf == author else group.stage(made.message).apply()
            for leaf, group in world.groups.items()
            if leaf not in removed
        }
    announced = newcomer(ROGUE)
    made = world.groups[0].commit(add=[announced.message])
    assert made.welcome is not None
    world.groups = {
        leaf: made.group if leaf == 0 else group.stage(made.message).apply() for leaf, group in world.groups.items()
    }
    world.rogue = Member.join(announced, made.welcome, made.tree)
    world.advanced(world.rogue.commit())
    late = clients[4] = client("late")
    package = late.key_package()
    draft = world.rogue.commit([newcomer(ACCOMPLICE).add, Proposal(twins.ADD, twin(package.public))], path=False)
    world.advanced(draft)
    world.groups[4] = late.join(twins.message(draft.welcome), package, tree=draft.tree.encode())
    return world


def plain() -> World:
    """A group without extensions."""
    return _copy(_built(()))


def strict() -> World:
    """A group with an extension of type KNOWN that requires its support and lets the rogue propose from outside."""
    required = twins.RequiredCapabilities([KNOWN], [], [twins.BASIC]).encode()
    sender = twins.ExternalSender(ROGUE.public, twins.Credential(twins.BASIC, ROGUE.name)).encode()
    extensions = (
        (twins.REQUIRED_CAPABILITIES, required),
        (twins.EXTERNAL_SENDERS, twins.OPAQUE.write(sender)),
        (KNOWN, b"in use"),
    )
    return _copy(_built(extensions))


def _copy(world: World) -> World:
    return World(dict(world.clients), dict(world.groups), deepcopy(world.rogue))
