"""What `mlsrtc call` says of who is in the call. No network."""

from types import SimpleNamespace
from typing import Any

import pytest

from mlsrtc import MLS, PER_MEMBER
from mlsrtc.cli.call import Report
from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, UserId
from mlsrtc.notices import KeyMissing, KeyRefused, KeyUndelivered, MembersChanged, Mixed, Notice, SendKeySwitched


class Room:
    """A call with whoever is said to be in it; we are `me`."""

    def __init__(self) -> None:
        self.session = SimpleNamespace(member_id="me", user_id="@me:here", device_id="D", encryption=MLS)
        self.members: dict[str, Any] = {}

    def now(self, *ids: str) -> MembersChanged:
        before = self.members
        self.members = {one: SimpleNamespace(user_id=f"@{one}:here", device_id="D") for one in ids}
        joined, left = self.members.keys() - before.keys(), before.keys() - self.members.keys()
        return MembersChanged(tuple(map(MemberId, joined)), tuple(map(MemberId, left)))


def test_who_is_in_the_call_is_said_once_we_are_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    call: Any = Room()
    report = Report(call)
    for ids in (["gone"], ["gone", "ada"], ["ada"]):
        report.tell(call.now(*ids))
    assert capsys.readouterr().out == ""
    history = [call.now("gone"), call.now(), call.now("ada", "me")]
    for notice in history:  # read late: the call knows already who is in it now
        report.tell(notice)
    assert capsys.readouterr().out == "2 in the call: @ada:here D, @me:here D\n"
    report.tell(call.now("ada", "me", "ben"))
    report.tell(call.now("me", "ben"))
    assert capsys.readouterr().out == "3 in the call: + @ben:here D\n2 in the call: - @ada:here D\n"


def test_where_keys_are_handed_out_we_are_said_with_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    call: Any = Room()
    call.session.encryption, call.session.member_id = PER_MEMBER, None
    report = Report(call)
    report.tell(call.now("ada"))
    assert capsys.readouterr().out == ""
    before_us = call.now("ada")
    call.session.member_id = "me"
    report.tell(before_us)
    report.tell(call.now())
    assert capsys.readouterr().out == "2 in the call: @ada:here D, @me:here D\n1 in the call: - @ada:here D\n"


@pytest.mark.parametrize(
    ("notice", "line"),
    [
        (SendKeySwitched(None, None, KeyIndex(7)), "sending under key 7 of ours"),
        (Mixed(((UserId("@ada:here"), DeviceId("D")),)), "without MLS, and served: @ada:here D"),
        (Mixed(()), "everybody has MLS again"),
        (
            KeyMissing(UserId("@ada:here"), DeviceId("D")),
            "warning: @ada:here D has handed us no key: it is not heard",
        ),
        (
            KeyUndelivered(UserId("@ada:here"), DeviceId("D"), "no_one_time_key"),
            "warning: @ada:here D cannot hear us yet: our key was not delivered (no_one_time_key)",
        ),
        (
            KeyRefused(UserId("@ada:here"), None, "not_encrypted", "type"),
            "warning: a key of @ada:here (some device) does not hold (not_encrypted type)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_becomes_of_keys_that_are_handed_out_is_said(
    notice: Notice, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call: Any = Room()
    Report(call).tell(notice)
    assert capsys.readouterr().out == f"{line}\n"
