"""What docs/how-to/migrate.md says of davey."""

import sys
from pathlib import Path

import davey
from davey import DaveSession

sys.path.insert(0, str(Path(__file__).parents[1]))
from claims import check as _check


def _session() -> DaveSession:
    return DaveSession(davey.DAVE_PROTOCOL_VERSION, 1, 7)


def only_the_gateway_proposes() -> None:
    """It is a client of Discord's DAVE: a gateway outside the group proposes, and a member can commit nothing else, nor
    propose, nor join from outside."""
    names = [name for name in dir(DaveSession) if not name.startswith("_")]
    assert not any(
        word in name for name in names for word in ("add", "remove", "join", "commit") if "process" not in name
    )
    assert "process_proposals" in names


def no_exported_secret() -> None:
    """It tells no exported secret and keeps no state: media frames are encrypted inside it, and a session ends with its
    process."""
    assert not any(word in name for name in dir(DaveSession) for word in ("export", "secret", "save", "load"))


def suite_2_only() -> None:
    """It has suite 2 only; users and channels are numbers of 64 bits."""
    assert _session().ciphersuite == 2
    for user, channel in ((2**64, 7), (1, 2**64)):
        try:
            DaveSession(davey.DAVE_PROTOCOL_VERSION, user, channel)
        except (OverflowError, ValueError, TypeError):
            continue
        raise AssertionError("it takes more")


def bare_structures() -> None:
    """Key packages and Welcomes go without the MLSMessage around them: put the four bytes of version and wire format
    before them (RFC 9420 section 6)."""
    package = _session().get_serialized_key_package()
    assert package[:4] == b"\0\1\0\2"  # the version, and the cipher suite already


def displayable_code() -> None:
    """Its voice privacy code is the epoch authenticator as digits, five for every five bytes."""
    authenticator = bytes(range(100, 132))
    code = "".join(f"{int.from_bytes(authenticator[at : at + 5]) % 10**5:05}" for at in range(0, 30, 5))
    assert davey.generate_displayable_code(authenticator, 30, 5) == code


_check()
