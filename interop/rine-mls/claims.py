"""What docs/how-to/migrate.md says of rine-mls."""

import os
import sys
import tempfile
from pathlib import Path

import rine_mls
from rine_mls import MlsClient, MlsGroup

sys.path.insert(0, str(Path(__file__).parents[1]))
from claims import check as _check

SUITE_1 = rine_mls.CIPHER_SUITE_CLASSICAL


def _client() -> tuple[MlsClient, Path]:
    place = Path(tempfile.mkdtemp(prefix="rine-mls-"))
    return MlsClient(str(place), os.urandom(32), SUITE_1), place


def _has(*words: str) -> bool:
    names = [name.lower() for kind in (MlsClient, MlsGroup) for name in dir(kind)]
    return any(word in name for word in words for name in names)


def no_exporter() -> None:
    """It has no exporter and no epoch authenticator: no secret can be derived for use outside, and nothing compared."""
    assert not _has("export", "authenticator", "secret")


def no_proposals() -> None:
    """It has no proposals by reference, no pre-shared keys, no extensions, no custom credentials, and reads no proposal
    that others send."""
    assert not _has("propos", "psk", "extension", "credential")


def two_suites() -> None:
    """It has suite 1, and X-Wing under a number of its own, 0xF057; here X-Wing is 0x004D, the number of OpenMLS."""
    assert (SUITE_1, rine_mls.CIPHER_SUITE_XWING) == (1, 0xF057)
    for suite in (2, 3, 5, 7, 0x4D):
        try:
            MlsClient(tempfile.mkdtemp(prefix="rine-mls-"), os.urandom(32), suite)
        except rine_mls.RineMlsError:
            continue
        raise AssertionError(f"it has suite {suite}")


def identity_is_the_key() -> None:
    """A member's identity is its public key; here it is any `Credential`."""
    client, _ = _client()
    assert client.create_group(b"group").member_identities()[0].identity == client.public_key()


def keeps_files() -> None:
    """It keeps key packages and groups as files in a folder of its own; here `save()` gives you the bytes to keep."""
    client, place = _client()
    client.generate_key_package()
    assert list(place.iterdir())


def commits_at_once() -> None:
    """A commit takes effect as it is made: there is no way back when another one wins the epoch."""
    client, _ = _client()
    group, before = client.create_group(b"group"), client.create_group(b"other").epoch()
    group.add_member(_client()[0].generate_key_package())
    assert group.epoch() == before + 1


def tagged_messages() -> None:
    """Its application messages begin with a byte of its own, 4; the MLSMessage is what follows."""
    client, _ = _client()
    sent = client.create_group(b"group").encrypt_application_message(b"hello")
    assert sent[:5] == bytes([4, 0, 1, 0, 2])


_check()
