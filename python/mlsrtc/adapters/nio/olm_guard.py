"""Hooks in a nio client and its Olm machine: what Olm brought comes to us, and nothing that others sent ends nio's
sync loop.

nio has no public way to either. The methods that are replaced, on the two objects and for as long as the guard is
open, are pinned by tests/adapters/test_nio_olm.py to the version of nio.
"""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import nio
import vodozemac
from nio.crypto import Olm
from nio.exceptions import EncryptionError
from nio.responses import KeysClaimResponse, KeysQueryResponse
from unpaddedbase64 import decode_base64

from mlsrtc.adapters.nio.http import shallow
from mlsrtc.adapters.nio.olm_keys import readable_devices
from mlsrtc.adapters.nio.unforeseen import Logged
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.wire import names

_HOOKS = ("handle_to_device_event", "_handle_key_query", "_handle_key_claiming", "decrypt_megolm_event")
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "state": nio.Event.parse_event,
    "timeline": nio.Event.parse_event,
    "invite_state": nio.InviteEvent.parse_event,
    "ephemeral": nio.EphemeralEvent.parse_event,
}
"""By the parts of a room's section of a sync."""

logger = logging.getLogger(__name__)


class Guard:
    """take: gets each Olm-encrypted to-device event instead of nio; what it returns is handed to the application's
    callbacks of nio, as what nio returns itself. refused: gets each that is no such event, whatever its type says.

    What nests too deep in an answer is cut off for nio, which writes into its log what is wrong with an event, and
    fails there. What it cannot parse in a sync even so, and a presence that is none, is left out.
    """

    def __init__(
        self, client: nio.AsyncClient, take: Callable[[nio.OlmEvent], Any], refused: Callable[[dict[str, Any]], None]
    ) -> None:
        self._client = client
        self._olm: Olm = client.olm
        self._take = take
        self._refused = refused
        self._inner = {name: getattr(self._olm, name) for name in _HOOKS}
        self._parse = client.create_matrix_response

    def open(self) -> None:
        """Raises LocalProtocolError if another one is open on the same client."""
        if any(name in vars(self._olm) for name in _HOOKS):
            raise LocalProtocolError("one transport at a time for a nio client")
        self._olm.handle_to_device_event = self._to_device
        self._olm._handle_key_query = self._key_query
        self._olm._handle_key_claiming = self._key_claiming
        self._olm.decrypt_megolm_event = self._megolm
        self._client.create_matrix_response = self._response

    def close(self) -> None:
        """Both are nio's own again."""
        for name in _HOOKS:
            vars(self._olm).pop(name, None)
        vars(self._client).pop("create_matrix_response", None)

    async def _response(
        self, response_class: Any, transport_response: Any, data: Any = None, save_to: Any = None
    ) -> Any:
        try:
            response = await self._parse(response_class, transport_response, data, save_to)
        except Exception as error:
            # The homeserver would answer the same again and again.
            if response_class is not nio.SyncResponse and not isinstance(error, RecursionError):
                raise
            answer = json.loads(shallow(await transport_response.text()))
            if response_class is nio.SyncResponse:
                self._leave_out_unparsable(answer)
            response = response_class.from_dict(answer, *(data or ()))
            response.transport_response = transport_response
        if isinstance(response, nio.SyncResponse):
            presence = response.presence_events
            response.presence_events = [event for event in presence if isinstance(event, nio.PresenceEvent)]
        return response

    def _leave_out_unparsable(self, answer: dict[str, Any]) -> None:
        for kind in answer.get("rooms", {}).values():
            for section in kind.values():
                for name, parse in _PARSERS.items():
                    _leave_out(section.get(name), parse)
        _leave_out(answer.get("presence"), nio.PresenceEvent.from_dict)
        for source in _leave_out(answer.get("to_device"), nio.ToDeviceEvent.parse_event):
            if isinstance(source, dict) and source.get("type") == names.ENCRYPTED:
                self._refused(source)

    def _to_device(self, event: Any) -> Any:
        source = getattr(event, "source", None)
        try:
            if isinstance(event, nio.OlmEvent):
                return self._take(event)
            if isinstance(source, dict) and source.get("type") == names.ENCRYPTED:
                self._refused(source)
                return None
            return self._inner["handle_to_device_event"](event)
        except Exception as error:
            # nio checks the form of what others sent in part only, and what it raises would end its sync loop.
            logger.warning("nio could not take a to-device event: %s", type(error).__name__)
            return None

    def _megolm(self, event: Any, room_id: str | None = None) -> Any:
        try:
            return self._inner["decrypt_megolm_event"](event, room_id)
        except EncryptionError:
            raise
        except Exception as error:
            # An event with an empty key name is enough: any member of any room can send one.
            raise EncryptionError(f"not as Megolm has it: {type(error).__name__}") from None

    def _key_query(self, response: KeysQueryResponse) -> None:
        response.device_keys, response.changed = readable_devices(self._olm, response), {}
        for user_id, devices in response.device_keys.items():
            one = KeysQueryResponse({user_id: devices}, {})
            with Logged(logger, f"nio does not take the device keys of {user_id}"):
                self._inner["_handle_key_query"](one)
                response.changed |= one.changed

    def _key_claiming(self, response: KeysClaimResponse) -> None:
        for user_id, device_id, key in _claimed(response.one_time_keys):
            try:
                self._inner["_handle_key_claiming"](KeysClaimResponse({user_id: {device_id: key}}, {}))
            except Exception as error:
                # A device can sign what is no key. Its user gets no message; nobody else is kept from theirs.
                logger.warning("a one-time key of %s %s is none: %s", user_id, device_id, type(error).__name__)


def _leave_out(section: Any, parse: Callable[[Any], Any]) -> list[Any]:
    """Take out of a part of a sync what nio's parser raises for. Returns it."""
    events = section.get("events") if isinstance(section, dict) else None
    if not isinstance(events, list):
        return []
    section["events"], odd = [], []
    for event in events:
        try:
            parse(event)
            section["events"].append(event)
        except Exception as error:
            logger.warning("nio could not parse an event: %s", type(error).__name__)
            odd.append(event)
    return odd


def _claimed(one_time_keys: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for user_id, devices in one_time_keys.items():
        for device_id, key in devices.items() if isinstance(devices, dict) else ():
            yield user_id, device_id, key


def decrypt(olm: Olm, event: nio.OlmEvent) -> str:
    """The plaintext of an Olm message. Raises RemoteProtocolError: bad_ciphertext, not_for_us, cannot_decrypt.

    nio's own `decrypt` goes the same way, but tells of no failure, raises for a one-time key that it does not have,
    and drops what has another form than its own payloads.
    """
    ciphertext = event.ciphertext.get(olm.account.identity_keys["curve25519"])
    if ciphertext is None:
        raise RemoteProtocolError("not_for_us", where="content.ciphertext")
    message = _message(ciphertext)
    try:
        plaintext = olm._try_decrypt(event.sender, event.sender_key, message)
        if plaintext is None and isinstance(message, vodozemac.PreKeyMessage):
            session = olm._create_inbound_session(event.sender, event.sender_key, message)
            plaintext = session.decrypt(message)
            olm.session_store.add(event.sender_key, session)
            olm.save_session(event.sender_key, session)
            # nio saves the account before, when the one-time key is still in it.
            olm.save_account()
    except (EncryptionError, ValueError):
        plaintext = None
    if plaintext is None:
        raise RemoteProtocolError("cannot_decrypt", where="content.ciphertext")
    return str(plaintext)


def _message(ciphertext: Any) -> vodozemac.PreKeyMessage | vodozemac.AnyOlmMessage:
    try:
        kind, body = ciphertext["type"], ciphertext["body"]
        if kind == 0:
            return vodozemac.PreKeyMessage.from_base64(body)
        if kind == 1:
            return vodozemac.AnyOlmMessage.normal(decode_base64(body))
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise RemoteProtocolError("bad_ciphertext", where="content.ciphertext")
