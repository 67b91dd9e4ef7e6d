"""What is tried again: how long it waits, how loudly it says so, and when it is news. In a time that the test sets."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from mlsrtc.adapters.focus import FocusError
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError

trying = pytest.importorskip("mlsrtc.adapters.livekit.trying", reason="the extra `test` installs LiveKit")
errors = pytest.importorskip("mlsrtc.adapters.livekit.errors")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(at=1000.0)
    clock.monotonic = lambda: clock.at
    monkeypatch.setattr(trying, "time", clock)
    monkeypatch.setattr(trying, "random", SimpleNamespace(uniform=lambda low, high: 1.0))
    return clock


def test_it_waits_longer_each_time_to_an_end() -> None:
    one = trying.Trying("it fails")
    assert [one.failed(FocusError("no_focus")) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 32, 32]


@pytest.mark.parametrize(("asked", "pause"), [(None, 1), (0.2, 1), (45.0, 45), (1e9, 600)])
def test_it_waits_as_long_as_it_is_asked_to(asked: float | None, pause: float) -> None:
    error = FocusError("service_unavailable", retry_after=asked)
    assert trying.Trying("it fails").failed(error) == pause


def test_it_warns_ever_more_seldom(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mlsrtc")
    one = trying.Trying("media cannot be connected")
    for _ in range(20):
        one.failed(FocusError("token_refused", "no"))
    levels = [record.levelno for record in caplog.records]
    assert [number for number, level in enumerate(levels, 1) if level == logging.WARNING] == [1, 2, 4, 8, 16]
    assert levels.count(logging.INFO) == 15
    assert caplog.records[0].getMessage() == "media cannot be connected: token_refused: no; again in 1.0 s"


def test_what_is_not_foreseen_is_logged_with_where_it_came_from(caplog: pytest.LogCaptureFixture) -> None:
    one = trying.Trying("it fails")
    for error in (OSError("torn"), FocusError("no_focus")):
        one.failed(error)
    assert [bool(record.exc_info) for record in caplog.records] == [True, False]


def test_another_reason_is_news_after_a_while(clock: Any) -> None:
    one = trying.Trying("it fails", told="room_deleted")
    refused, away = FocusError("token_refused"), errors.MediaError("connect", "it is not there")
    assert one.news(refused) is None, "just told"
    clock.at += 10
    assert one.news(refused) == "token_refused"
    clock.at += 10
    assert one.news(refused) is None, "the same"
    assert one.news(away) == "connect"
    assert one.news(refused) is None
    clock.at += 10
    assert one.news(refused) == "token_refused"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RemoteProtocolError("bad_token"), "bad_token"),
        (LocalProtocolError("we are not in the call"), "unforeseen"),
        (OSError("torn"), "unforeseen"),
    ],
)
def test_the_first_reason_is_news_at_once(error: Exception, reason: str) -> None:
    assert trying.Trying("it fails").news(error) == reason
