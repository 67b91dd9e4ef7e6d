"""RFC 9420 in Python: the bindings to mls-rs. Knows no Matrix."""

from mlsrtc._core import (
    Client,
    Commit,
    Group,
    KeyPackage,
    Member,
    Observer,
    Secret,
    SigningKey,
    Staged,
    Successor,
    random_bytes,
    suites,
    verify_signature,
)

__all__ = [
    "Client",
    "Commit",
    "Group",
    "KeyPackage",
    "Member",
    "Observer",
    "Secret",
    "SigningKey",
    "Staged",
    "Successor",
    "random_bytes",
    "suites",
    "verify_signature",
]
