"""Random histories of mixed groups: what happens follows from a seed, and all members agree after every commit.

A history is a list of steps, and a step a kind and some numbers that are taken modulo whatever is there when it is
played. So every part of a history is a history too, and a failing one is shortened by leaving steps out.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, TypeVar

from known import KNOWN, Known
from peers import Fields, Peer, PeerError

from mlsrtc.mls import inspect_group_info, inspect_tree

LABEL, CONTEXT = "interop", b"history"

WEIGHTS = {
    "add": 5, "remove": 4, "update": 4, "external join": 2, "resync": 1, "psk": 2, "resumption": 1,
    "by reference": 5, "message": 4, "out of order": 1, "late": 1,
}  # fmt: skip
"""How often each kind of step is drawn. A step is one operation, though some are several messages."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Step:
    kind: str
    picks: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Who takes part, and how large the group gets. `shares`: peers by name, and how many of so many newcomers are
    theirs; the first one that can founds the group. `private`: handshake messages are encrypted. `founder_stays`: its
    leaf, the leftmost, is never blank, so that no tree has a blank left half. `weak`: engines of which no fault fails
    the history; it is counted, and the member that has it is removed by the others."""

    suite: int
    shares: Mapping[str, int]
    most: int
    private: bool = False
    founder_stays: bool = False
    weak: frozenset[str] = frozenset()
    weights: Mapping[str, int] = field(default_factory=lambda: WEIGHTS)

    def draw(self, seed: int, steps: int) -> list[Step]:
        source = random.Random(seed)
        kinds, weights = list(self.weights), list(self.weights.values())
        return [
            Step(source.choices(kinds, weights)[0], tuple(source.getrandbits(30) for _ in range(11)))
            for _ in range(steps)
        ]


class Disagreement(Exception):
    """Members of one group are not in one epoch, or read something else than was written."""


class Passed(Exception):
    """Nobody here can take this step."""


class Picks:
    """A step's numbers, turned into choices."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = cycle(numbers)

    def below(self, limit: int) -> int:
        return next(self.numbers) % limit

    def one(self, items: Iterable[Item]) -> Item:
        items = list(items)
        if not items:
            raise Passed
        return items[self.below(len(items))]

    def some(self, items: Iterable[Item], most: int) -> list[Item]:
        """At least one, at most `most`, none twice."""
        rest, chosen = list(items), list[Item]()
        for _ in range(1 + self.below(most)):
            chosen.append(self.one(rest))
            rest.remove(chosen[-1])
            if not rest:
                break
        return chosen


@dataclass(eq=False)
class Member:
    name: str
    peer: Peer
    leaf: int = 0
    since: int = 0
    """The first epoch it was in, from which on it knows the resumption PSKs."""

    def call(self, op: str, **fields: Any) -> Fields:
        return self.peer.call(op, client=self.name, **fields)

    def can(self, *features: str) -> bool:
        return not any(feature in self.peer.unsupported for feature in features)

    def __str__(self) -> str:
        return f"{self.name} ({self.peer.name}, leaf {self.leaf})"


class Party:
    """A group and its members. Steps that nobody in it can take are passed over."""

    def __init__(self, plan: Plan, peers: Mapping[str, Peer]) -> None:
        self.plan, self.peers = plan, peers
        self.operations: Counter[str] = Counter()
        self.commits: Counter[str] = Counter()
        """Commits by the engine of their author."""
        self.processed: Counter[str] = Counter()
        """Messages that were taken in, by engine."""
        self.faults: Counter[Known] = Counter()
        """Known faults of other engines that were met. Who has one is removed by the others."""
        self.lost: list[Member] = []
        self.told: list[str] = []
        self.epoch = self.largest = self.names = 0
        self.members: list[Member] = []
        founder = self.newcomers(Picks([0]), 1, "create")[0]
        founder.call("create", group_id=b"mixed group")
        self.members = [founder]
        # Some begin with a commit of their own.
        self.epoch = founder.since = founder.call("state", label=LABEL, context=CONTEXT)["epoch"]
        self.agree()

    def play(self, step: Step) -> None:
        try:
            getattr(self, step.kind.replace(" ", "_"))(Picks(step.picks))
        except Passed:
            return
        self.operations[step.kind] += 1

    def close(self) -> None:
        for member in self.members:
            member.call("drop")

    # -- who ---------------------------------------------------------------------------------------------------

    def able(self, *features: str, but: Iterable[Member] = ()) -> list[Member]:
        return [member for member in self.members if member.can(*features) and member not in but]

    def removable(self, but: Iterable[Member] = ()) -> list[Member]:
        return [member for member in self.members[self.plan.founder_stays :] if member not in but]

    def all_can(self, *features: str) -> None:
        if any(self.lack(feature) for feature in features):
            raise Passed

    def newcomers(self, picks: Picks, most: int, *features: str) -> list[Member]:
        """New clients, as many as there is room for, of engines that have the features."""
        names = [name for name, share in self.plan.shares.items() for _ in range(share)]
        names = [name for name in names if not self.peers[name].unsupported.keys() & set(features)]
        room = self.plan.most - len(self.members)
        made = [self.peers[picks.one(names)] for _ in range(min(1 + picks.below(most), room))]
        if not made:
            raise Passed
        return [self._client(peer) for peer in made]

    def joining(self, author: Member) -> tuple[str, ...]:
        """What somebody must be able to do to be added by `author`."""
        return ("join",) if author.can("tree_in_welcome") else ("join", "tree_apart")

    def _client(self, peer: Peer) -> Member:
        self.names += 1
        member = Member(f"m{self.names}", peer)
        private = self.plan.private and member.can("private")
        member.call("client", suite=self.plan.suite, identity=member.name.encode(), private=private)
        return member

    # -- what ----------------------------------------------------------------------------------------------------

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
        """Some propose, and somebody else commits it, perhaps with something of their own."""
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

    # -- how -----------------------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        self.told.append(f"epoch {self.epoch}: {text}")

    def lack(self, feature: str) -> bool:
        return any(not member.can(feature) for member in self.members)

    def package(self, member: Member) -> bytes:
        package: bytes = member.call("key_package")["key_package"]
        return package

    def share_psk(self, members: Iterable[Member]) -> Fields:
        self.names += 1
        psk = {"id": f"psk {self.names}".encode(), "secret": bytes([self.names % 256]) * 32}
        for member in members:
            member.call("psk", **psk)
        return {"id": psk["id"]}

    def commit(
        self,
        picks: Picks,
        author: Member,
        add: Sequence[Member] = (),
        remove: Sequence[Member] = (),
        psk: Sequence[Fields] = (),
        proposed: bool = False,
    ) -> None:
        """`proposed`: what is added and removed was proposed before, and is in the commit by reference."""
        in_welcome = picks.below(2) == 0 or not all(member.can("tree_apart") for member in add)
        in_welcome = in_welcome and author.can("tree_in_welcome")
        fields = {
            "add": [] if proposed else [self.package(member) for member in add],
            "remove": [] if proposed else [member.leaf for member in remove],
            "psk": psk,
            "path": not (add or psk or proposed) or picks.below(3) == 0,
            "tree_in_welcome": in_welcome,
        }
        try:
            done = author.call("commit", **fields)
        except PeerError as error:
            self.lose(author, error)
            self.remove_lost()
            raise Passed from None
        what = [f"adds {member}" for member in add] + [f"removes {member}" for member in remove]
        what += [f"PSK {psk}" for psk in psk]
        self.tell(f"{author} commits{' by reference' if proposed else ''}: {', '.join(what) or 'update'}")
        self.commits[author.peer.name] += 1
        followers = self.able(but=[author, *remove])
        for proposal in done.get("proposals", []):
            self.deliver(proposal, "proposal", followers)
        self.deliver(done["commit"], "commit", [member for member in followers if member in self.members])
        for member in remove:
            self.members.remove(member)
            member.call("drop")
        self.epoch += 1
        # One Welcome for all of them, or one for each.
        for member, welcome in zip(add, done.get("welcomes") or [done["welcome"]] * len(add), strict=True):
            member.since = self.epoch
            self.members.append(member)
            try:
                member.call("join", welcome=welcome, tree=done["tree"])
                self.processed[member.peer.name] += 1
            except PeerError as error:
                self.lose(member, error)
        self.agree()

    def enter(self, picks: Picks, host: Member, joiner: Member, resync: bool, psk: list[Fields]) -> None:
        info = host.call("group_info", with_tree=not joiner.can("tree_apart") or picks.below(2) == 0)
        done = joiner.call("join_external", resync=resync, psk=psk, **info)
        self.tell(f"{joiner} {'comes back' if resync else 'joins'} from outside, told by {host}")
        self.commits[joiner.peer.name] += 1
        self.deliver(done["commit"], "commit", self.members)
        self.epoch += 1
        joiner.since = self.epoch
        self.members.append(joiner)
        self.agree()

    def written(self, picks: Picks, sender: Member) -> tuple[bytes, bytes]:
        data = f"{sender.name} says something".encode() * (1 + picks.below(20))
        message: bytes = sender.call("encrypt", data=data, authenticated_data=b"in the clear")["message"]
        return data, message

    def read(self, sender: Member, written: Sequence[tuple[bytes, bytes]], *features: str) -> None:
        readers = self.able("decrypt", *features, but=[sender])
        self.tell(f"{sender} writes, {len(readers)} read")
        for data, message in written:
            for member, answer in self.deliver(message, "application", readers):
                if answer["data"] != data:
                    raise Disagreement(f"{member} read {answer['data']!r} and not {data!r}")

    def deliver(self, message: bytes, kind: str, to: Iterable[Member]) -> list[tuple[Member, Fields]]:
        answers = self.ask(to, "process", message=message)
        for member, answer in answers:
            self.processed[member.peer.name] += 1
            if answer["kind"] != kind:
                raise Disagreement(f"{member} took a {kind} for a {answer['kind']}")
        return answers

    def ask(self, members: Iterable[Member], op: str, **fields: Any) -> list[tuple[Member, Fields]]:
        """The same of many members, engine by engine."""
        by_peer: dict[str, list[Member]] = defaultdict(list)
        for member in members:
            by_peer[member.peer.name].append(member)
        answers = list[tuple[Member, Fields]]()
        for group in by_peer.values():
            requests = [(op, {"client": member.name, **fields}) for member in group]
            for member, answer in zip(group, group[0].peer.call_all(requests), strict=True):
                if isinstance(answer, PeerError):
                    self.lose(member, answer)
                else:
                    answers.append((member, answer))
        return answers

    def lose(self, member: Member, error: PeerError, cause: Exception | None = None) -> None:
        """A member cannot go on: by a fault of its engine that is known, else the history has failed by `cause`."""
        known = next((known for known in KNOWN if known.is_of(error)), None)
        if known is None and member.peer.name in self.plan.weak:
            known = Known(error.peer, error.operation, error.text, "unexplained: " + error.text)
        if known is None:
            raise cause or error
        self.faults[known] += 1
        self.members.remove(member)
        self.lost.append(member)
        self.tell(f"{member} is lost: {known.reason}")

    def agree(self) -> None:
        """Every member has the epoch, epoch authenticator, exporter and tree hash that the others have. What an
        engine does not tell is None."""
        self.largest = max(self.largest, len(self.members))
        first: dict[str, tuple[Member, Any]] = {}
        leaves = dict[int, Member]()
        for member, state in self.ask(self.members, "state", label=LABEL, context=CONTEXT):
            try:
                self.compare(member, state, first, leaves)
            except Disagreement as fault:
                self.lose(member, PeerError(member.peer.name, "agree", str(fault).removeprefix(str(member))), fault)
        if self.lost:
            self.remove_lost()

    def compare(
        self, member: Member, state: Fields, first: dict[str, tuple[Member, Any]], leaves: dict[int, Member]
    ) -> None:
        member.leaf = state["leaf"]
        if leaves.setdefault(member.leaf, member) is not member:
            raise Disagreement(f"{member} has the leaf of {leaves[member.leaf]}")
        if state["epoch"] != self.epoch:
            raise Disagreement(f"{member} is in epoch {state['epoch']} and not {self.epoch}")
        if (info := state.get("group_info")) is not None:
            facts = inspect_group_info(info)
            state |= {"tree_hash": facts.tree_hash, "confirmation_tag": facts.confirmation_tag}
        for name in ("authenticator", "exporter", "tree_hash", "confirmation_tag"):
            if (value := state.get(name)) is not None:
                other, theirs = first.setdefault(name, (member, value))
                if value != theirs:
                    raise Disagreement(f"{member} has another {name} than {other}")

    def remove_lost(self) -> None:
        """Somebody removes those who cannot go on; whether they ever knew their own leaf does not matter."""
        author = Picks([0]).one(self.able("remove", "group_info"))
        info = author.call("group_info", with_tree=True)["group_info"]
        tree = inspect_group_info(info).tree
        assert tree is not None
        names = {member.name.encode() for member in self.lost}
        leaves = [leaf for leaf, facts in inspect_tree(tree).items() if facts.identity in names]
        self.lost.clear()
        done = author.call("commit", add=[], remove=leaves, psk=[], path=True, tree_in_welcome=False)
        self.epoch += 1
        self.deliver(done["commit"], "commit", self.able(but=[author]))
        self.agree()


def played(plan: Plan, steps: Sequence[Step], start: Callable[[], Mapping[str, Peer]]) -> Party:
    """A party after all steps. Its peers are closed; what went wrong is raised, with the party as `party`."""
    peers = start()
    party = None
    try:
        party = Party(plan, peers)
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


def check(plan: Plan, seed: int, length: int, start: Callable[[], Mapping[str, Peer]]) -> Party:
    """Plays one history. A failing one is shortened and told, with its seed."""
    steps = plan.draw(seed, length)
    try:
        return played(plan, steps, start)
    except (Disagreement, PeerError) as fault:
        steps = shortened(plan, steps, start)
        shorter = failure(plan, steps, start) or fault
        shorter.add_note(f"seed {seed} of {length} steps, shortened to: {steps}")
        raise shorter from None
