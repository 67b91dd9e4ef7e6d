"""What can go wrong, by whose fault it is. Knows nothing of the rest.

`LocalProtocolError`: the caller asked for something that its own state does not allow, or gave a value that no such
argument has, a number out of range say; the call can be mended. Of another type than the signature says it is a
TypeError, as everywhere in Python.
`RemoteProtocolError`: bytes that came from outside do not hold; nothing was changed and the next genuine message
applies. The cipher suite by whose number such bytes are checked comes with them and counts as theirs. Neither ever
carries a secret: messages name what was wrong and where, never the value of a key.
"""


class MlsrtcError(Exception):
    """The base of every error this package raises on purpose."""


class LocalProtocolError(MlsrtcError):
    """The caller's fault: an argument or a call that this state does not allow. Nothing was changed.

    reason: a slug that a program can read (``spent_key``), stable across releases; empty where nothing but a changed
    program helps.
    section: where the standard demands it (``RFC 9420 section 12.4``), or empty.
    """

    def __init__(self, detail: str, *, reason: str = "", section: str = "") -> None:
        self.reason = reason
        self.section = section
        super().__init__(detail)


class RemoteProtocolError(MlsrtcError):
    """Somebody else's fault: what was received does not hold. Nothing was changed.

    reason: a slug that a program can read (``bad_signature``), stable across releases.
    where:  the field or structure that was wrong (``commit.group_info``), or empty.
    section: where the standard demands it (``RFC 9420 section 6.1``), or empty.
    """

    def __init__(self, reason: str, detail: str = "", *, where: str = "", section: str = "") -> None:
        self.reason = reason
        self.detail = detail
        self.where = where
        self.section = section
        parts = [
            f"{where}: " if where else "",
            reason,
            f": {detail}" if detail else "",
            f" ({section})" if section else "",
        ]
        super().__init__("".join(parts))


class CannotSend(LocalProtocolError):
    """The room's power levels do not let this user send an event type that a call needs."""

    def __init__(self, event_type: str, need: int, have: int) -> None:
        self.event_type = event_type
        self.need = need
        self.have = have
        super().__init__(f"sending {event_type} needs power level {need}, this user has {have}")


class CallOver(MlsrtcError):
    """The call is over for us, and with it what was waited for.

    reason: as in the notice `Left`. detail: what a person may want to know beside it, or empty.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class StoreError(MlsrtcError):
    """What the store holds cannot be read back or written: the store's fault, or its disk's.

    reason: a slug that a program can read, stable across releases; empty if a store of your own gives none.

    * ``locked``: another process has the file open, or another store of this one. It may be free later.
    * ``damaged``: the file or a record in it is not what was written.
    * ``not_ours``: the file is another application's.
    * ``newer_schema``: a newer version of this package wrote it.
    * ``full``: the disk is full. Nothing of the step was written.
    * ``no_access``: the path leads nowhere, or the permissions do not allow it.
    * ``failed``: the disk failed, or SQLite for a reason of its own; the text says what.
    """

    def __init__(self, detail: str, *, reason: str = "") -> None:
        self.reason = reason
        super().__init__(detail)
