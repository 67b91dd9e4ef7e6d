"""What one key does: count and encrypt, or decrypt each counter once (RFC 9605 sections 4.4 and 9).

Knows no call and no group.
"""

import os
import secrets
from dataclasses import dataclass
from itertools import count
from operator import index
from threading import Lock
from typing import Generic, NamedTuple, NoReturn, SupportsIndex, TypeVar

from cryptography.exceptions import InvalidTag

from mlsrtc.adapters.sframe.header import CONTEXT_BITS, LIMIT, Kid, encode_header
from mlsrtc.adapters.sframe.suites import NONCE_SIZE, Data, Suite, derive, octets
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import Secret

From = TypeVar("From")


class Opened(NamedTuple, Generic[From]):
    """A frame that was decrypted. `sender`: whose key it is, whatever stream it came in; any other member could have
    made it (RFC 9605 section 7.2). `kid`: under which, see `Kid.of`. `counter`: grows with every frame under it."""

    data: bytes
    sender: From
    kid: int
    counter: int

    def __repr__(self) -> str:
        """Without what was said."""
        return f"Opened({len(self.data)} bytes, sender={self.sender!r}, kid={self.kid}, counter={self.counter})"


class Unique:
    """Holds keys and counters: there is no copy of it and no pickle."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds keys and counters: it cannot be copied or pickled")


class _Process:
    """Which process this is, of those that were forked from one another; read faster than a process id."""

    token = object()

    @classmethod
    def renew(cls) -> None:
        cls.token = object()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_Process.renew)


class SealingKey:
    """Encrypts for one sender in one epoch, under a KID that nobody has used: its context is drawn here."""

    __slots__ = ("_aead", "_count", "_process", "_salt", "kid")

    def __init__(self, suite: Suite, base_key: Secret, leaf: int, epoch: int) -> None:
        """Raises LocalProtocolError: `wiped`, or if the leaf does not fit a KID."""
        self.kid = Kid(secrets.randbits(CONTEXT_BITS), leaf, epoch).number
        self._aead, self._salt = derive(suite, base_key.expose(), self.kid)
        self._count = count()
        self._process = _Process.token

    def seal(self, data: Data, metadata: Data) -> bytes:
        """The frame. Raises LocalProtocolError: forked, spent_key, oversized."""
        if self._process is not _Process.token:
            raise LocalProtocolError(
                "this sender came over a fork: only the process it was made in encrypts with it", reason="forked"
            )
        data, metadata = octets(data), octets(metadata)
        counter = next(self._count)  # never given back, whatever comes
        if counter >= LIMIT:
            raise LocalProtocolError("no counter is left", reason="spent_key", section="RFC 9605 section 9.1")
        header = encode_header(self.kid, counter)
        nonce = (self._salt ^ counter).to_bytes(NONCE_SIZE, "big")
        try:
            return header + self._aead.seal(nonce, data, header + metadata)
        except OverflowError:
            raise LocalProtocolError("a frame has less than 2^31 bytes", reason="oversized") from None


class Window:
    """Which counters were received: the newest, and of the `size` up to it each."""

    __slots__ = ("_size", "_state")

    def __init__(self, size: int) -> None:
        self._size = size
        self._state = (-1, 0)  # the newest, and by bits how far behind it others were; read and written at once

    def check(self, counter: int) -> None:
        """Raises RemoteProtocolError: replayed, too_late."""
        newest, seen = self._state
        behind = newest - counter
        if behind >= self._size:
            raise RemoteProtocolError("too_late", where="header", section="RFC 9605 section 9.3")
        if behind >= 0 and seen >> behind & 1:
            raise RemoteProtocolError("replayed", where="header", section="RFC 9605 section 9.3")

    def mark(self, counter: int) -> None:
        """The counter was received. Raises as `check` does. One thread at a time."""
        self.check(counter)
        newest, seen = self._state
        ahead = counter - newest
        if ahead <= 0:
            self._state = newest, seen | 1 << -ahead
        elif ahead >= self._size:
            self._state = counter, 1
        else:
            self._state = counter, (seen << ahead | 1) & (1 << self._size) - 1


class OpeningKey:
    """Decrypts what was encrypted under one KID, each counter once."""

    __slots__ = ("_aead", "_lock", "_salt", "_tag_size", "_window")

    def __init__(self, suite: Suite, base_key: bytes, kid: int, window: int) -> None:
        self._aead, self._salt = derive(suite, base_key, kid)
        self._tag_size = suite.tag_size
        self._window, self._lock = Window(window), Lock()

    def open(self, frame: Data, size: int, counter: int, metadata: Data) -> bytes:
        """The data; `size` is that of the header. Raises RemoteProtocolError: replayed, too_late, truncated,
        bad_tag."""
        frame, metadata = octets(frame), octets(metadata)
        self._window.check(counter)
        if len(frame) < size + self._tag_size:
            raise RemoteProtocolError("truncated", where="ciphertext", section="RFC 9605 section 4.4.4")
        nonce = (self._salt ^ counter).to_bytes(NONCE_SIZE, "big")
        try:
            data = self._aead.open(nonce, frame[size:], b"".join((frame[:size], metadata)))
        except (InvalidTag, OverflowError):  # of 2^31 bytes and more there is no genuine frame
            raise RemoteProtocolError("bad_tag", where="ciphertext", section="RFC 9605 section 4.4.4") from None
        with self._lock:
            self._window.mark(counter)
        return data


@dataclass(frozen=True, slots=True)
class Receiving:
    """How frames are received. `window`: counters behind the newest that are told apart, for each KID. `contexts`: KIDs
    of one sender in one epoch that are listened to. Raises LocalProtocolError if a number is not positive, TypeError if
    it is no whole number."""

    suite: Suite
    window: int
    contexts: int

    def __post_init__(self) -> None:
        if min(index(self.window), index(self.contexts)) < 1:
            raise LocalProtocolError("window and contexts are at least 1")


class SenderKeys:
    """What opens the frames of one sender in one epoch: a key for each KID, made when its first frame comes."""

    __slots__ = ("_base_key", "_how", "_keys", "_lock")

    def __init__(self, how: Receiving, base_key: Secret) -> None:
        self._how, self._base_key = how, base_key
        self._keys: dict[int, OpeningKey] = {}
        self._lock = Lock()

    def open(self, frame: Data, kid: int, counter: int, size: int, metadata: Data) -> bytes:
        """As `OpeningKey.open`. Raises RemoteProtocolError: crowded; unknown_kid if the base key was wiped."""
        if not self._base_key:
            raise unknown_kid()
        if (key := self._keys.get(kid)) is not None:
            return key.open(frame, size, counter, metadata)
        with self._lock:
            return self._open_first(frame, kid, counter, size, metadata)

    def _open_first(self, frame: Data, kid: int, counter: int, size: int, metadata: Data) -> bytes:
        """A KID takes a place when a frame under it was genuine: nobody outside can fill them."""
        if (key := self._keys.get(kid)) is None:
            if len(self._keys) >= self._how.contexts:
                raise RemoteProtocolError("crowded", "this sender has begun too often", where="header")
            try:
                key = OpeningKey(self._how.suite, self._base_key.expose(), kid, self._how.window)
            except LocalProtocolError:  # wiped since
                raise unknown_kid() from None
        data = key.open(frame, size, counter, metadata)
        self._keys[kid] = key
        return data


def unknown_kid() -> RemoteProtocolError:
    """There is no key for the KID of a frame."""
    return RemoteProtocolError("unknown_kid", where="header", section="RFC 9605 section 4.4.1")


def own_frame() -> RemoteProtocolError:
    """A key that encrypts never decrypts."""
    return RemoteProtocolError("own_frame", where="header", section="RFC 9605 section 4.4.1")
