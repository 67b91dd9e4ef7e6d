"""The member's side of the head rule as data: what the head is to us, what is wrong with the next commit,
what time has shown, and the move that follows. No row knows a number; `decide` says which row holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Where(Enum):
    """What the head is to us. Named for what we wait for."""

    OUTSIDE = "outside"  # we stand nowhere; somebody is to add us, or we are to come in
    INVITED = "invited"  # we stand nowhere; a Welcome on the head path is for us
    HEADLESS = "headless"  # we stand somewhere; there is no head
    AT_HEAD = "at_head"  # the head is where we stand
    BEHIND = "behind"  # the head is below where we stand, and we are a leaf all the way
    BESIDE_FREE = "beside_free"  # the head is elsewhere; a kept state or a Welcome gets us there
    BESIDE_COSTLY = "beside_costly"  # the head is elsewhere, or removes us: only a new join gets us there


class Trouble(Enum):
    """What we have against the next commit on the way (section 3.1)."""

    NONE = "none"
    UNREADABLE = "unreadable"  # `unopened` or `bad_tree`: we cannot follow
    UNWANTED = "unwanted"  # `unknown_leaf` or `still_here`: we could follow, and would not send


class Stage(Enum):
    """What time has shown."""

    ANY = "any"  # time does not matter
    EARLY = "early"  # not settled yet
    SETTLED = "settled"
    BACKED = "backed"  # settled, and others than its author support the disputed commit
    UNBACKED = "unbacked"  # settled, and nobody else does


class Move(Enum):
    """What to do about the head."""

    STAY = "stay"
    WAIT = "wait"
    JOIN = "join"  # by the Welcome
    APPLY = "apply"  # one commit at a time, on a clone
    SWITCH = "switch"  # to the kept state, or by the Welcome, and then apply
    FOLLOW_MUTED = "follow_muted"  # apply, and do not send: the send gate (section 3.6) sees to it
    REJOIN = "rejoin"  # one new join that replaces this membership
    LOOK_PAST = "look_past"  # act as if the disputed commit were not there, and commit a sibling in turn


class Say(Enum):
    """What to say."""

    NOTHING = "nothing"
    WORD = "word"  # that we stand where we stand
    REFUSAL = "refusal"  # the same, and that we refuse the next commit


@dataclass(frozen=True, slots=True)
class Row:
    """The move, what the head is to us once it is done, and why, in a few words for the diagram."""

    move: Move
    then: Where
    why: str


_ROWS: dict[tuple[Where, Trouble, Stage], Row] = {
    (Where.OUTSIDE, Trouble.NONE, Stage.ANY): Row(Move.STAY, Where.OUTSIDE, "nobody has added us"),
    (Where.INVITED, Trouble.NONE, Stage.ANY): Row(Move.JOIN, Where.AT_HEAD, "the Welcome is for us"),
    (Where.INVITED, Trouble.UNREADABLE, Stage.ANY): Row(Move.REJOIN, Where.OUTSIDE, "the Welcome does not open"),
    (Where.INVITED, Trouble.UNWANTED, Stage.ANY): Row(
        Move.FOLLOW_MUTED, Where.AT_HEAD, "the Welcome opens, a leaf is refused"
    ),
    (Where.HEADLESS, Trouble.NONE, Stage.ANY): Row(Move.STAY, Where.HEADLESS, "no root is left"),
    (Where.AT_HEAD, Trouble.NONE, Stage.ANY): Row(Move.STAY, Where.AT_HEAD, "agreed"),
    (Where.BEHIND, Trouble.NONE, Stage.ANY): Row(Move.APPLY, Where.AT_HEAD, "the next commit opens"),
    (Where.BEHIND, Trouble.UNREADABLE, Stage.EARLY): Row(Move.WAIT, Where.BEHIND, "disputed"),
    (Where.BEHIND, Trouble.UNREADABLE, Stage.BACKED): Row(
        Move.REJOIN, Where.OUTSIDE, "does not open, others support it"
    ),
    (Where.BEHIND, Trouble.UNREADABLE, Stage.UNBACKED): Row(Move.LOOK_PAST, Where.BEHIND, "nobody supports it"),
    (Where.BEHIND, Trouble.UNWANTED, Stage.EARLY): Row(Move.WAIT, Where.BEHIND, "disputed"),
    (Where.BEHIND, Trouble.UNWANTED, Stage.BACKED): Row(
        Move.FOLLOW_MUTED, Where.AT_HEAD, "unwanted, others support it"
    ),
    (Where.BEHIND, Trouble.UNWANTED, Stage.UNBACKED): Row(Move.LOOK_PAST, Where.BEHIND, "nobody supports it"),
    (Where.BESIDE_FREE, Trouble.NONE, Stage.EARLY): Row(
        Move.WAIT, Where.BESIDE_FREE, "the other branch has not stood long enough"
    ),
    (Where.BESIDE_FREE, Trouble.NONE, Stage.SETTLED): Row(Move.SWITCH, Where.BEHIND, "the other branch has stood"),
    (Where.BESIDE_COSTLY, Trouble.NONE, Stage.EARLY): Row(Move.WAIT, Where.BESIDE_COSTLY, "our side still gains words"),
    (Where.BESIDE_COSTLY, Trouble.NONE, Stage.SETTLED): Row(Move.REJOIN, Where.OUTSIDE, "our side has gained no word"),
}

TABLE: Mapping[tuple[Where, Trouble, Stage], Row] = MappingProxyType(_ROWS)
"""Every situation that there is. A trouble on the way beside us shows once we have switched and are
behind.
"""

WORLD: tuple[tuple[Where, Where, str], ...] = (
    (Where.OUTSIDE, Where.INVITED, "a commit adds us"),
    (Where.OUTSIDE, Where.AT_HEAD, "our own root or external commit comes back"),
    (Where.INVITED, Where.OUTSIDE, "the head turns to a branch without us"),
    (Where.AT_HEAD, Where.BEHIND, "a commit on ours leads"),
    (Where.AT_HEAD, Where.BESIDE_FREE, "another branch leads"),
    (Where.AT_HEAD, Where.BESIDE_COSTLY, "another branch leads, or removes us"),
    (Where.AT_HEAD, Where.HEADLESS, "nobody with a leaf is left"),
    (Where.BEHIND, Where.AT_HEAD, "ours leads again"),
    (Where.BEHIND, Where.BESIDE_FREE, "another branch leads"),
    (Where.BEHIND, Where.BESIDE_COSTLY, "another branch leads, or removes us"),
    (Where.BESIDE_FREE, Where.AT_HEAD, "ours leads again"),
    (Where.BESIDE_FREE, Where.BESIDE_COSTLY, "the kept state has expired"),
    (Where.BESIDE_COSTLY, Where.AT_HEAD, "ours leads again"),
    (Where.BESIDE_COSTLY, Where.BESIDE_FREE, "a Welcome there is for us"),
    (Where.HEADLESS, Where.AT_HEAD, "our own root comes back"),
    (Where.HEADLESS, Where.BESIDE_FREE, "a new root invites us"),
)
"""What others do to us. For the diagram; `look` finds out by itself."""
