"""When somebody in the demo with media counts as deaf. No network: ears that are told what they hear."""

from typing import Any

import pytest

pytest.importorskip("livekit", reason="the extra `livekit` installs it")

from mlsrtc.cli.demo.hearing import Listener
from mlsrtc.testing.sound import Ear


def ear(*stretches: tuple[int, bool]) -> Ear:
    """Stretches of so many windows with or without the tone, from moment 100.0 on."""
    track: Any = None
    made = Ear(track, 400.0)
    for windows, there in stretches:
        made.windows += [there] * windows
    made.times = [100.0 + place / 100 for place in range(len(made.windows))]
    return made


@pytest.mark.parametrize(
    ("heard", "hears"),
    [([(50, True), (99, False)], True), ([(50, True), (100, False)], False), ([(50, True), (300, False)], False)],
    ids=["a stall", "a second", "three"],
)
def test_a_stall_is_not_deafness(heard: list[tuple[int, bool]], hears: bool) -> None:
    listener = Listener("copy", {"one": ear(*heard)})
    assert listener.hears("one") == hears
    assert not listener.hears("another")


def test_it_is_known_when_a_tone_was_heard_last() -> None:
    assert Listener("copy").last_heard == 0.0
    listener = Listener("copy", {"one": ear((10, True), (90, False)), "two": ear((20, True), (80, False))})
    assert listener.last_heard == 100.19


def test_a_gap_is_a_stretch_between_two_that_have_the_tone() -> None:
    heard = ear((5, False), (10, True), (3, False), (1, True), (1, False), (1, True), (9, False))
    assert [(round(at, 2), round(seconds, 2)) for at, seconds in heard.gaps()] == [(100.15, 0.03), (100.19, 0.01)]
    assert heard.longest_gap() == 0.03
    assert heard.longest_gap(100.16) == 0.01, "what is before the moment counts for nothing"
    assert ear((10, True), (50, False)).gaps() == []
