"""A homeserver does one thing after another."""

from random import Random

import pytest

from mlsrtc.simulate.network import NETWORK, NetworkModel, ServedNetwork
from mlsrtc.testing.network import Work


def test_what_a_homeserver_is_asked_waits_for_what_it_was_asked_before() -> None:
    network = ServedNetwork(Random(1), NetworkModel(changed={"event": 0.1, "sync, event": 0.01}))
    done: list[tuple[str, float]] = []
    for name in ("first", "second"):
        network.serve("one", Work.EVENT, 0, lambda name=name: done.append((name, network.time)))  # type: ignore[misc]
    network.serve("one", Work.SYNC_EVENT, 0, lambda: done.append(("sync", network.time)))
    network.serve("two", Work.EVENT, 0, lambda: done.append(("elsewhere", network.time)))
    network.run(1)
    assert dict(done) == pytest.approx({"first": 0.1, "second": 0.2, "sync": 0.21, "elsewhere": 0.1})
    assert network.busy == pytest.approx({"one": 0.21, "two": 0.1})


def test_a_request_with_many_messages_takes_longer_and_does_not_hold_others_up_while_it_waits() -> None:
    model = NetworkModel(changed={"to-device request": 0.1, "to-device message": 0.01, "to-device, waiting": 1.0})
    network = ServedNetwork(Random(1), model)
    done: list[float] = []
    for _ in range(2):
        network.serve("one", Work.TO_DEVICE, 20, lambda: done.append(network.time))
    network.run(5)
    assert done == pytest.approx([1.3, 1.6])


def test_every_figure_of_the_network_has_a_source() -> None:
    assert all(len(constant.source) > 20 for constant in NETWORK.values())
