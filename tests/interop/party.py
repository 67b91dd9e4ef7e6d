"""A mixed group: its members, what they say to each other, and what they have to agree on.

After every commit all members stand in one epoch, with one epoch authenticator, exporter and tree hash."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evidence import Case
from known import KNOWN, Known
from peers import Fields, Peer, PeerError
from steps import Passed, Picks, Plan

from mlsrtc.mls import inspect_group_info, inspect_tree

GROUP_ID = b"mixed group"
LABEL, CONTEXT = "interop", b"history"
"""What the exporter is asked for."""


class Disagreement(Exception):
    """Members of one group are not in one epoch, or read something else than was written."""


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
    """A group and its members. What nobody in it can do is passed over."""

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
        self.author: Member | None = None
        self.handshake = b""
        self.proposals: list[tuple[int, bytes]] = []
        self.adding: Sequence[bytes] = ()
        """By which faults are explained: who makes the commit at hand, in epoch `at`, the last handshake message, all
        proposals with their epochs, and the key packages that the commit is to have."""
        self.told: list[str] = []
        self.epoch = self.largest = self.names = self.at = 0
        self.members: list[Member] = []
        founder = self.newcomers(Picks([0]), 1, "create")[0]
        founder.call("create", group_id=GROUP_ID)
        self.members = [founder]
        # Some begin with a commit of their own.
        self.epoch = founder.since = founder.call("state", label=LABEL, context=CONTEXT)["epoch"]
        self.agree()

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

    def newcomer(self, picks: Picks) -> Member:
        """A new client, whether there is room for it or not."""
        return self._client(self.peers[picks.one(self.plan.shares)])

    def joining(self, author: Member) -> tuple[str, ...]:
        """What somebody must be able to do to be added by `author`."""
        return ("join",) if author.can("tree_in_welcome") else ("join", "tree_apart")

    def _client(self, peer: Peer) -> Member:
        self.names += 1
        member = Member(f"m{self.names}", peer)
        private = self.plan.private and member.can("private")
        custom = {"custom": True} if "custom by value" in self.plan.weights else {}
        member.call("client", suite=self.plan.suite, identity=member.name.encode(), private=private, **custom)
        return member

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
        by_value: Sequence[Fields] = (),
        proposed: bool = False,
    ) -> None:
        """`by_value`: further proposals, as in a request to propose. `proposed`: what is added and removed was proposed
        before, and is in the commit by reference."""
        in_welcome = picks.below(2) == 0 or not all(member.can("tree_apart") for member in add)
        in_welcome = in_welcome and author.can("tree_in_welcome")
        fields = {
            "add": [] if proposed else [self.package(member) for member in add],
            "remove": [] if proposed else [member.leaf for member in remove],
            "psk": psk,
            "path": not (add or psk or by_value or proposed) or picks.below(3) == 0,
            "tree_in_welcome": in_welcome,
        }
        if by_value:
            fields["by_value"] = by_value
        self.author, self.at, self.adding = author, self.epoch, fields["add"]
        try:
            done = author.call("commit", **fields)
        except PeerError as error:
            self.lose(author, error)
            self.remove_lost()
            raise Passed from None
        what = [f"adds {member}" for member in add] + [f"removes {member}" for member in remove]
        what += [f"PSK {psk}" for psk in psk] + [f"{proposal['kind']} by value" for proposal in by_value]
        self.tell(f"{author} commits{' by reference' if proposed else ''}: {', '.join(what) or 'update'}")
        self.commits[author.peer.name] += 1
        followers = self.able(but=[author, *remove])
        for proposal in done.get("proposals", []):
            self.deliver(proposal, "proposal", followers)
        kinds = {proposal["kind"] for proposal in by_value}
        for _, answer in self.deliver(done["commit"], "commit", [one for one in followers if one in self.members]):
            if not kinds <= set(answer.get("by_value", kinds)):
                raise Disagreement(f"{author} has not {kinds} by value in its commit")
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
        self.author, self.at, self.adding = joiner, self.epoch, ()
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
        if kind != "application":
            self.handshake = message
        if kind == "proposal":
            self.proposals.append((self.epoch, message))
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
        case = self.case(member)
        known = next((known for known in KNOWN if known.is_of(error, case)), None)
        if known is None and member.peer.name in self.plan.weak:
            known = Known(error.peer, error.operation, error.text, "unexplained: " + error.text)
        if known is None:
            raise cause or error
        self.faults[known] += 1
        self.members.remove(member)
        self.lost.append(member)
        self.tell(f"{member} is lost: {known.reason}")

    def case(self, member: Member) -> Case:
        def group_info() -> bytes:
            host = min(self.members, key=lambda other: (other is member, not other.can("group_info")))
            info: bytes = host.call("group_info", with_tree=True)["group_info"]
            return info

        author = self.author
        assert author is not None
        return Case(
            suite=self.plan.suite,
            group_id=GROUP_ID,
            group_info=group_info,
            author=author.peer.name,
            ask_author=author.call,
            message=self.handshake,
            added=self.adding,
            proposed=[message for at, message in self.proposals if at == self.at],
            earlier=[message for at, message in self.proposals if author.since <= at < self.at],
        )

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
