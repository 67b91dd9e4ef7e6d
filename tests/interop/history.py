"""Random histories of mixed groups, played; a failing one is shortened and told.

A history is a list of steps, and a step a kind and some numbers that are taken modulo whatever is there when it is
played. So every part of a history is a history too, and a failing one is shortened by leaving steps out.
"""

from collections.abc import Callable, Mapping, Sequence

from further import Further
from party import Disagreement, Member
from peers import Peer, PeerError
from steps import Passed, Picks, Plan, Step


class History(Further):
    """A party that takes steps. Those that nobody in it can take are passed over."""

    def play(self, step: Step) -> None:
        try:
            getattr(self, step.kind.replace(" ", "_"))(Picks(step.picks))
        except Passed:
            return
        self.operations[step.kind] += 1

    def add(self, picks: Picks) -> None:
        author = picks.one(self.able("add"))
        self.commit(picks, author, add=self.newcomers(picks, max(2, self.plan.most // 6), *self.joining(author)))

    def remove(self, picks: Picks) -> None:
        author = picks.one(self.able("remove"))
        most = max(2, len(self.members) // 4) if author.can("remove_several") else 1
        removed = picks.some(self.removable(but=[author]), most)
        self.commit(picks, author, remove=removed)

    def update(self, picks: Picks) -> None:
        self.commit(picks, picks.one(self.able("update")))

    def psk(self, picks: Picks) -> None:
        """With an external PSK, and in every second case somebody who joins with it."""
        self.all_can("psk")
        author = picks.one(self.able("add"))
        room = picks.below(2) and len(self.members) < self.plan.most
        added = self.newcomers(picks, 1, "psk", *self.joining(author)) if room else []
        self.commit(picks, author, add=added, psk=[self.share_psk([*self.members, *added])])

    def resumption(self, picks: Picks) -> None:
        """With the resumption PSK of an epoch that all of them were in."""
        self.all_can("resumption")
        since = max(self.epoch - 3, *(member.since for member in self.members))
        epoch = picks.one(range(since, self.epoch + 1))
        self.commit(picks, picks.one(self.able("update")), psk=[{"epoch": epoch}])

    def external_join(self, picks: Picks) -> None:
        self.all_can("follow_external")
        host = picks.one(self.able("group_info"))
        joiner = self.newcomers(picks, 1, "external_join")[0]
        with_psk = picks.below(3) == 0 and not self.lack("psk") and joiner.can("external_join_psk")
        psk = [self.share_psk([*self.members, joiner])] if with_psk else []
        self.enter(picks, host, joiner, False, psk)

    def resync(self, picks: Picks) -> None:
        """A member that comes back from outside and takes away the leaf that it left behind."""
        self.all_can("follow_external")
        joiner = picks.one(member for member in self.removable() if member.can("resync"))
        host = picks.one(self.able("group_info", but=[joiner]))
        self.members.remove(joiner)
        self.enter(picks, host, joiner, True, [])

    def by_reference(self, picks: Picks) -> None:
        """Some propose, and somebody else commits what they proposed."""
        self.all_can("by_reference")
        author = picks.one(self.able("commit_proposals"))
        added, removed = list[Member](), list[Member]()
        busy = [author]  # whom no further proposal may concern
        messages = []
        for _ in range(1 + picks.below(3)):
            kind = picks.one(["add", "remove", "leave", "update", "update", "psk"])
            proposers = self.able(f"propose_{kind}".replace("leave", "remove"), but=[author, *busy])
            if not proposers:
                continue
            proposer = picks.one(proposers)
            if kind == "add":
                if len(self.members) + len(added) >= self.plan.most:
                    continue
                added += self.newcomers(picks, 1, *self.joining(author))
                fields = {"key_package": self.package(added[-1])}
            elif kind == "psk":
                if self.lack("psk"):
                    continue
                fields = {"id": None}
            elif kind == "update":
                busy.append(proposer)
                fields = {}
            else:
                others = self.removable(but=[proposer, *busy]) if kind == "remove" else self.removable(but=busy)
                leaving = [member for member in others if kind == "remove" or member is proposer]
                if not leaving:
                    continue
                removed.append(picks.one(leaving))
                busy.append(removed[-1])
                fields = {"leaf": removed[-1].leaf}
            messages.append((proposer, kind.replace("leave", "remove"), fields))
        if not messages:
            raise Passed
        if any(kind == "psk" for _, kind, _ in messages) and not all(member.can("psk") for member in added):
            raise Passed
        for proposer, kind, fields in messages:
            if kind == "psk":
                fields = self.share_psk([*self.members, *added])
            proposal = proposer.call("propose", kind=kind, **fields)["proposal"]
            self.tell(f"{proposer} proposes: {kind}")
            self.deliver(proposal, "proposal", self.able(but=[proposer]))
        self.commit(picks, author, add=added, remove=removed, proposed=True)

    def message(self, picks: Picks) -> None:
        sender = picks.one(self.able("encrypt"))
        self.read(sender, [self.written(picks, sender)])

    def out_of_order(self, picks: Picks) -> None:
        """Several messages of one sender, read in another order than they were written in."""
        sender = picks.one(self.able("encrypt"))
        written = [self.written(picks, sender) for _ in range(4)]
        turn = 1 + picks.below(3)
        self.read(sender, [*written[turn:], *written[:turn]], "out_of_order")

    def late(self, picks: Picks) -> None:
        """A message that is read one epoch after its own."""
        sender = picks.one(self.able("encrypt"))
        author = picks.one(self.able("update"))
        written = self.written(picks, sender)
        self.commit(picks, author)
        self.read(sender, [written], "late")


def played(plan: Plan, steps: Sequence[Step], start: Callable[[], Mapping[str, Peer]]) -> History:
    """A party after all steps. Its peers are closed; what went wrong is raised, with the party as `party`."""
    peers = start()
    party = None
    try:
        party = History(plan, peers)
        for step in steps:
            party.play(step)
    except (Disagreement, PeerError) as fault:
        fault.add_note("\n".join(party.told if party else []))
        raise
    finally:
        for peer in peers.values():
            peer.close()
    return party


def failure(plan: Plan, steps: Sequence[Step], start: Callable[[], Mapping[str, Peer]]) -> Exception | None:
    try:
        played(plan, steps, start)
    except (Disagreement, PeerError) as fault:
        return fault
    return None


def shortened(plan: Plan, steps: list[Step], start: Callable[[], Mapping[str, Peer]]) -> list[Step]:
    """The failing history without the steps that its failure does not need."""

    def kind(fault: Exception | None) -> object:
        return (fault.peer, fault.operation) if isinstance(fault, PeerError) else type(fault)

    wanted = kind(failure(plan, steps, start))
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            candidate = steps[:at] + steps[at + size :]
            if kind(failure(plan, candidate, start)) == wanted:
                steps = candidate
            else:
                at += size
        size //= 2
    return steps


def check(plan: Plan, seed: int, length: int, start: Callable[[], Mapping[str, Peer]]) -> History:
    """Plays one history. A failing one is shortened and told, with its seed."""
    steps = plan.draw(seed, length)
    try:
        return played(plan, steps, start)
    except (Disagreement, PeerError) as fault:
        steps = shortened(plan, steps, start)
        shorter = failure(plan, steps, start) or fault
        shorter.add_note(f"seed {seed} of {length} steps, shortened to: {steps}")
        raise shorter from None
