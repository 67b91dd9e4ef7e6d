"""The façade on the MLS engine: our participation, the groups we hold, and the checks that tie them to judged commits.

Knows `evidence` and `mls`; knows no Matrix event, no roster, no clock. A group that was made here stands on exactly the
epoch whose id the caller named, with exactly the leaves that were judged: anything else raises and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mlsrtc import _core, mls
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.evidence import Committed, Leaf
from mlsrtc.identifiers import DeviceId, EpochId, LeafIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.wire import binding, encoding

SAME_DEVICE = mls.Successor.first_fields(2)
"""Who may take a leaf's place in an external commit: the same user and device, whatever the member_id."""


@dataclass(frozen=True, slots=True)
class Participation:
    """One participation of our device: a fresh leaf key, its credential and its KeyPackage. Holds secrets.

    key_package: with its private halves; None once they are deleted (docs/threat-model.md). public_key_package: what
    our membership shows for as long as it lasts.
    """

    leaf: Leaf
    client: mls.Client
    signing_key: mls.SigningKey
    key_package: mls.KeyPackage | None
    public_key_package: bytes
    binding: binding.Binding

    def __repr__(self) -> str:
        return f"Participation({self.leaf.member_id})"


def participate(
    room: RoomId,
    slot: SlotId,
    user: UserId,
    device: DeviceId,
    *,
    device_key: bytes,
    sign: binding.Sign,
    suite: int,
) -> Participation:
    """A new participation: a fresh leaf key and the member_id that commits to it, bound by the device's signature."""
    signing_key = mls.SigningKey.generate(suite)
    member = encoding.member_id(room, slot, user, device, device_key=device_key, leaf_key=signing_key.public)
    identity = encoding.Identity(user, device, member)
    bound = binding.bind(room, slot, identity, device_key=device_key, leaf_key=signing_key.public, sign=sign)
    leaf = Leaf(member, user, device, device_key, signing_key.public)
    client = _client(leaf, signing_key, bound)
    key_package = client.key_package()
    return Participation(leaf, client, signing_key, key_package, key_package.public, bound)


def restore(
    leaf: Leaf, signing_key: mls.SigningKey, key_package: mls.KeyPackage | bytes, bound: binding.Binding
) -> Participation:
    """A participation as a store kept it. key_package: its public bytes if the private halves are deleted."""
    client = _client(leaf, signing_key, bound)
    if isinstance(key_package, bytes):
        return Participation(leaf, client, signing_key, None, key_package, bound)
    return Participation(leaf, client, signing_key, key_package, key_package.public, bound)


def _client(leaf: Leaf, signing_key: mls.SigningKey, bound: binding.Binding) -> mls.Client:
    return mls.Client(
        leaf.credential,
        signing_key,
        leaf_extensions=[(binding.EXTENSION_TYPE, bound.encode())],
        extension_types=[binding.EXTENSION_TYPE],
        successor=SAME_DEVICE,
    )


def epoch_of(group: mls.Group) -> EpochId:
    """The id of the epoch that a group stands on."""
    return encoding.epoch_id(group.context, group.confirmation_tag)


def follow(group: mls.Group, commit: bytes, expected: Committed, *, external_pub: bytes | None) -> mls.Group:
    """The group after `commit`, which must be what was judged as `expected` and derive `external_pub`.

    Only what the commit changes is compared: `group` has the leaves that were judged of the parent.

    Raises RemoteProtocolError: what the engine found, `wrong_epoch`, `bad_tree` or `wrong_external_pub` (a false one
    would keep joiners out, RFC 9420 section 8.3). `group` stays as it was.
    """
    try:
        staged = group.stage(commit)
    except LocalProtocolError as error:
        _blame_author(error, "commit")
        raise
    reached = staged.apply()
    _check_epoch(reached, expected.id)
    _check_changes(staged, expected)
    derived = _core.inspect_group_info(reached.group_info()).external_pub
    if derived != external_pub:
        raise RemoteProtocolError("wrong_external_pub", "not the one that the epoch derives", where="group_info")
    return reached


def enter(participation: Participation, welcome: bytes, tree: bytes | None, expected: Committed) -> mls.Group:
    """The group that a Welcome opens, which must be what was judged as `expected` (RFC 9420 section 12.4.3.1).

    Raises RemoteProtocolError; LocalProtocolError if the KeyPackage's private halves are deleted.
    """
    if participation.key_package is None:
        raise LocalProtocolError("no Welcome opens any more: the KeyPackage's private keys are deleted")
    try:
        group = participation.client.join(welcome, participation.key_package, tree=tree)
    except LocalProtocolError as error:
        _blame_author(error, "welcome")
        raise
    check(group, expected)
    return group


def _blame_author(error: LocalProtocolError, where: str) -> None:
    """Raises RemoteProtocolError for what the engine asks its caller for and an author did not send, or cannot: the
    tree beside a Welcome, and a pre-shared key, of which a call has none."""
    if error.reason in {"missing_tree", "missing_psk"}:
        raise RemoteProtocolError(error.reason, "nobody sent it", where=where, section=error.section) from error


def check(group: mls.Group, expected: Committed) -> None:
    """The group stands on the epoch that was judged, and its tree holds exactly those leaves.

    Raises RemoteProtocolError: wrong_epoch, bad_tree.
    """
    _check_epoch(group, expected.id)
    found = {LeafIndex(member.leaf): (member.identity, member.signature_key) for member in group.members()}
    if found != {place: (leaf.credential, leaf.signature_key) for place, leaf in expected.leaves.items()}:
        raise _bad_tree()


def _check_epoch(group: mls.Group, expected: EpochId) -> None:
    if epoch_of(group) != expected:
        # The context alone does not bind the secrets: a committer could send one joiner others (rule, section 2).
        raise RemoteProtocolError(
            "wrong_epoch", "the group stands on another epoch than the event names", where="commit"
        )


def _check_changes(staged: mls.Staged, expected: Committed) -> None:
    """The commit removes and adds whom it was judged to, and puts nobody else in a leaf that stays."""
    removed = {encoding.decode_identity(member.identity).member_id for member in staged.removed}
    changed = {LeafIndex(member.leaf): (member.identity, member.signature_key) for member in staged.added}
    if removed != expected.removed or len(changed) != len(expected.added):
        raise _bad_tree()
    changed |= {LeafIndex(member.leaf): (member.identity, member.signature_key) for member in staged.updated}
    for place, found in changed.items():
        leaf = expected.leaves.get(place)
        if leaf is None or found != (leaf.credential, leaf.signature_key):
            raise _bad_tree()


def _bad_tree() -> RemoteProtocolError:
    return RemoteProtocolError("bad_tree", "the tree holds other leaves than the commits say", where="tree")


def place_of(leaves: Mapping[LeafIndex, Leaf], member: MemberId) -> LeafIndex | None:
    """Where a member's leaf stands, or None."""
    return next((place for place, leaf in leaves.items() if leaf.member_id == member), None)
