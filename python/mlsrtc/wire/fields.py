"""Strict reading of JSON that came from outside: a value and the path that led to it. Knows no event.

Every refusal is a RemoteProtocolError whose `where` is the JSON path (``content.member.id``,
``content.replaces[2]``): missing_field, wrong_type, out_of_range, wrong_size, oversized, bad_text,
bad_base64. A truth value is no integer and a float is none either, whatever its value. Fields that nobody
asks for are ignored and never kept.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, RoomId, SlotId, UserId
from mlsrtc.wire import encoding

T = TypeVar("T")

INTEGER_LIMIT = 2**53 - 1  # canonical JSON, Matrix specification appendix 3.1
TEXT_LIMIT = 255  # bytes of an identifier; Matrix specification appendix 4
HASH_SIZE = encoding.HASH_SIZE


def refuse(reason: str, where: str, detail: str = "") -> NoReturn:
    """Raise the RemoteProtocolError."""
    raise RemoteProtocolError(reason, detail, where=where)


class Field:
    """One JSON value, or its absence, at a path: `above` and one step further, a name or a number in a list."""

    __slots__ = ("_above", "_step", "_value")

    def __init__(self, value: Any, step: str | int = "content", above: "Field | None" = None) -> None:
        self._value = value
        self._step = step
        self._above = above

    @property
    def where(self) -> str:
        """The path, for whoever is told of a refusal."""
        if self._above is None:
            return str(self._step)
        return self._above.where + (f".{self._step}" if isinstance(self._step, str) else f"[{self._step}]")

    @property
    def absent(self) -> bool:
        """Whether there is no such field, or null stands there: the protocol writes neither for the other."""
        return self._value is None

    @property
    def is_object(self) -> bool:
        """Whether an object stands there, where the protocol lets something else stand too."""
        return isinstance(self._value, Mapping)

    def __getitem__(self, name: str) -> "Field":
        """The field `name` of an object; an absent Field if the object has none."""
        return Field(self.object().get(name), name, self)

    def __contains__(self, name: str) -> bool:
        return self.object().get(name) is not None

    def _typed(self, kind: type[T], name: str) -> T:
        if type(self._value) is kind:
            return self._value
        if self._value is None:
            refuse("missing_field", self.where)
        if not isinstance(self._value, kind) or (kind is int and isinstance(self._value, bool)):
            refuse("wrong_type", self.where, f"not {name}")
        return self._value

    def object(self) -> Mapping[str, Any]:
        """A JSON object whose names are text."""
        if type(self._value) is dict:  # as nearly always; to ask for a Mapping takes ten times as long
            return self._value
        return self._typed(Mapping, "an object")  # type: ignore[type-abstract]

    def items(self, limit: int) -> list[tuple[str, "Field"]]:
        """The fields of an object of at most `limit`, each name checked as text of at most 255 bytes."""
        value = self.object()
        if len(value) > limit:
            refuse("oversized", self.where, f"more than {limit} fields")
        return [(Field(name, self.where).text(), Field(item, name, self)) for name, item in value.items()]

    def list(self, limit: int) -> list["Field"]:
        """The items of a list of at most `limit`."""
        value = self._value
        if value is None:
            refuse("missing_field", self.where)
        if not isinstance(value, list | tuple):
            refuse("wrong_type", self.where, "not a list")
        if len(value) > limit:
            refuse("oversized", self.where, f"more than {limit} items")
        return [Field(item, index, self) for index, item in enumerate(value)]

    def text(self, limit: int = TEXT_LIMIT) -> str:
        """Text of at most `limit` bytes of UTF-8."""
        value = self._typed(str, "text")
        try:
            size = len(value) if value.isascii() or len(value) > limit else len(value.encode())
        except UnicodeEncodeError:
            refuse("bad_text", self.where, "a lone surrogate")
        if size > limit:
            refuse("oversized", self.where, f"more than {limit} bytes")
        return str(value)

    def integer(self, low: int = 0, high: int = INTEGER_LIMIT) -> int:
        """An integer within the bounds."""
        value = self._typed(int, "an integer")
        if not low <= value <= high:
            refuse("out_of_range", self.where, f"not within {low}..{high}")
        return int(value)

    def boolean(self) -> bool:
        """true or false."""
        return self._typed(bool, "a truth value")

    def base64(self, *, size: int | None = None, limit: int = 0xFFFF) -> bytes:
        """Strict unpadded standard base64 of exactly `size` bytes, or of 1 to `limit`."""
        value = self._read(encoding.decode_base64, (limit if size is None else size) * 4 // 3 + 3)
        if size is not None and len(value) != size:
            refuse("wrong_size", self.where, f"{len(value)} bytes instead of {size}")
        if not value or len(value) > limit:
            refuse("wrong_size", self.where, f"{len(value)} bytes")
        return value

    def _read(self, read: Callable[[str], T], limit: int = TEXT_LIMIT) -> T:
        """What a reader of `encoding` makes of the text; it is told the place only if it refuses."""
        text = self.text(limit)
        try:
            return read(text)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(error.reason, error.detail, where=self.where, section=error.section) from None

    def optional(self, read: Callable[["Field"], T]) -> T | None:
        """None if absent, else what `read` makes of the field."""
        return None if self.absent else read(self)

    # -- names of the protocol --

    def epoch_id(self) -> EpochId:
        """32 bytes in base64."""
        return EpochId(self.base64(size=HASH_SIZE))

    def member_id(self) -> MemberId:
        """43 characters of strict base64url."""
        return self._read(encoding.check_member_id)

    def user_id(self) -> UserId:
        """A Matrix user."""
        return self._read(encoding.check_user_id)

    def device_id(self) -> DeviceId:
        """A Matrix device."""
        return self._read(encoding.check_device_id)

    def room_id(self) -> RoomId:
        """A Matrix room."""
        value = self.text()
        if not value.startswith("!") or len(value) < 2:
            refuse("bad_room_id", self.where)
        return RoomId(value)

    def slot_id(self) -> SlotId:
        """A slot of MSC4143: ``application#id``, neither empty."""
        value = self.text()
        application, mark, rest = value.partition("#")
        if not (application and mark and rest):
            refuse("bad_slot_id", self.where)
        return SlotId(value)
