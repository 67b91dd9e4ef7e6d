"""Encrypted attachments and what goes into them."""

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from hypothesis import given
from hypothesis import strategies as st

import samples
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.policy import Policy
from mlsrtc.wire.attachment import (
    ATTACHMENT_LIMIT,
    decode_file,
    decrypt_attachment,
    encode_file,
    encrypt_attachment,
    with_url,
)
from mlsrtc.wire.commit import CommitEvent, decode_commit, fit_commit
from mlsrtc.wire.fields import Field
from mlsrtc.wire.fitting import fit, size_of
from people import SLOT, epoch, fixed_random


@given(st.binary(max_size=200))
def test_what_was_encrypted_is_decrypted(plaintext: bytes) -> None:
    file, ciphertext = encrypt_attachment(plaintext, fixed_random)
    assert decrypt_attachment(file, ciphertext) == plaintext
    placed = with_url(file, "mxc://one.example/x")
    assert decode_file(Field(samples.as_json(encode_file(placed)))) == placed


def test_another_client_could_open_it() -> None:
    """The steps of the Matrix specification, by hand: the key is base64url, the counter starts at zero."""
    file, ciphertext = encrypt_attachment(b"a tree", fixed_random)
    content = encode_file(file)
    key = base64.urlsafe_b64decode(content["key"]["k"] + "=")
    iv = base64.b64decode(content["iv"] + "==")
    assert iv[8:] == bytes(8)
    assert base64.b64decode(content["hashes"]["sha256"] + "=") == hashlib.sha256(ciphertext).digest()
    assert Cipher(AES(key), CTR(iv)).decryptor().update(ciphertext) == b"a tree"
    assert content["key"]["key_ops"] == ["encrypt", "decrypt"]
    assert (content["v"], content["key"]["ext"]) == ("v2", True)


def test_a_changed_ciphertext_is_refused_before_it_is_decrypted() -> None:
    file, ciphertext = encrypt_attachment(b"a tree", fixed_random)
    for wrong, reason in (
        (ciphertext[:-1], "wrong_hash"),
        (bytes([ciphertext[0] ^ 1]) + ciphertext[1:], "wrong_hash"),
        (bytes(ATTACHMENT_LIMIT + 1), "oversized"),
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            decrypt_attachment(file, wrong, where="content.tree_file")
        assert (caught.value.reason, caught.value.where) == (reason, "content.tree_file")


def test_a_generator_that_gives_too_little_is_the_caller_s_fault() -> None:
    with pytest.raises(LocalProtocolError):
        encrypt_attachment(b"", lambda size: b"\0" * (size - 1))


def test_the_repr_of_a_file_tells_no_key() -> None:
    file, _ = encrypt_attachment(b"", lambda size: b"\xaa" * size)
    assert repr(file.key)[2:-1] not in repr(file)
    assert repr(file.iv)[2:10] not in repr(file)


# -- fitting -------------------------------------------------------------------------------------------------


def commit(sizes: dict[str, int]) -> CommitEvent:
    return CommitEvent(
        slot_id=SLOT,
        root=epoch("root"),
        parent=None,
        id=epoch("root"),
        epoch=1,
        n=1,
        commit=bytes(sizes["commit"]),
        group_info=bytes(255),
        left={},
        group_info_0=bytes(478),
        welcome=bytes(sizes["welcome"]),
        tree=bytes(sizes["tree"]),
    )


@pytest.mark.parametrize(
    ("sizes", "moved"),
    [
        ({"commit": 700, "welcome": 900, "tree": 400}, []),
        ({"commit": 700, "welcome": 9_000, "tree": 34_000}, []),
        ({"commit": 700, "welcome": 9_000, "tree": 40_000}, ["tree_file"]),
        ({"commit": 83_000, "welcome": 900, "tree": 12_000}, ["commit_file"]),
        ({"commit": 83_000, "welcome": 900, "tree": 83_000}, ["commit_file", "tree_file"]),
        (
            {"commit": 83_000, "welcome": 300_000, "tree": 290_000},
            ["commit_file", "tree_file", "welcome_file"],
        ),
    ],
)
def test_the_largest_parts_go_to_files_and_the_event_stays_under_the_limit(
    sizes: dict[str, int], moved: list[str]
) -> None:
    limit = Policy().content_limit
    fitted = fit_commit(commit(sizes), limit=limit, random_bytes=fixed_random)
    assert sorted(fitted.attachments) == moved
    content: dict[str, Any] = dict(fitted.content)
    for name in fitted.attachments:
        content[name] = {**content[name], "url": "mxc://one.example/" + "x" * 237}
    assert size_of(content) <= limit
    found = decode_commit(samples.as_json(content))
    for name, part in (("commit", found.commit), ("welcome", found.welcome), ("tree", found.tree)):
        if f"{name}_file" in moved:
            part = decrypt_attachment(found.files()[name], fitted.attachments[f"{name}_file"])
        assert part == bytes(sizes[name])


def test_what_never_fits_is_the_caller_s_fault() -> None:
    with pytest.raises(LocalProtocolError):
        fit({"left": "x" * 70_000}, {"tree": b"x"}, limit=61_440, random_bytes=fixed_random)


@given(
    st.dictionaries(st.sampled_from("abcde"), st.binary(max_size=3000), max_size=5),
    st.integers(4000, 9000),
)
def test_no_part_is_moved_that_could_have_stayed(parts: dict[str, bytes], limit: int) -> None:
    fitted = fit({"x": 1}, parts, limit=limit, random_bytes=fixed_random)
    moved = {name.removesuffix("_file") for name in fitted.attachments}
    kept = parts.keys() - moved
    assert size_of(fitted.content) + 255 * len(moved) <= limit
    if moved:
        smallest = min(moved, key=lambda name: len(parts[name]))
        assert all(len(parts[name]) <= len(parts[smallest]) for name in kept)
