"""What happens to a party, as values: a schedule can be generated, shrunk, printed and played again.

Every step can be played at any time: what does not apply (a device that is down cannot leave) does nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from mlsrtc.testing.device import CrashPoint
from mlsrtc.testing.hostile import Twins
from mlsrtc.testing.party import Party
from mlsrtc.wire.names import COMMIT


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Join:
    """A device joins, or joins again under a new participation."""

    device: int


@dataclass(frozen=True, slots=True)
class Leave:
    """A device leaves."""

    device: int


@dataclass(frozen=True, slots=True)
class Crash:
    """A device's process dies."""

    device: int
    at: CrashPoint = CrashPoint.NOW


@dataclass(frozen=True, slots=True)
class Restart:
    """A device's process comes back with its store."""

    device: int
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Partition:
    """The homeservers with these numbers are cut off from the others."""

    servers: frozenset[int]


@dataclass(frozen=True, slots=True)
class Heal:
    """All links work again."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A device gets no news for a time, in which people talk: its next sync is limited."""

    device: int
    seconds: float
    messages: int = 40


@dataclass(frozen=True, slots=True)
class TwinsFrom:
    """A homeserver shows garbled twins of commits from now on, or stops it."""

    server: int
    lies: bool = True


@dataclass(frozen=True, slots=True)
class Withhold:
    """A homeserver keeps the commits of the next seconds from its clients until these are over."""

    server: int
    seconds: float


@dataclass(frozen=True, slots=True)
class EraseMembership:
    """Somebody with the power overwrites a device's membership in the room's state."""

    device: int


@dataclass(frozen=True, slots=True)
class StepClock:
    """A device's wall clock jumps."""

    device: int
    milliseconds: int


Step: TypeAlias = (
    Wait | Join | Leave | Crash | Restart | Partition | Heal | Gap | TwinsFrom | Withhold | EraseMembership | StepClock
)


def play(party: Party, schedule: Iterable[Step]) -> None:
    """Plays a schedule, step after step; only `Wait` lets time pass. The party is left as the last step
    made it."""
    for step in schedule:
        play_step(party, step)


def play_step(party: Party, step: Step) -> None:
    """Plays one step."""
    world = party.world
    names = list(world.servers)
    match step:
        case Wait():
            party.run(step.seconds)
        case Join():
            party.join(step.device)
        case Leave():
            party.leave(step.device)
        case Crash():
            party.crash(step.device, step.at)
        case Restart():
            party.restart(step.device, resume=step.resume)
        case Partition():
            inside = {name for number, name in enumerate(names) if number in step.servers}
            world.partition(inside, set(names) - inside)
        case Heal():
            world.heal()
        case Gap():
            connection = party[step.device].connection
            if connection is not None:
                connection.pause()
                world.chatter(step.messages)
                world.network.after(step.seconds, connection.resume)
        case TwinsFrom():
            world.servers[names[step.server]].rewrite = Twins() if step.lies else None
        case Withhold():
            world.servers[names[step.server]].withhold(lambda event: event.type == COMMIT, step.seconds)
        case EraseMembership():
            world.erase_memberships(party[step.device].matrix.user_id)
        case StepClock():
            party[step.device].step_clock(step.milliseconds)


def make_peace(party: Party) -> None:
    """Ends what a schedule left unfair: links healed, lies and delays off, wall clocks right, every process up again.
    Time then shows whether the devices converge."""
    world = party.world
    world.heal()
    hostility = world.network.hostility
    for name in hostility.__slots__:
        setattr(hostility, name, 0.0)
    for server in world.servers.values():
        server.rewrite = None
        server.accounts.forged.clear()
    for device in party.devices:
        device.wall_skew_ms = 0
        if device.connection is not None:
            device.connection.resume()
            device.connection.mend()
        elif device.joined:
            party.restart(device.index)
