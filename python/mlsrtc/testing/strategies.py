"""Hypothesis strategies for schedules of a party. Needs the package `hypothesis` (extra `test`)."""

from hypothesis import strategies as st

from mlsrtc.testing.device import CrashPoint
from mlsrtc.testing.schedule import (
    Crash,
    EraseMembership,
    Gap,
    Heal,
    Join,
    Leave,
    Partition,
    Restart,
    Step,
    StepClock,
    TwinsFrom,
    Wait,
    Withhold,
)

DAY_MS = 86_400_000


def waits(*, longest: float = 5.0) -> st.SearchStrategy[Wait]:
    """Short pauses, in steps of 50 ms, so that a failing schedule shrinks to readable numbers."""
    return st.integers(1, round(longest * 20)).map(lambda twentieths: Wait(twentieths / 20))


def churn(devices: int) -> st.SearchStrategy[Step]:
    """Joins and leaves only."""
    who = st.integers(0, devices - 1)
    return st.one_of(st.builds(Join, who), st.builds(Leave, who))


def crashes(devices: int) -> st.SearchStrategy[Step]:
    """Processes that die at any seam and come back."""
    who = st.integers(0, devices - 1)
    return st.one_of(st.builds(Crash, who, st.sampled_from(CrashPoint)), st.builds(Restart, who, resume=st.booleans()))


def partitions(servers: int) -> st.SearchStrategy[Step]:
    """Cuts and healings; needs two servers."""
    cut = st.frozensets(st.integers(0, servers - 1), min_size=1, max_size=servers - 1)
    return st.one_of(st.builds(Partition, cut), st.builds(Heal))


def gaps(devices: int) -> st.SearchStrategy[Step]:
    """Limited syncs."""
    seconds = st.integers(1, 40).map(lambda quarters: quarters / 4)
    return st.builds(Gap, st.integers(0, devices - 1), seconds, st.integers(0, 60))


def lies(devices: int, servers: int) -> st.SearchStrategy[Step]:
    """Twins, withheld commits, erased memberships."""
    server = st.integers(0, servers - 1)
    return st.one_of(
        st.builds(TwinsFrom, server, st.booleans()),
        st.builds(Withhold, server, st.integers(1, 10).map(float)),
        st.builds(EraseMembership, st.integers(0, devices - 1)),
    )


def clock_steps(devices: int) -> st.SearchStrategy[Step]:
    """Wall clocks that jump by up to a day, either way."""
    return st.builds(StepClock, st.integers(0, devices - 1), st.integers(-DAY_MS, DAY_MS))


@st.composite
def schedules(
    draw: st.DrawFn,
    devices: int,
    *,
    servers: int = 1,
    steps: int = 30,
    fewest: int = 0,
    with_crashes: bool = True,
    with_gaps: bool = True,
    with_lies: bool = True,
    with_clock_steps: bool = True,
) -> list[Step]:
    """A schedule of `fewest` to `steps` steps, waits not counted, with a pause between any two. Half of what
    happens is churn.

    Cuts are made if there are two servers or more. The schedule may end in the middle of a cut or with
    processes down: `schedule.make_peace` ends that.
    """
    kinds: list[st.SearchStrategy[Step]] = []
    if with_crashes:
        kinds.append(crashes(devices))
    if servers > 1:
        kinds.append(partitions(servers))
    if with_gaps:
        kinds.append(gaps(devices))
    if with_lies:
        kinds.append(lies(devices, servers))
    if with_clock_steps:
        kinds.append(clock_steps(devices))
    step = st.one_of(churn(devices), st.one_of(kinds)) if kinds else churn(devices)
    happened: list[Step] = []
    for one, pause in draw(st.lists(st.tuples(step, waits()), min_size=fewest, max_size=steps)):
        happened += [one, pause]
    return happened
