"""Where media is published: the foci that a membership names. JSON <-> values."""

from dataclasses import dataclass
from typing import Any

from mlsrtc.wire.fields import Field
from mlsrtc.wire.names import NO_MEDIA

TRANSPORTS_LIMIT = 16
URL_LIMIT = 2048


@dataclass(frozen=True, slots=True)
class Transport:
    """A focus: where media is published. `service_url` and `alias` are LiveKit's and None for other types."""

    type: str
    service_url: str | None = None
    alias: str | None = None


def decode_foci(field: Field) -> tuple[Transport, ...]:
    """A list of foci; one that says only that there is none is left out. Raises RemoteProtocolError with the reasons of
    `Field`.
    """
    found = (
        Transport(
            item["type"].text(),
            item["livekit_service_url"].optional(lambda url: url.text(URL_LIMIT)),
            item["livekit_alias"].optional(lambda alias: alias.text(URL_LIMIT)),
        )
        for item in field.list(TRANSPORTS_LIMIT)
    )
    return tuple(transport for transport in found if transport.type != NO_MEDIA)


def encode_foci(transports: tuple[Transport, ...]) -> list[dict[str, Any]]:
    """The list."""
    return [_content(transport) for transport in transports]


def encode_published(transports: tuple[Transport, ...]) -> list[dict[str, Any]]:
    """The list, never an empty one. Element Call (0.26) takes the first transport of the oldest membership without a
    look whether there is one: where there is none, its page ends in an error, for everybody in the call.
    """
    return encode_foci(transports) or [{"type": NO_MEDIA}]


def _content(transport: Transport) -> dict[str, Any]:
    content = {"type": transport.type}
    if transport.service_url is not None:
        content["livekit_service_url"] = transport.service_url
    if transport.alias is not None:
        content["livekit_alias"] = transport.alias
    return content
