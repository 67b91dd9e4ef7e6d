"""A policy that no call can be held with is refused where it is made, and the field is named."""

import math
from dataclasses import fields
from typing import Any

import pytest

from mlsrtc import KeyTransport, LocalProtocolError, Policy, Trust
from mlsrtc.policy import AT_MOST_THE_DEFAULT, BEFORE_THE_END, LEAST, NOT_LONGER

NUMBERS = [field for field in fields(Policy) if field.type in (int, float) and field.name != "suite"]


def refused(name: str, value: Any) -> str:
    with pytest.raises(LocalProtocolError, match=rf"^policy\.{name}: ") as error:
        Policy(**{name: value})
    return str(error.value)


@pytest.mark.parametrize("name", [field.name for field in NUMBERS])
def test_a_number_is_within_its_bounds_and_finite(name: str) -> None:
    for value in (-1, -0.5, math.nan, math.inf):
        refused(name, value)
    if name in LEAST:
        refused(name, 0)
    else:
        Policy(**{name: 0})


@pytest.mark.parametrize("name", [field.name for field in fields(Policy)])
def test_a_value_of_another_type_is_refused(name: str) -> None:
    truth = isinstance(getattr(Policy(), name), bool)
    for value in ("1", None, 1 if truth else True, b"1"):
        assert "another type" in refused(name, value)


@pytest.mark.parametrize("name", sorted(AT_MOST_THE_DEFAULT))
def test_what_others_would_refuse_is_refused_here(name: str) -> None:
    limit = getattr(Policy(), name)
    Policy(**{name: limit})
    refused(name, limit + 1)
    refused(name, 10**9)


@pytest.mark.parametrize(("renewal", "end"), BEFORE_THE_END.items())
def test_what_is_renewed_is_renewed_before_it_ends(renewal: str, end: str) -> None:
    refused(renewal, getattr(Policy(), end))


@pytest.mark.parametrize(("part", "whole"), NOT_LONGER.items())
def test_a_part_is_not_longer_than_the_whole(part: str, whole: str) -> None:
    limit = getattr(Policy(), whole)
    Policy(**{part: limit})
    refused(part, limit + 0.1)


def test_the_presets_are_policies_and_take_other_choices_beside_their_own() -> None:
    assert Policy.element_call(trust=Trust.ANY_DEVICE).leave_debounce == 0
    assert Policy.famedly(key_use_delay=2.0).key_use_delay == 2.0
    assert Policy.famedly().share_in_lobby


@pytest.mark.parametrize("transport", [KeyTransport.ROOM, KeyTransport.ROOM_CLEAR])
def test_a_ratchet_is_for_keys_that_go_to_each_device(transport: KeyTransport) -> None:
    with pytest.raises(LocalProtocolError, match=r"^policy\.ratchet_on_join: "):
        Policy(ratchet_on_join=True, key_transport=transport)


def test_a_suite_is_one_that_the_provider_has() -> None:
    assert Policy(suite=0x4D).suite == 0x4D
    for suite in (0, 4, 999, -1):
        refused("suite", suite)


def test_the_tables_name_fields() -> None:
    names = {field.name for field in NUMBERS}
    assert {*LEAST, *AT_MOST_THE_DEFAULT, *BEFORE_THE_END, *BEFORE_THE_END.values()} <= names
    assert Policy(trust=Trust.VERIFIED).trust is Trust.VERIFIED
