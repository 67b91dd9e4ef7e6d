"""A slot's id (MSC4143) and the application and `call_id` of today's events: two ways to name one call."""

from mlsrtc.identifiers import SlotId
from mlsrtc.wire.fields import Field

ROOM_CALL = "ROOM"  # the slot id's half for the call of the room itself; its `call_id` is ""


def slot_of(application: str, call_id: Field) -> SlotId:
    """The slot that the two name. Raises RemoteProtocolError with the reasons of `Field`."""
    return Field(f"{application}#{call_id.text() or ROOM_CALL}", call_id.where).slot_id()


def slot_parts(slot_id: SlotId) -> tuple[str, str]:
    """The application and the `call_id`."""
    application, _, rest = slot_id.partition("#")
    return application, "" if rest == ROOM_CALL else rest
