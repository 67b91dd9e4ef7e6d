"""What the tests of the MLS door begin with: clients, and groups of them that stand in one epoch."""

from dataclasses import dataclass, field
from typing import Any

from mlsrtc.mls import Client, Commit, Group, Secret, SigningKey

PUBLIC, PRIVATE = b"\0\1\0\1", b"\0\1\0\2"
"""How an MLSMessage begins that holds a PublicMessage or a PrivateMessage (RFC 9420 section 6)."""


def client(name: str, suite: int = 1, **rules: Any) -> Client:
    return Client(name.encode(), SigningKey.generate(suite), **rules)


@dataclass
class Circle:
    """Clients by name, and where each of them stands. The first one made the group."""

    clients: dict[str, Client]
    groups: dict[str, Group] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Group:
        return self.groups[name]

    def deliver(self, made: Commit, author: str, psks: dict[bytes, Secret] | None = None) -> None:
        """Everybody follows `made`; who is removed by it is gone."""
        for name, group in list(self.groups.items()):
            if name == author:
                self.groups[name] = made.group
                continue
            staged = group.stage(made.message, psks=psks)
            if staged.removes_us:
                del self.groups[name]
            else:
                self.groups[name] = staged.apply()
        self.agree()

    def hear(self, proposal: bytes, author: str) -> None:
        """Everybody but `author` takes a proposal in."""
        for name, group in self.groups.items():
            if name != author:
                self.groups[name] = group.with_proposal(proposal)

    def commit(self, author: str, **what: Any) -> Commit:
        made = self[author].commit(**what)
        self.deliver(made, author, what.get("psks"))
        return made

    def reload(self) -> None:
        """Everybody is restarted from what was saved."""
        for name, group in self.groups.items():
            self.groups[name] = self.clients[name].load_group(Secret(group.save().expose()))

    def agree(self) -> None:
        found = {
            group.epoch_authenticator().expose() + group.tree_hash + group.context for group in self.groups.values()
        }
        assert len(found) == 1


def circle(*names: str, suite: int = 1, extensions: list[tuple[int, bytes]] | None = None, **rules: Any) -> Circle:
    """A group of these, at epoch 1; of one alone, at epoch 0."""
    made = Circle({name: client(name, suite, **rules) for name in names})
    first, *others = names
    group = made.clients[first].create_group(b"circle", extensions=extensions or [])
    made.groups[first] = group
    if others:
        packages = {name: made.clients[name].key_package() for name in others}
        commit = group.commit(add=[package.public for package in packages.values()])
        made.groups[first] = commit.group
        for name, package in packages.items():
            assert commit.welcome is not None
            made.groups[name] = made.clients[name].join(commit.welcome, package, tree=commit.tree)
    made.agree()
    return made
