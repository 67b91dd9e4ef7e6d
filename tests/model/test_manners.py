"""Promise 8: whatever the bytes, `receive` either succeeds or raises RemoteProtocolError, changes nothing when it
raises, and the genuine next event still applies.

In the midst of a call, every event and to-device message that comes to a device is preceded by damaged copies of
itself. The whole call goes on over them, to the same end.
"""

import base64
import copy
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from test_promises import DEVICES, churn

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.notices import Rejoining, Stranded
from mlsrtc.policy import Policy
from mlsrtc.session import Session
from mlsrtc.testing import RoomSettings
from mlsrtc.testing.schedule import play
from mlsrtc.wire import names
from mlsrtc.wire.incoming import Attachment, DeviceKeys, Incoming, Now, RoomEvent, ToDevice
from searching import CAMPAIGN
from watching import Watch, Watched

COPIES = 4  # damaged ones before each genuine one
DEEP: Any = []
for _ in range(20_000):
    DEEP = [DEEP]
JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2**53, 2**64, 0.5),
    *("", "x", "=", "AAAA", "\u00e9\ud800", "m" * 70_000),
    *([], [[]], {}, {"": ""}, DEEP),
)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every way to a field of an object or of the objects in it."""
    items = value.items() if isinstance(value, dict) else ()
    return [place for key, item in items for place in ((*way, key), *places(item, (*way, key)))]


def damage(content: Any, random: Random) -> Any:
    """A copy with one to three places spoilt: cut out, replaced, or a bit of base64 turned."""
    damaged = copy.deepcopy(dict(content))
    ways = places(damaged)
    for way in random.choices(ways, k=random.choice((1, 1, 2, 3))) if ways else ():
        holder: Any = damaged
        for key in way[:-1]:
            holder = holder.get(key) if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or way[-1] not in holder:
            continue  # An earlier damage has taken this place away.
        value = holder[way[-1]]
        if isinstance(value, str) and len(value) > 20 and random.random() < 0.6:
            holder[way[-1]] = turned(value, random)
        elif random.random() < 0.3:
            del holder[way[-1]]
        else:
            holder[way[-1]] = random.choice(JUNK)
    return damaged


def turned(text: str, random: Random) -> str:
    """One bit turned, or the end cut off."""
    try:
        data = bytearray(base64.b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return text[:-1]
    if random.random() < 0.3:
        del data[random.randrange(len(data)) :]
    else:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return base64.b64encode(bytes(data)).decode().rstrip("=")


def damaged(incoming: Incoming, random: Random) -> Incoming | None:
    """A damaged copy that says nothing a homeserver is believed for: who is in the room, whose membership stands."""
    match incoming:
        case RoomEvent(type=names.COMMIT | names.WORD):
            content = damage(incoming.content, random)
        case RoomEvent(type=names.STATE_MEMBER) if names.BLOCK in incoming.content:
            content = {**incoming.content, names.BLOCK: damage(incoming.content[names.BLOCK], random)}
        case ToDevice():
            return replace(incoming, content=damage(incoming.content, random))
        case Attachment(data=bytes(data)) if data:
            return replace(incoming, data=data[: random.randrange(len(data))])
        case _:
            return None
    return replace(incoming, content=content, event_id=f"${random.randbytes(12).hex()}", transaction_id=None)


def state(session: Session) -> tuple[object, ...]:
    """What could have changed, as far as it can be asked."""
    known = session.known
    return (
        session.phase,
        session.epoch_id,
        dict(session.members),
        known.ordering.head_path(),
        known.ordering.departed,
        known.ordering.equivocators,
        known.roster,
        known.room,
        set(known.events),
        len(known.fresh),
    )


class Spoilt(Watched):
    """A session that is handed damaged copies of everything before the genuine thing."""

    random = Random(0)

    def receive(self, incoming: Incoming, now: Now) -> None:
        for _ in range(COPIES):
            bad = damaged(incoming, self.random)
            if bad is None:
                break
            before = state(self.inner)
            try:
                self.inner.receive(bad, now)
            except RemoteProtocolError:
                assert state(self.inner) == before
        super().receive(incoming, now)


def spoilt(devices: int, seed: int, **settings: Any) -> Watch:
    watch = Watch(devices, seed, watched=Spoilt, **settings)
    Spoilt.random = Random(seed)
    return watch


@pytest.mark.parametrize("seed", range(8 * CAMPAIGN))
def test_a_call_goes_on_over_damaged_copies_of_everything(seed: int) -> None:
    watch = spoilt(DEVICES, seed)
    watch.join_all(within=3)
    for index in (0, 1):
        watch.party.leave(index, after=index)
        watch.party.join(index, after=4 + index)
    watch.party.run(8)
    watch.until_agreed(DEVICES, timeout=30)
    watch.party.run(10)
    for ledger in watch.ledgers:
        assert ledger.notices(Rejoining) == []
        assert ledger.notices(Stranded) == []
    watch.check()


@pytest.mark.parametrize("seed", range(4 * CAMPAIGN))
def test_a_newcomer_without_history_is_let_in_over_damaged_answers_and_files(seed: int) -> None:
    room = RoomSettings(history_visibility="joined")
    watch = spoilt(4, seed, room=room, policy=Policy(content_limit=5000))
    watch.join_without(3)
    watch.party.run(5)
    watch.world.enter(watch.party[3].matrix.user_id)
    watch.party.join(3)
    watch.until_agreed(4, timeout=40)
    watch.check()


@pytest.mark.parametrize("seed", range(6 * CAMPAIGN))
def test_any_churn_over_damaged_copies_keeps_the_promises(seed: int) -> None:
    watch = spoilt(DEVICES, seed, servers=2)
    play(watch.party, churn(Random(seed), 30))
    watch.check()


@pytest.mark.parametrize("seed", range(20 * CAMPAIGN))
def test_answers_of_keys_query_are_whole_or_refused(seed: int) -> None:
    """On a session of its own: a homeserver is believed for who has which devices, if it can be read."""
    random = Random(seed)
    watch = Watch(2, seed)
    watch.join_all()
    now = watch.party[0].now
    user = watch.party[1].matrix.user
    for _ in range(20):
        session = watch.session(0)
        before = state(session)
        try:
            session.receive(DeviceKeys(user.user_id, damage(user.keys(), random)), now)
        except RemoteProtocolError:
            assert state(session) == before
        session.receive(DeviceKeys(user.user_id, user.keys()), now)
