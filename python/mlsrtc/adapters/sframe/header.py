"""The SFrame header (RFC 9605 section 4.3), and what its KID says here. Knows no key."""

from dataclasses import dataclass

from mlsrtc.adapters.sframe.suites import Data, octets
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError

CONTEXT_BITS, LEAF_BITS, EPOCH_BITS = 40, 16, 8
LIMIT = 1 << 64  # of a KID and of a counter

_SECTION = "RFC 9605 section 4.3"
_EXTENDED = 8  # the flag before a field of the config byte: a length stands there, and the value after it
_CONFIG_BYTE = 1


@dataclass(frozen=True, slots=True)
class Kid:
    """What a KID says: ``context << 24 | leaf << 8 | epoch`` (RFC 9605 section 5.2 with S = 16 and E = 8).

    context: 40 bits that a sender draws when it begins an epoch. leaf: its leaf index. epoch: the low 8 bits of the
    number of an MLS group's epoch; in a call, the key index of the epoch, 1..255, which tells two branches apart.
    """

    context: int
    leaf: int
    epoch: int

    @property
    def number(self) -> int:
        """The KID itself. Raises LocalProtocolError if a part does not fit its bits."""
        for value, bits in ((self.context, CONTEXT_BITS), (self.leaf, LEAF_BITS), (self.epoch, EPOCH_BITS)):
            if not 0 <= value < 1 << bits:
                raise LocalProtocolError(f"{value} does not fit {bits} bits of a KID")
        return self.context << LEAF_BITS + EPOCH_BITS | self.leaf << EPOCH_BITS | self.epoch

    @staticmethod
    def of(number: int) -> "Kid":
        """The parts of a KID."""
        return Kid(
            number >> LEAF_BITS + EPOCH_BITS,
            number >> EPOCH_BITS & (1 << LEAF_BITS) - 1,
            number & (1 << EPOCH_BITS) - 1,
        )


def encode_header(kid: int, counter: int) -> bytes:
    """1 to 17 bytes. Raises LocalProtocolError if a number does not fit 64 bits."""
    if not (0 <= kid < LIMIT and 0 <= counter < LIMIT):
        raise LocalProtocolError("KID and counter have 64 bits", section=_SECTION)
    first, kid_bytes = _field(kid)
    second, counter_bytes = _field(counter)
    return bytes((first << 4 | second,)) + kid_bytes + counter_bytes


def decode_header(frame: Data) -> tuple[int, int, int]:
    """KID, counter and size of the header that a frame begins with. Says nothing of whether the frame is genuine.

    Raises RemoteProtocolError: truncated, not_minimal.
    """
    frame = octets(frame)
    if not frame:
        raise _refused("truncated")
    config = frame[0]
    kid, counter = config >> 4, config & 0xF  # each as it stands in the config byte, or a size
    end = at = _CONFIG_BYTE
    if kid >= _EXTENDED:
        end += kid - _EXTENDED + 1
        kid = int.from_bytes(frame[at:end], "big")
        if len(frame) < end:
            raise _refused("truncated")
        if kid < _EXTENDED or not frame[at]:
            raise _refused("not_minimal")
    at = end
    if counter >= _EXTENDED:
        end += counter - _EXTENDED + 1
        counter = int.from_bytes(frame[at:end], "big")
        if len(frame) < end:
            raise _refused("truncated")
        if counter < _EXTENDED or not frame[at]:
            raise _refused("not_minimal")
    return kid, counter, end


def _refused(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(reason, where="header", section=_SECTION)


def _field(value: int) -> tuple[int, bytes]:
    """The four bits of the config byte, and what follows it."""
    if value < _EXTENDED:
        return value, b""
    size = (value.bit_length() + 7) // 8
    return _EXTENDED + size - 1, value.to_bytes(size, "big")
