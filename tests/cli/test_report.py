"""What `mlsrtc call` says of who is in the call. No network."""

from types import SimpleNamespace
from typing import Any

import pytest

from mlsrtc.cli.call import Report
from mlsrtc.identifiers import MemberId
from mlsrtc.notices import MembersChanged


class Room:
    """A call with whoever is said to be in it; we are `me`."""

    def __init__(self) -> None:
        self.session = SimpleNamespace(member_id="me")
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
