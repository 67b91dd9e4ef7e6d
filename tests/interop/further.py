"""Steps of a history that not every engine can take part in: extensions of the GroupContext, proposals that the
application makes up, and proposals from outside the group (RFC 9420 sections 12.1.7 and 12.1.8)."""

from typing import Any

from party import GROUP_ID, Member, Party
from steps import Passed, Picks


class Further(Party):
    gateway: Member | None = None
    """Who proposes from outside, once the group names it."""

    def context_extensions(self, picks: Picks) -> None:
        """The application's extension with new contents; who proposes from outside stays the same."""
        self._proposed(picks, "context_extensions", data=self._data(picks), sender=self._sender())

    def custom_proposal(self, picks: Picks) -> None:
        self._proposed(picks, "custom", data=self._data(picks))

    def context_extensions_by_value(self, picks: Picks) -> None:
        self._by_value(picks, "context_extensions", data=self._data(picks), sender=self._sender())

    def custom_by_value(self, picks: Picks) -> None:
        self._by_value(picks, "custom", data=self._data(picks))

    def _by_value(self, picks: Picks, kind: str, **fields: Any) -> None:
        """Whoever proposes commits it at once, and in every third case adds somebody too."""
        self.all_can(kind)
        author = picks.one(self.able("add", f"commit_{kind}"))
        room = picks.below(3) == 0 and len(self.members) < self.plan.most
        added = self.newcomers(picks, 1, kind, *self.joining(author)) if room else []
        self.commit(picks, author, add=added, by_value=[{"kind": kind, **fields}])

    def _proposed(self, picks: Picks, kind: str, **fields: Any) -> None:
        self.all_can(kind)
        proposer = picks.one(self.members)
        author = picks.one(self.able(f"commit_{kind}", but=[proposer]))
        proposal = proposer.call("propose", kind=kind, **fields)["proposal"]
        self.tell(f"{proposer} proposes: {kind}")
        self.deliver(proposal, "proposal", self.able(but=[proposer]))
        self.commit(picks, author, proposed=True)

    def join_proposal(self, picks: Picks) -> None:
        """Somebody outside asks to be added."""
        author = picks.one(self.members)
        joiner = self.newcomers(picks, 1, *self.joining(author))[0]
        self.package(joiner)
        self._from_outside(picks, author, joiner.call("propose_join", **self._place(picks)), add=[joiner])

    def external_add(self, picks: Picks) -> None:
        """The gateway has somebody added."""
        self._name_gateway(picks)
        author = picks.one(self.members)
        joiner = self.newcomers(picks, 1, *self.joining(author))[0]
        proposal = self._outside(picks, "add", key_package=self.package(joiner))
        self._from_outside(picks, author, proposal, add=[joiner])

    def external_remove(self, picks: Picks) -> None:
        self._name_gateway(picks)
        author = picks.one(self.members)
        removed = picks.one(self.removable(but=[author]))
        self._from_outside(picks, author, self._outside(picks, "remove", leaf=removed.leaf), remove=[removed])

    def external_extensions(self, picks: Picks) -> None:
        self._name_gateway(picks)
        proposal = self._outside(picks, "context_extensions", data=self._data(picks), sender=self._sender())
        self._from_outside(picks, picks.one(self.members), proposal)

    def _from_outside(self, picks: Picks, author: Member, made: dict[str, Any], **change: list[Member]) -> None:
        self.tell("a proposal from outside")
        self.deliver(made["proposal"], "proposal", self.members)
        self.commit(picks, author, proposed=True, **change)

    def _name_gateway(self, picks: Picks) -> None:
        """Once: a client that is never a member becomes the group's external sender."""
        if self.gateway is not None:
            return
        if len(self.members) < 2:
            raise Passed
        self.gateway = self.newcomer(picks)
        self.context_extensions(picks)

    def _sender(self) -> bytes | None:
        return self.gateway.call("sender")["sender"] if self.gateway else None

    def _outside(self, picks: Picks, kind: str, **fields: Any) -> dict[str, Any]:
        assert self.gateway is not None
        return self.gateway.call("propose_outside", kind=kind, **self._place(picks), **fields)

    def _place(self, picks: Picks) -> dict[str, Any]:
        """What somebody outside is told of the group."""
        info = picks.one(self.able("group_info")).call("group_info", with_tree=True)["group_info"]
        return {"group_id": GROUP_ID, "epoch": self.epoch, "group_info": info}

    def _data(self, picks: Picks) -> bytes:
        return bytes([picks.below(256)]) * picks.below(100)
