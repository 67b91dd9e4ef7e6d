"""Keeps an event under the homeserver's limit: what would push it past goes to the media repository, largest
first.

Pure. The measure is the canonical JSON of the content, because that is what a homeserver counts; the url of a
file is counted at its longest, since it is known only after the upload.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import canonicaljson

from mlsrtc.errors import LocalProtocolError
from mlsrtc.wire.attachment import URI_LIMIT, RandomBytes, encode_file, encrypt_attachment
from mlsrtc.wire.encoding import encode_base64

FILE_SUFFIX = "_file"


@dataclass(frozen=True, slots=True)
class Fitted:
    """Content that is under the limit. `attachments`: field of `content` -> ciphertext to upload first; the
    transport then puts the media URI into ``content[field]["url"]``."""

    content: Mapping[str, Any]
    attachments: Mapping[str, bytes]


def size_of(content: Mapping[str, Any]) -> int:
    """Bytes of the canonical JSON."""
    return len(canonicaljson.encode_canonical_json(content))


def fit(content: Mapping[str, Any], parts: Mapping[str, bytes], *, limit: int, random_bytes: RandomBytes) -> Fitted:
    """`content` with each of `parts` either in base64 under its name or as an EncryptedFile under
    ``<name>_file``.

    limit: bytes (Policy.content_limit). As few parts as possible are moved, the largest first (by size, then
    name). Raises LocalProtocolError if the content does not fit with all parts moved.
    """
    filled = dict(content) | {name: encode_base64(part) for name, part in parts.items()}
    attachments: dict[str, bytes] = {}
    waiting = sorted(parts, key=lambda name: (-len(parts[name]), name))
    while size_of(filled) + URI_LIMIT * len(attachments) > limit:
        if not waiting:
            raise LocalProtocolError(f"the event does not fit into {limit} bytes with all its parts in files")
        name = waiting.pop(0)
        file, ciphertext = encrypt_attachment(parts[name], random_bytes)
        del filled[name]
        filled[name + FILE_SUFFIX] = encode_file(file)
        attachments[name + FILE_SUFFIX] = ciphertext
    return Fitted(filled, attachments)
