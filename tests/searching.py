"""How the model tests search: schedules of any kind, in worlds of several kinds; and how often.

Keys come from the provider's generator and differ from run to run, so a schedule is not shrunk: what is printed is what
happened. MLSRTC_CAMPAIGN=20 searches twenty times as long as CI does.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from mlsrtc.testing import Hostility, Limits, RoomSettings
from mlsrtc.testing.schedule import Step, make_peace, play
from mlsrtc.testing.strategies import schedules
from watching import Watch

CAMPAIGN = int(os.environ.get("MLSRTC_CAMPAIGN", "1"))
PEACE = 60.0  # virtual seconds after which everybody has converged: two delayed leaves and the longest settling

PROFILES: dict[str, dict[str, Callable[[], Any]]] = {
    "an honest world": {},
    "a hostile network": {
        "hostility": lambda: Hostility(
            duplicate=0.1, reorder=1.0, to_device_loss=0.2, to_device_delay=2.0, answer_loss=0.05, failure=0.05
        )
    },
    "Synapse's own limits": {"limits": Limits},
    "sticky events in an encrypted room": {"sticky": lambda: True, "room": lambda: RoomSettings(encrypted=True)},
    "two devices to a user": {"devices_per_user": lambda: 2},
    "a past that newcomers may not read": {"room": lambda: RoomSettings(history_visibility="joined")},
}


def world_of(profile: str) -> dict[str, Any]:
    """The settings of a `Watch`, made anew."""
    return {name: make() for name, make in PROFILES[profile].items()}


def searched(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many examples in CI, more in a campaign."""
    return settings(
        max_examples=examples * CAMPAIGN,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def any_schedule(devices: int, servers: int, steps: int) -> st.SearchStrategy[list[Step]]:
    """Churn, crashes, cuts, gaps, lies and clocks."""
    return schedules(devices, servers=servers, steps=steps, fewest=steps // 3)


def played(watch: Watch, steps: Iterable[Step]) -> None:
    """What happened, and then peace."""
    play(watch.party, steps)
    watch.check()
    make_peace(watch.party)
    watch.party.run(PEACE)
    watch.check()
