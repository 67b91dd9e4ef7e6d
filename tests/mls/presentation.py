"""The TLS presentation language as RFC 9420 section 2.1 uses it, for values that a test may change at will.

A structure is a dataclass whose fields name their codec; `encode` and `decode` follow from that. Nothing is
checked that decoding does not need: what is encoded may break any rule. A field that holds `Raw` is written as
those bytes, so that the encoding itself can be wrong too.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self


class Raw(bytes):
    """Bytes that stand in place of a field's encoding, length and all."""


class Reader:
    """A cursor over bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise ValueError("truncated")
        taken, self.position = self.data[self.position : end], end
        return taken

    def length(self) -> int:
        """Of a variable-size vector (section 2.1.2)."""
        first = self.take(1)[0]
        width = 1 << (first >> 6)
        return int.from_bytes(bytes([first & 0x3F]) + self.take(width - 1))

    def vector(self) -> bytes:
        """Its content."""
        return self.take(self.length())

    @property
    def rest(self) -> int:
        return len(self.data) - self.position


@dataclass(frozen=True)
class Codec:
    write: Callable[[Any], bytes]
    read: Callable[[Reader], Any]


def vector(content: bytes) -> bytes:
    """``opaque content<V>``, with the shortest length (section 2.1.2)."""
    size = len(content)
    if size < 1 << 6:
        return bytes([size]) + content
    if size < 1 << 14:
        return (size | 1 << 14).to_bytes(2) + content
    return (size | 1 << 31).to_bytes(4) + content


def _integer(size: int) -> Codec:
    return Codec(lambda value: int(value).to_bytes(size), lambda reader: int.from_bytes(reader.take(size)))


U8, U16, U32, U64 = _integer(1), _integer(2), _integer(4), _integer(8)
OPAQUE = Codec(vector, Reader.vector)
NOTHING = Codec(lambda _: b"", lambda _: None)


def struct(kind: "type[Struct]") -> Codec:
    return Codec(lambda value: value.encode(), kind.read)


def many(item: Codec) -> Codec:
    """``T items<V>``."""

    def read(reader: Reader) -> list[Any]:
        inside, items = Reader(reader.vector()), []
        while inside.rest:
            items.append(item.read(inside))
        return items

    return Codec(lambda items: vector(b"".join(_written(item, one) for one in items)), read)


def optional(item: Codec) -> Codec:
    """``optional<T>`` (section 2.1.1)."""
    return Codec(
        lambda value: b"\0" if value is None else b"\1" + _written(item, value),
        lambda reader: item.read(reader) if reader.take(1)[0] else None,
    )


def _written(codec: Codec, value: Any) -> bytes:
    return bytes(value) if isinstance(value, Raw) else codec.write(value)


def tls(codec: Codec, **options: Any) -> Any:
    """A field and its codec."""
    return dataclasses.field(metadata={"codec": lambda _: codec}, **options)


def select(key: Callable[[Any], int], cases: Mapping[int, Codec], otherwise: Codec | None = None) -> Any:
    """A field whose codec follows from those before it (``select``); None where the case has none."""

    def chosen(structure: Any) -> Codec:
        codec = cases.get(key(structure), otherwise)
        if codec is None:
            raise ValueError(f"no such case: {key(structure)}")
        return codec

    return dataclasses.field(default=None, metadata={"codec": chosen})


class Struct:
    """The base of every structure: a dataclass with `tls` and `select` fields."""

    def encode(self) -> bytes:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        written = []
        for field in fields:
            value = getattr(self, field.name)
            written.append(bytes(value) if isinstance(value, Raw) else field.metadata["codec"](self).write(value))
        return b"".join(written)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        made = cls.__new__(cls)
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            setattr(made, field.name, field.metadata["codec"](made).read(reader))
        return made

    @classmethod
    def decode(cls, data: bytes) -> Self:
        reader = Reader(data)
        made = cls.read(reader)
        if reader.rest:
            raise ValueError(f"{reader.rest} bytes too many")
        return made
