"""Traces are what they are called, follow from their seed, and a file that cannot be played says where."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlsrtc.simulate.trace import BUILT_IN, Trace, TraceError, built_in, fewer, parse, read

GOOD: dict[str, Any] = {
    "name": "a short one",
    "seconds": 120,
    "stays": [
        {"person": "anna", "from": 0},
        {"person": "bert", "from": 5.5, "to": 60, "ends": "drop"},
        {"person": "bert", "from": 70, "to": 80},
    ],
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_trace_follows_from_its_seed_and_is_sound(name: str) -> None:
    made = built_in(name, 7)
    assert made == built_in(name, 7)
    assert made != built_in(name, 8)
    sound(made)


def sound(made: Trace) -> None:
    last: dict[int, float] = {}
    assert list(made.stays) == sorted(made.stays, key=lambda stay: stay.begins)
    for stay in made.stays:
        assert 0 <= stay.begins < stay.ends <= made.seconds
        assert stay.begins > last.get(stay.person, -1.0)
        assert stay.stays == (stay.ends == made.seconds)
        last[stay.person] = stay.ends


def test_the_built_in_traces_are_as_large_as_they_are_said_to_be() -> None:
    people = {name: built_in(name, 1).people for name in BUILT_IN}
    assert people == {"stand-up": 12, "lecture": 300, "clinic": 45, "flaky-train": 11, "mass-leave": 60}
    assert max(stay.begins for stay in built_in("lecture", 1).stays) <= 120
    assert built_in("clinic", 1).most_at_once >= 42
    assert {stay.person for stay in built_in("flaky-train", 1).stays if stay.drops} == {8, 9, 10}
    leaves = [stay.ends for stay in built_in("mass-leave", 1).stays if not stay.stays]
    assert len(leaves) == 40
    assert max(leaves) - min(leaves) <= 5


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(GOOD))
    made = read(path)
    sound(made)
    assert (made.people, made.seconds, made.most_at_once) == (2, 120.0, 2)
    assert [(stay.person, stay.drops, stay.stays) for stay in made.stays] == [
        (0, False, True),
        (1, True, False),
        (1, False, False),
    ]


BAD: dict[str, tuple[Any, str]] = {
    "a list": ([], ""),
    "no seconds": ({"name": "x", "stays": []}, "seconds"),
    "another field": (GOOD | {"speed": 2}, "speed"),
    "a name that is a number": (GOOD | {"name": 3}, "name"),
    "seconds that are true": (GOOD | {"seconds": True}, "seconds"),
    "no time at all": (GOOD | {"seconds": 0}, "seconds"),
    "more than a day": (GOOD | {"seconds": 1e6}, "seconds"),
    "nobody": (GOOD | {"stays": []}, "stays"),
    "a stay that is a word": (GOOD | {"stays": ["anna"]}, "stays[0]"),
    "no person": (GOOD | {"stays": [{"from": 0}]}, "stays[0].person"),
    "no beginning": (GOOD | {"stays": [{"person": "anna"}]}, "stays[0].from"),
    "before the start": (GOOD | {"stays": [{"person": "anna", "from": -1}]}, "stays[0].from"),
    "not a number": (GOOD | {"stays": [{"person": "anna", "from": float("nan")}]}, "stays[0].from"),
    "to before from": (GOOD | {"stays": [{"person": "anna", "from": 5, "to": 4}]}, "stays[0].to"),
    "after the end": (GOOD | {"stays": [{"person": "anna", "from": 5, "to": 121}]}, "stays[0].to"),
    "another ending": (GOOD | {"stays": [{"person": "anna", "from": 5, "to": 9, "ends": "crash"}]}, "stays[0].ends"),
    "an ending of what does not end": (
        GOOD | {"stays": [{"person": "anna", "from": 5, "ends": "drop"}]},
        "stays[0].ends",
    ),
    "twice at once": (GOOD | {"stays": [{"person": "a", "from": 0}, {"person": "a", "from": 9}]}, "stays"),
    "too many": (GOOD | {"stays": [{"person": str(n), "from": 0} for n in range(1001)]}, "stays"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_says_where(name: str) -> None:
    value, where = BAD[name]
    with pytest.raises(TraceError) as caught:
        parse(value)
    assert caught.value.where == where
    assert caught.value.reason == "bad_trace"


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(TraceError):
        read(path)


def test_fewer_people_do_what_they_did() -> None:
    whole = built_in("lecture", 7)
    some = fewer(whole, 100)
    sound(some)
    assert (some.people, {stay.person for stay in some.stays}) == (100, set(range(100)))
    assert {(stay.begins, stay.ends) for stay in some.stays} < {(stay.begins, stay.ends) for stay in whole.stays}
    assert sum(not stay.stays for stay in some.stays) in (3, 4), "a third of those who leave"
    assert fewer(whole, 300) == whole
