"""What a session keeps from step to step, beside the same worked out anew from all that it keeps it of."""

from collections.abc import Iterator

from mlsrtc import trust
from mlsrtc.ordering import Ordering, dump
from mlsrtc.seats import Seats
from mlsrtc.session import Session
from mlsrtc.wire.incoming import Now


def differences(session: Session, now: Now) -> Iterator[str]:
    """In words, whatever is not as it would be if nothing had been kept. Right after `tick` at `now`."""
    known = session.known
    ordering, roster, view = known.ordering, known.roster, known.look(now)
    fresh = Ordering(ordering.evidence())
    if dump(ordering) != dump(fresh) or ordering.head_path() != fresh.head_path():
        yield "another ordering is kept"
    if roster.left != fresh.departed:
        yield "who has left is not told to the roster"
    if roster.open != {member: joined for member, joined in roster.joins.items() if member not in fresh.departed}:
        yield "who has left is looked through"
    seats = Seats(session.policy)
    for joined in roster.open.values():
        seats = seats.with_join(joined)
    users = {joined.leaf.user_id for joined in roster.open.values()}
    if roster.seated.keys() != {member for user in users for member in seats.of(user)}:
        yield "others have seats"
    if roster.crowded != frozenset().union(*(seats.crowded(user) for user in users)):
        yield "others are crowded"
    count = roster.count(now.wall_ms, int(session.policy.clock_skew * 1000))
    if (view.present, view.count.away) != (count.present, count.away):
        yield "another roster is kept"
    if (view.members, view.welcome) != (count.present.keys(), count.present.keys() - view.refused.keys()):
        yield "other members are kept"
    senders = known.room.committers({joined.leaf.user_id for joined in count.present.values()})
    if view.able != {member for member, joined in count.present.items() if joined.leaf.user_id in senders}:
        yield "others who may commit are kept"
    if session._participants._told._present != count.present.keys():
        yield "others are told of"
    keyring = known.keyring
    claims = [claim for of_user in keyring._claims.values() for several in of_user.values() for claim in several]
    chains = ((one.leaf, keyring.chain_of(one.leaf.user_id, one.leaf.device_id)) for one in roster.seated.values())
    claims += [trust.Claim(leaf, chain) for leaf, chain in chains if chain is not None]
    found = trust.assess(keyring.policy, keyring.pins, claims, revoked=roster.revoked, past=keyring._masters)
    verdicts = keyring.verdicts(roster)
    if any(verdicts[member] != found[member] for member in roster.seated if member in found):
        yield "other verdicts are kept"
    if keyring.refused(roster) != {m: v.reason for m, v in verdicts.items() if isinstance(v, trust.Refused)}:
        yield "others are refused"
    if (view.refused, view.room, view.spoilt) != (keyring.refused(roster), known.room, known._spoilt):
        yield "another view is kept than was asked for"
    path, young = fresh.path_among(view.welcome), now.monotonic - session.policy.bodies_kept
    beside = {id for id, seen in known.seen.items() if id not in path and seen > young}
    if not beside <= known._beside.keys():
        yield "commits beside the head are kept for ever"
