"""What docs/how-to/migrate.md says of rfc9420. Its input is empty, since the peer that it uses reads it to the end."""

import inspect
import sys
from pathlib import Path

import rfc9420
from peer import PUBLIC, Client
from rfc9420 import CommitValidationError, ProtocolMLSGroup

sys.path.insert(0, str(Path(__file__).parents[1]))
from claims import check as _check


def _ada_and_bob() -> tuple[Client, Client]:
    """At epoch 1 of one group."""
    ada, bob = (Client(1, name, False) for name in (b"ada", b"bob"))
    ada.create(b"group")
    made = ada.commit([bob.key_package()["key_package"]], [], [])
    bob.join(made["welcome"], None)
    assert ada.state()["authenticator"] == bob.state()["authenticator"]
    return ada, bob


def wrong_exporter() -> None:
    """It exports another secret than every other implementation: it expands with the context itself and not with
    Hash(context) (RFC 9420 section 8.5). So what was derived from its exporter does not carry over."""
    ada, _ = _ada_and_bob()
    secret = ada.crypto.derive_secret(ada.group.get_exporter_secret(), b"label")
    exported = ada.group.export_secret(b"label", b"context", 32)
    assert exported == ada.crypto.expand_with_label(secret, b"exported", b"context", 32)
    assert exported != ada.crypto.expand_with_label(secret, b"exported", ada.crypto.hash(b"context"), 32)


def unsigned_path() -> None:
    """A commit with a path, which every update and removal has, is refused by its own other members: the new leaf
    carries the signature of the leaf before (section 7.2)."""
    ada, bob = _ada_and_bob()
    made = ada.group.create_commit(ada.signing_key)
    ada.group.apply_own_commit(made)
    refused = ""
    try:
        bob.process(PUBLIC + made[0].serialize())
    except CommitValidationError as error:
        refused = str(error)
    assert "LeafNode invalid: invalid signature" in refused


def changes_in_place() -> None:
    """A group changes where it stands: what was before a commit is gone."""
    ada, _ = _ada_and_bob()
    before = ada.group
    ada.group.apply_own_commit(ada.group.create_commit(ada.signing_key))
    assert ada.group is before
    assert before.get_epoch() == 2


def bare_secrets() -> None:
    """Secrets are `bytes`: they can be printed, and nothing wipes them."""
    ada, _ = _ada_and_bob()
    assert type(ada.group.export_secret(b"label", b"context", 32)) is bytes
    assert type(ada.group.get_resumption_psk()) is bytes


def no_tree_apart() -> None:
    """A Welcome must carry the tree: joining takes none beside it."""
    assert not any("ratchet_tree" in name for name in inspect.signature(ProtocolMLSGroup.from_welcome).parameters)


def bare_structures() -> None:
    """It writes and reads structures without the MLSMessage around them: put the four bytes of version and wire format
    before what it wrote (section 6)."""
    package = _ada_and_bob()[1].newest[0].serialize()
    assert package[:4] == b"\0\1\0\1"  # the version, and the cipher suite already


def pure_python() -> None:
    """It is all Python, but for the primitives of `cryptography`."""
    assert not list(Path(rfc9420.__file__).parent.rglob("*.so"))


_check()
