"""The outbox: nothing leaves before the checkpoint that contains it."""

import pytest

from mlsrtc.errors import LocalProtocolError
from mlsrtc.outbox import Outbox, SendState


def request(name: str) -> SendState:
    return SendState(name, "type", "key", {})


def test_a_drafted_request_waits_for_its_checkpoint() -> None:
    outbox = Outbox()
    outbox.draft(request("a"))
    assert outbox.take(0.0) == []
    assert outbox.drafted() == (request("a"),)
    outbox.release()
    assert outbox.take(0.0) == [request("a")]
    assert outbox.take(0.0) == [], "it is handed out once per try"
    assert outbox.settle("a") == request("a")
    assert outbox.waiting() == ()


def test_a_postponed_request_goes_out_again_with_the_same_bytes_at_its_time() -> None:
    outbox = Outbox()
    outbox.draft(request("a"))
    outbox.release()
    outbox.take(0.0)
    outbox.postpone("a", 5.0)
    assert outbox.next_timer() == 5.0
    assert outbox.take(4.9) == []
    assert outbox.take(5.0) == [request("a")]


def test_an_id_is_drafted_once() -> None:
    outbox = Outbox()
    outbox.draft(request("a"))
    with pytest.raises(LocalProtocolError, match="drafted before"):
        outbox.draft(request("a"))


def test_restored_requests_are_released_already() -> None:
    outbox = Outbox()
    outbox.restore([request("a")])
    assert outbox.take(0.0) == [request("a")]


def test_settling_a_draft_forgets_it() -> None:
    outbox = Outbox()
    outbox.draft(request("a"))
    assert outbox.settle("a") == request("a")
    assert outbox.settle("a") is None
    outbox.release()
    assert outbox.take(0.0) == []
