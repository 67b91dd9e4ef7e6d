"""Other people's devices for the Olm door: each an Olm machine of nio's without a client, and a homeserver of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nio
from aiohttp import web
from nio.crypto import Olm
from nio.store import SqliteMemoryStore
from scripted import Scripted, error

KEY_EVENT = "io.element.call.encryption_keys"


def machine(user_id: str, device_id: str) -> Olm:
    """An Olm machine of a new device, its keys not published yet."""
    return Olm(user_id, device_id, SqliteMemoryStore(user_id, device_id, ""))


@dataclass
class Peer:
    """One device. `published` is what it gave its homeserver: `device_keys`, and `one_time_keys` as long as it has."""

    user_id: str
    device_id: str
    olm: Olm = field(init=False)
    published: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.olm = machine(self.user_id, self.device_id)
        self.published = self.olm.share_keys()
        self.olm.account.mark_keys_as_published()

    @property
    def name(self) -> tuple[str, str]:
        return self.user_id, self.device_id

    @property
    def curve25519(self) -> str:
        return str(self.olm.account.identity_keys["curve25519"])

    @property
    def ed25519(self) -> str:
        return str(self.olm.account.identity_keys["ed25519"])

    def publishes(self, *, keys: Mapping[str, str] | None = None, **fields: Any) -> None:
        """Other device keys, by algorithm, and other fields beside them, signed as if all was well."""
        device = self.published["device_keys"]
        device["keys"].update({f"{name}:{self.device_id}": key for name, key in (keys or {}).items()})
        device.update(fields)
        signed = {name: value for name, value in device.items() if name not in ("signatures", "unsigned")}
        device["signatures"] = {self.user_id: {f"ed25519:{self.device_id}": self.olm.sign_json(signed)}}

    def one_time_key(self) -> dict[str, Any] | None:
        """One of them, as keys/claim gives it away; None if there is none left."""
        keys = self.published["one_time_keys"]
        if not keys:
            return None
        name = next(iter(keys))
        return {name: keys.pop(name)}

    def session_to(self, ours: Olm) -> None:
        """A session by a one-time key of ours, as if it had been claimed."""
        ours.account.generate_one_time_keys(1)
        *_, key = ours.account.one_time_keys["curve25519"].values()
        ours.account.mark_keys_as_published()
        self.olm.create_session(key, ours.account.identity_keys["curve25519"])

    def payload(self, ours: Olm, type: str, content: Any, **changes: Any) -> dict[str, Any]:
        """As the specification has it, which is without `sender_device`. A change to None leaves a field out."""
        payload = {
            "sender": self.user_id,
            "keys": {"ed25519": self.ed25519},
            "recipient": ours.user_id,
            "recipient_keys": {"ed25519": ours.account.identity_keys["ed25519"]},
            "type": type,
            "content": content,
            **changes,
        }
        return {name: value for name, value in payload.items() if value is not None}

    def seal(self, ours: Olm, plaintext: str, sender: str | None = None) -> dict[str, Any]:
        """A to-device event with it, encrypted in the newest session."""
        key = ours.account.identity_keys["curve25519"]
        if self.olm.session_store.get(key) is None:
            self.session_to(ours)
        session = self.olm.session_store.get(key)
        assert session is not None
        kind, body = session.encrypt(plaintext).to_parts()
        ciphertext = {key: {"type": kind, "body": _base64(body)}}
        content = {"algorithm": Olm._olm_algorithm, "sender_key": self.curve25519, "ciphertext": ciphertext}
        return {"type": "m.room.encrypted", "sender": sender or self.user_id, "content": content}

    def event(self, ours: Olm, type: str = KEY_EVENT, content: Any = None, **changes: Any) -> dict[str, Any]:
        """`seal` of `payload`."""
        return self.seal(ours, json.dumps(self.payload(ours, type, {} if content is None else content, **changes)))


def _base64(data: bytes) -> str:
    from unpaddedbase64 import encode_base64

    return str(encode_base64(data))


class Homeserver:
    """Answers for the peers. `down`: servers that do not answer it. `limited`: part of a path that is answered 429."""

    def __init__(self, scripted: Scripted, *peers: Peer) -> None:
        self.scripted = scripted
        self.peers = {peer.name: peer for peer in peers}
        self.down: set[str] = set()
        self.limited = ""
        self.sent: list[tuple[str, dict[str, Any]]] = []  # transaction id and messages of each PUT
        self._inbox: list[Any] = []
        self._syncs = 0
        self.sync_fields: dict[str, Any] = {}
        scripted.answer = self._answer

    async def bring(self, *events: Any) -> nio.SyncResponse | nio.SyncError:
        """The client syncs, and these to-device events are in the answer."""
        self._inbox = list(events)
        return await self.scripted.client.sync()

    def asked(self, part: str) -> int:
        return sum(part in path for path in self.scripted.paths())

    def _answer(self, method: str, path: str, query: dict[str, str]) -> web.Response:
        body = json.loads(self.scripted.asked[-1][3] or b"{}")
        if self.limited and self.limited in path:
            return error(429, "M_LIMIT_EXCEEDED", retry_after_ms=77)
        if path.endswith("/sync"):
            self._syncs += 1
            events, self._inbox = self._inbox, []
            return web.json_response(
                {"next_batch": f"s{self._syncs}", "to_device": {"events": events}, **self.sync_fields}
            )
        if path.endswith("keys/query"):
            return self._query(body)
        if path.endswith("keys/claim"):
            return self._claim(body)
        if path.endswith("keys/upload"):
            return web.json_response({"one_time_key_counts": {}})
        if "/sendToDevice/m.room.encrypted/" in path:
            self.sent.append((path.rpartition("/")[2], body["messages"]))
            return web.json_response({})
        return error(404, "M_UNRECOGNIZED")

    def _query(self, body: dict[str, Any]) -> web.Response:
        answer: dict[str, Any] = {}
        for user in body["device_keys"]:
            if _server(user) not in self.down:
                of_user = [peer for peer in self.peers.values() if peer.user_id == user]
                answer[user] = {peer.device_id: peer.published["device_keys"] for peer in of_user}
        return web.json_response({"device_keys": answer, "failures": self._failures(body["device_keys"])})

    def _claim(self, body: dict[str, Any]) -> web.Response:
        answer: dict[str, Any] = {}
        for user, devices in body["one_time_keys"].items():
            for device in devices if _server(user) not in self.down else ():
                key = self.peers[user, device].one_time_key()
                if key is not None:
                    answer.setdefault(user, {})[device] = key
        return web.json_response({"one_time_keys": answer, "failures": self._failures(body["one_time_keys"])})

    def _failures(self, users: dict[str, Any]) -> dict[str, Any]:
        return {server: {} for server in {_server(user) for user in users} & self.down}


def _server(user_id: str) -> str:
    return user_id.partition(":")[2]
