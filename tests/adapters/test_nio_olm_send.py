"""What goes out by Olm: keys asked for and claimed, batches, and what becomes of each message. Each is sent once."""

import json
from typing import Any

import nio
import pytest
from aiohttp import web
from nio.crypto import Olm
from nio.responses import KeysClaimResponse, KeysQueryResponse
from olm_peers import KEY_EVENT, Homeserver, Peer
from scripted import Scripted

from mlsrtc.adapters.nio.olm import OlmDoor
from mlsrtc.adapters.nio.olm_keys import Unreachable
from mlsrtc.adapters.nio.olm_send import SendEncrypted
from mlsrtc.outbox import Accepted, RateLimited, Refused

CONTENT = {"keys": {"index": 0, "key": "c2VjcmV0IGtleSBvZiBhZGE"}}


class _Call:
    """A client with an open door, and others."""

    def __init__(self, scripted: Scripted, *peers: Peer, per_put: int = 20) -> None:
        self.home = Homeserver(scripted, *peers)
        self.ours: Olm = scripted.client.olm
        self.door = OlmDoor(scripted.client, lambda told: None, per_put=per_put)
        self.door.open()

    async def send(self, *names: tuple[str, str], id: str = "t1", content: Any = None) -> dict[tuple[str, str], Any]:
        content = CONTENT if content is None else content
        return dict(await self.door.send(SendEncrypted(id, KEY_EVENT, dict.fromkeys(names, content))))

    def opened(self, peer: Peer, number: int = -1) -> dict[str, Any]:
        """The payload that a peer finds in a PUT."""
        content = self.home.sent[number][1][peer.user_id][peer.device_id]
        event = nio.OlmEvent.from_dict({"type": "m.room.encrypted", "sender": self.ours.user_id, "content": content})
        found: list[dict[str, Any]] = []
        peer.olm._handle_olm_event = lambda sender, key, payload: found.append(payload)
        peer.olm.handle_to_device_event(event)
        [payload] = found
        return payload


def _peers(count: int, server: str = "localhost") -> list[Peer]:
    return [Peer(f"@u{number}:{server}", "D") for number in range(count)]


async def test_any_payload_is_encrypted_to_devices_that_were_not_known(scripted: Scripted) -> None:
    """nio has no public call for it, and its own steps are all for Megolm."""
    ben, cem = Peer("@ben:localhost", "PHONE"), Peer("@cem:localhost", "WEB")
    call = _Call(scripted, ben, cem)
    assert await call.send(ben.name, cem.name) == {ben.name: Accepted(), cem.name: Accepted()}
    assert [path.rpartition("/")[0] for path in scripted.paths()] == [
        "POST /_matrix/client/v3/keys",
        "POST /_matrix/client/v3/keys",
        "PUT /_matrix/client/v3/sendToDevice/m.room.encrypted",
    ]
    for peer in (ben, cem):
        payload = call.opened(peer)
        assert (payload["type"], payload["content"]) == (KEY_EVENT, CONTENT)
        assert payload["recipient"] == peer.user_id
        assert payload["keys"] == {"ed25519": call.ours.account.identity_keys["ed25519"]}


async def test_the_next_message_needs_one_request(scripted: Scripted) -> None:
    ben = Peer("@ben:localhost", "PHONE")
    call = _Call(scripted, ben)
    await call.send(ben.name)
    scripted.asked.clear()
    assert await call.send(ben.name, id="t2") == {ben.name: Accepted()}
    assert len(scripted.asked) == 1


async def test_each_device_gets_its_own_content(scripted: Scripted) -> None:
    ben, cem = Peer("@ben:localhost", "PHONE"), Peer("@cem:localhost", "WEB")
    call = _Call(scripted, ben, cem)
    await call.door.send(SendEncrypted("t", KEY_EVENT, {ben.name: {"to": "ben"}, cem.name: {"to": "cem"}}))
    assert [call.opened(peer)["content"]["to"] for peer in (ben, cem)] == ["ben", "cem"]


@pytest.mark.parametrize(("per_put", "sizes"), [(20, [20, 20, 5]), (50, [45]), (44, [44, 1])])
async def test_many_devices_are_sent_to_in_batches_of_transactions_of_their_own(
    scripted: Scripted, per_put: int, sizes: list[int]
) -> None:
    peers = _peers(45)
    call = _Call(scripted, *peers, per_put=per_put)
    fates = await call.send(*(peer.name for peer in peers))
    assert set(fates.values()) == {Accepted()}
    assert [len(messages) for _, messages in call.home.sent] == sizes
    ids = [transaction for transaction, _ in call.home.sent]
    assert len(set(ids)) == len(sizes)
    assert all(transaction.startswith("t1.") for transaction in ids)
    assert call.home.asked("keys/query") == call.home.asked("keys/claim") == 1


async def test_a_transaction_id_follows_from_who_is_sent_to(scripted: Scripted) -> None:
    """A homeserver drops what comes under an id that it knows: whoever was not in the first batch would get nothing."""
    ben, cem = Peer("@ben:localhost", "PHONE"), Peer("@cem:localhost", "WEB")
    call = _Call(scripted, ben, cem)
    for names in ((ben.name, cem.name), (ben.name, cem.name), (cem.name,)):
        await call.send(*names)
    first, again, other = (transaction for transaction, _ in call.home.sent)
    assert first == again != other
    await call.send(ben.name, cem.name, id="t2")
    assert call.home.sent[-1][0] not in (first, other)


async def test_what_becomes_of_each_message_is_told(scripted: Scripted) -> None:
    ben, cem, dan, eve = (
        Peer("@ben:localhost", "PHONE"),
        Peer("@cem:localhost", "NO_KEYS"),
        Peer("@dan:elsewhere", "D"),
        Peer("@eve:localhost", "FORGED"),
    )
    cem.published["one_time_keys"].clear()
    for key in eve.published["one_time_keys"].values():
        key["signatures"] = {"@eve:localhost": {"ed25519:FORGED": "A" * 86}}
    call = _Call(scripted, ben, cem, dan, eve)
    call.home.down = {"elsewhere"}
    gone = ("@ben:localhost", "GONE")
    fates = await call.send(gone, eve.name, dan.name, cem.name, ben.name, (call.ours.user_id, call.ours.device_id))
    assert fates == {
        ben.name: Accepted(),
        gone: Unreachable("no_device"),
        cem.name: Unreachable("no_one_time_key"),
        dan.name: Unreachable("server_down"),
        eve.name: Unreachable("bad_one_time_key"),
        (call.ours.user_id, call.ours.device_id): Unreachable("no_device"),
    }


async def test_a_homeserver_that_goes_down_later_is_told(scripted: Scripted) -> None:
    dan = Peer("@dan:elsewhere", "D")
    call = _Call(scripted, dan)
    await call.home.bring()
    from mlsrtc.adapters.nio import olm_keys

    await olm_keys.query(scripted.client, ["@dan:elsewhere"])
    call.home.down = {"elsewhere"}
    assert await call.send(dan.name) == {dan.name: Unreachable("server_down")}
    call.home.down = set()
    assert await call.send(dan.name) == {dan.name: Accepted()}


@pytest.mark.parametrize("step", ["keys/query", "keys/claim", "sendToDevice"])
async def test_a_limit_in_any_step_is_told_and_the_next_try_goes_on(scripted: Scripted, step: str) -> None:
    ben = Peer("@ben:localhost", "PHONE")
    call = _Call(scripted, ben)
    call.home.limited = step
    assert await call.send(ben.name) == {ben.name: RateLimited(77)}
    assert call.home.asked(step) == 1
    call.home.limited = ""
    scripted.asked.clear()
    assert await call.send(ben.name) == {ben.name: Accepted()}
    assert call.home.asked("keys/query") == (step == "keys/query")
    assert call.home.asked("keys/claim") == (step != "sendToDevice")
    assert call.opened(ben)["content"] == CONTENT


async def test_who_needs_nothing_is_not_kept_waiting_by_who_does(scripted: Scripted) -> None:
    ben, cem = Peer("@ben:localhost", "PHONE"), Peer("@cem:localhost", "WEB")
    call = _Call(scripted, ben, cem)
    await call.send(ben.name)
    call.home.limited = "keys/"
    assert await call.send(cem.name, ben.name, id="t2") == {ben.name: Accepted(), cem.name: RateLimited(77)}
    assert "sendToDevice" in scripted.paths()[-2]


async def test_after_a_limit_nothing_more_is_encrypted_or_sent(scripted: Scripted) -> None:
    peers = _peers(5)
    call = _Call(scripted, *peers, per_put=2)
    names = [peer.name for peer in peers]
    await call.send(*names)
    answer, count = scripted.answer, iter((True, False))

    def once(method: str, path: str, query: dict[str, str]) -> web.Response:
        if "sendToDevice" in path and not next(count):
            return web.json_response({"errcode": "M_LIMIT_EXCEEDED"}, status=429, headers={"Retry-After": "3"})
        return answer(method, path, query)

    scripted.answer = once
    scripted.asked.clear()
    fates = await call.send(*names, id="t2")
    assert list(fates.values()) == [Accepted(), Accepted(), *[RateLimited(3000)] * 3]
    assert len(scripted.asked) == 2


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (lambda: web.json_response({"errcode": "M_TOO_LARGE"}, status=413), Refused(413, "M_TOO_LARGE")),
        (lambda: web.Response(status=502), RateLimited(1000)),
    ],
)
async def test_a_refusal_is_told_with_its_code(scripted: Scripted, answer: Any, fate: Any) -> None:
    ben = Peer("@ben:localhost", "PHONE")
    call = _Call(scripted, ben)
    await call.send(ben.name)
    scripted.answer = lambda method, path, query: answer()
    assert await call.send(ben.name) == {ben.name: fate}
    assert len(call.home.sent) == 1


async def test_a_device_that_was_deleted_gets_nothing(scripted: Scripted) -> None:
    """nio looks at `device_lists` for the members of encrypted rooms only; in another room it would not notice."""
    ben = Peer("@ben:localhost", "PHONE")
    call = _Call(scripted, ben)
    await call.send(ben.name)
    del call.home.peers[ben.name]
    call.home.sync_fields = {"device_lists": {"changed": ["@ben:localhost", "@stranger:localhost"]}}
    await call.home.bring()
    assert not call.ours.users_for_key_query
    call.door.devices_changed(("@ben:localhost", "@stranger:localhost"))
    assert call.ours.users_for_key_query == {"@ben:localhost"}
    assert await call.send(ben.name) == {ben.name: Unreachable("no_device")}
    assert not call.ours.users_for_key_query


async def test_a_device_that_the_application_has_blacklisted_gets_nothing(scripted: Scripted) -> None:
    ben = Peer("@ben:localhost", "PHONE")
    call = _Call(scripted, ben)
    await call.send(ben.name)
    scripted.client.blacklist_device(call.ours.device_store["@ben:localhost"]["PHONE"])
    assert await call.send(ben.name) == {ben.name: Unreachable("blacklisted")}


async def test_two_requests_at_once_claim_one_key(scripted: Scripted) -> None:
    import asyncio

    ben = Peer("@ben:localhost", "PHONE")
    call = _Call(scripted, ben)
    before = len(ben.published["one_time_keys"])
    await asyncio.gather(call.send(ben.name, id="a"), call.send(ben.name, id="b"))
    assert len(ben.published["one_time_keys"]) == before - 1
    assert len(call.home.sent) == 2


async def test_two_devices_that_begin_at_once_understand_each_other(scripted: Scripted) -> None:
    """Each has a session that it made and one that the other made, and nio takes the one that it came to know last."""
    ben = Peer("@ben:localhost", "PHONE")
    call = _Call(scripted, ben)
    told: list[Any] = []
    call.door._tell = told.append
    await call.send(ben.name, content={"n": 1})
    await call.home.bring(ben.event(call.ours, content={"n": 2}))
    assert call.opened(ben, 0)["content"] == {"n": 1}
    assert len(call.ours.session_store[ben.curve25519]) == 2
    for number in range(3):
        await call.send(ben.name, content={"n": number})
        assert call.opened(ben)["content"] == {"n": number}
        await call.home.bring(ben.event(call.ours, content={"n": number}))
    assert [event.content["n"] for event in told] == [2, 0, 1, 2]


async def test_a_request_shows_no_key() -> None:
    request = SendEncrypted("t", KEY_EVENT, {("@ben:localhost", "PHONE"): CONTENT})
    assert str(CONTENT["keys"]["key"]) not in repr(request)


# ---- what others publish ----


async def test_a_malformed_device_keeps_nobody_from_their_keys(scripted: Scripted) -> None:
    """nio drops the whole answer for one device that has no `keys`, and raises for others out of its sync loop."""
    good, *bad = (Peer("@ben:localhost", name) for name in ("GOOD", "A", "B", "C", "E", "F"))
    spoils: list[Any] = [
        lambda keys: keys.pop("keys"),
        lambda keys: keys.pop("user_id"),
        lambda keys: keys["keys"].update({"ed25519:C": "x"}),
        lambda keys: keys["keys"].update({"curve25519:E": 5}),
        lambda keys: keys.update(unsigned=[]),
    ]
    for peer, spoil in zip(bad, spoils, strict=True):
        spoil(peer.published["device_keys"])
    call = _Call(scripted, good, *bad)
    fates = await call.send(good.name, *(peer.name for peer in bad))
    assert fates == {good.name: Accepted(), **{peer.name: Unreachable("no_device") for peer in bad}}


@pytest.mark.parametrize(
    "spoil", [lambda keys: keys.pop("user_id"), lambda keys: keys["keys"].update({"ed25519:D": "x"})]
)
async def test_a_malformed_device_ends_nios_sync_loop_and_not_ours(scripted: Scripted, spoil: Any) -> None:
    [peer] = _peers(1)
    spoil(peer.published["device_keys"])

    def answer() -> KeysQueryResponse:
        got = KeysQueryResponse.from_dict({"device_keys": {peer.user_id: {"D": peer.published["device_keys"]}}})
        assert isinstance(got, KeysQueryResponse)
        return got

    with pytest.raises((KeyError, ValueError)):
        await scripted.client.receive_response(answer())
    _Call(scripted, peer)
    await scripted.client.receive_response(answer())
    assert scripted.client.olm.device_store[peer.user_id] == {}


async def test_a_one_time_key_that_is_none_ends_nios_sync_loop_and_not_ours(scripted: Scripted) -> None:
    """A device can sign whatever it likes, and a key of zeros as well."""
    bad, good = _peers(2)
    name = next(iter(bad.published["one_time_keys"]))
    key = {"key": "A" * 43}
    key["signatures"] = {bad.user_id: {"ed25519:D": bad.olm.sign_json(dict(key))}}  # type: ignore[assignment]
    bad.published["one_time_keys"] = {name: key}
    call = _Call(scripted, bad, good)
    fates = await call.send(bad.name, good.name)
    assert fates == {bad.name: Unreachable("bad_one_time_key"), good.name: Accepted()}
    await call.door.close()
    response = KeysClaimResponse({bad.user_id: {"D": {name: json.loads(json.dumps(key))}}}, {})
    with pytest.raises(ValueError, match="non-contributory"):
        await scripted.client.receive_response(response)


@pytest.mark.parametrize(
    "claimed", [5, [], {}, {"@u0:localhost": 5}, {"@u0:localhost": {"D": 5}}, {"@u0:localhost": {"D": {"x": 5}}}]
)
async def test_an_answer_to_a_claim_in_another_form_is_no_key(scripted: Scripted, claimed: Any) -> None:
    [peer] = _peers(1)
    call = _Call(scripted, peer)
    answer = scripted.answer

    def other(method: str, path: str, query: dict[str, str]) -> web.Response:
        if path.endswith("keys/claim"):
            return web.json_response({"one_time_keys": claimed, "failures": 5})
        return answer(method, path, query)

    scripted.answer = other
    [fate] = (await call.send(peer.name)).values()
    assert isinstance(fate, Unreachable)
    assert fate.reason in ("no_one_time_key", "bad_one_time_key")


async def test_a_server_that_does_not_answer_takes_no_device_away(scripted: Scripted) -> None:
    """nio marks what an answer leaves out as deleted, and never takes that back."""
    [peer] = _peers(1, "elsewhere")
    call = _Call(scripted, peer)
    await call.send(peer.name)
    await scripted.client.receive_response(KeysQueryResponse({peer.user_id: {}}, {"elsewhere": {}}))
    assert not call.ours.device_store[peer.user_id]["D"].deleted
    await call.door.close()
    await scripted.client.receive_response(KeysQueryResponse({peer.user_id: {}}, {"elsewhere": {}}))
    assert call.ours.device_store[peer.user_id]["D"].deleted
