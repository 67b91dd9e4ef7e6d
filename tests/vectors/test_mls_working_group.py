"""The MLS working group's test vectors: every file, every case, every suite.

Run this file to write docs/results/vectors.md anew:

PYTHONPATH=python:tests:tests/mls:tests/vectors python tests/vectors/test_mls_working_group.py
"""

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import by_the_door as door
import by_the_twins as twins
import pytest
from cipher_suites import SUITES, Signature, labelled
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from working_group import (
    COUNTS,
    NO_SUITE,
    OF_OPENMLS,
    REGISTRY,
    REPOSITORY,
    WORKING_GROUP,
    Case,
    cases,
    counted,
    folder,
)

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import SigningKey, suites

PAGE = REPOSITORY / "docs" / "results" / "vectors.md"

AWS_LC = frozenset({NO_SUITE, 1, 2, 3, 5, 7})
"""The suites of the provider that is built by default. The other one, RustCrypto, has no P-521 (suite 5)."""
EVERY_SUITE = frozenset(range(NO_SUITE, 8))
"""Those of RFC 9420 section 17.1, all of which `cryptography` has the parts of."""

DOOR, READER, TWINS = "public API", "public API, reader", "twins of the tests"
INSIDE = "not public: `_core.vector_length`"


@dataclass(frozen=True)
class Run:
    """What plays a file's cases. `what`: of the file, in words."""

    file: str
    through: str
    play: Callable[[Case], None]
    what: str

    @property
    def suites(self) -> frozenset[int]:
        return EVERY_SUITE if self.through == TWINS else AWS_LC

    def expected(self, copy: str) -> dict[int, int]:
        """How many cases of a copy are played, for each suite."""
        wrong = WRONG.get((self.file, copy), frozenset()) if self.what == SIGNED else frozenset()
        return {one: number for one, number in COUNTS[self.file][copy].items() if one in self.suites - wrong}


SIGNED = "SignWithLabel, both ways"

WRONG = {("crypto-basics.json", REGISTRY): frozenset({5, 7})}
"""Suites for which a copy has wrong signatures, which must be refused. There ECDSA over P-521 and P-384 is made with
SHA-256, where RFC 9420 section 17.1 has SHA-512 and SHA-384; the working group has mended it since."""

RUNS = (
    Run("passive-client-welcome.json", DOOR, door.passive_client, "all"),
    Run("passive-client-welcome.json", TWINS, twins.passive_client, "all"),
    Run("passive-client-handling-commit.json", DOOR, door.passive_client, "all"),
    Run("passive-client-handling-commit.json", TWINS, twins.passive_client, "all"),
    Run("passive-client-random.json", DOOR, door.passive_client, "all"),
    Run("passive-client-random.json", TWINS, twins.passive_client, "all"),
    Run("crypto-basics.json", DOOR, door.sign_with_label, SIGNED),
    Run("crypto-basics.json", TWINS, twins.sign_with_label, SIGNED),
    Run("crypto-basics.json", TWINS, twins.labels, "all else"),
    Run("deserialization.json", INSIDE, door.length, "all, by what the reader reads lengths with"),
    Run("deserialization.json", TWINS, twins.length, "all"),
    Run("messages.json", READER, door.messages, "all but GroupSecrets"),
    Run("messages.json", TWINS, twins.messages, "all, read and written again"),
    Run("transcript-hashes.json", READER, door.transcript_hashes, "all"),
    Run("transcript-hashes.json", TWINS, twins.transcript_hashes, "all"),
    Run("welcome.json", READER, door.welcome, "all; the HPKE of `cryptography` opens it"),
    Run("welcome.json", TWINS, twins.welcome, "all"),
    Run("message-protection.json", READER, door.signed_commit, "the commit in the clear and its signature"),
    Run("message-protection.json", TWINS, twins.protected_messages, "all, both ways"),
    Run("tree-validation.json", READER, door.leaves, "the signatures of leaves"),
    Run("tree-validation.json", TWINS, twins.valid_tree, "all"),
    Run("tree-operations.json", READER, door.trees, "the proposals, and which leaves stand where"),
    Run("tree-operations.json", TWINS, twins.tree_operation, "all"),
    Run("treekem.json", READER, door.leaves, "the signatures of leaves"),
    Run("treekem.json", TWINS, twins.tree_kem, "all, and paths that the twins make"),
    Run("key-schedule.json", TWINS, twins.key_schedule, "all"),
    Run("psk_secret.json", TWINS, twins.psk_secret, "all"),
    Run("secret-tree.json", TWINS, twins.secret_tree, "all"),
    Run("tree-math.json", TWINS, twins.tree_math, "all"),
)

NOT_REACHED = {
    "deserialization.json": "a length alone stands in no message; the function that reads it is not public",
    "crypto-basics.json": "RefHash, ExpandWithLabel, DeriveSecret, DeriveTreeSecret and EncryptWithLabel are private "
    "to the engine; HPKE is checked against `cryptography` (`tests/mls/test_hpke.py`)",
    "key-schedule.json": "no group can be made from a given init secret: the key schedule is private to the engine",
    "message-protection.json": "no group can be made from given epoch secrets, which open the encrypted messages",
    "messages.json": "a GroupSecrets stands in no message alone",
    "psk_secret.json": "the PSK secret is private to the engine; passive clients go through it",
    "secret-tree.json": "no group can be made from a given encryption secret",
    "tree-math.json": "private functions of the engine, and numbers only",
    "tree-operations.json": "a proposal is applied by a commit only, whose author's keys the file does not give",
    "tree-validation.json": "a bare tree is not joined: that takes a GroupInfo, signed with a member's key",
    "treekem.json": "an UpdatePath alone is in no commit, and no group can be made from private keys of single nodes",
}
"""What of these files the public API cannot reach, and why."""

EVERY = [
    pytest.param(run, copy, id=f"{run.file}-{run.through}-{run.what}-{copy}")
    for run in RUNS
    for copy in COUNTS[run.file]
]


@pytest.mark.parametrize(("run", "copy"), EVERY)
def test_every_case_is_played(run: Run, copy: str) -> None:
    here = EVERY_SUITE if run.through == TWINS else {NO_SUITE, *suites()}
    expected = {suite: number for suite, number in run.expected(copy).items() if suite in here}
    played = [case for case in cases(copy, run.file) if case.get("cipher_suite", NO_SUITE) in expected]
    for case in played:
        run.play(case)
    assert counted(played) == expected
    assert played


UNREAD = {("secret-tree.json", ("sender_data", "ciphertext"))}
"""Its end: the key takes as many bytes of the front as a hash has (section 6.3.2)."""

NOT_CHANGED = {"messages.json", "passive-client-random.json"}
"""The former has nothing to compare with but itself. The latter is one long case, which would be played once for each
value: what plays it plays the other passive clients."""


def values(part: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the strings of a case stand."""
    if isinstance(part, str) and part:
        yield place
    elif isinstance(part, dict | list):
        for key, inside in part.items() if isinstance(part, dict) else enumerate(part):
            yield from values(inside, (*place, key))


@pytest.mark.parametrize("name", sorted(COUNTS.keys() - NOT_CHANGED))
def test_the_twins_read_every_value(name: str) -> None:
    """Whichever string of a case is changed, it does not play: *all* is all."""
    case = min((one for one in cases(REGISTRY, name) if one.get("cipher_suite", 1) == 1), key=lambda one: len(str(one)))
    played = [run.play for run in RUNS if run.file == name and run.through == TWINS]
    unread = set()
    for place in values(case):
        spoiled = deepcopy(case)
        holder = reduce(lambda part, key: part[key], place[:-1], spoiled)
        holder[place[-1]] = holder[place[-1]][:-1] + ("1" if holder[place[-1]][-1] == "0" else "0")
        try:
            for play in played:
                play(spoiled)
        except Exception:  # of whatever kind: the twins assert, and `cryptography` raises
            continue
        unread.add((name, place))
    assert unread == {one for one in UNREAD if one[0] == name}


@pytest.mark.parametrize(("name", "copy"), WRONG)
def test_wrong_signatures_are_refused(name: str, copy: str) -> None:
    """By all who verify them; and this is what is wrong with them."""
    wrong = [case for case in cases(copy, name) if case["cipher_suite"] in WRONG[name, copy]]
    assert {case["cipher_suite"] for case in wrong} == WRONG[name, copy]
    for case in wrong:
        with pytest.raises(InvalidSignature):
            twins.sign_with_label(case)
        if case["cipher_suite"] in suites():
            with pytest.raises(RemoteProtocolError) as caught:
                door.sign_with_label(case)
            assert caught.value.reason == "bad_signature"
        given, right = case["sign_with_label"], SUITES[case["cipher_suite"]].signature
        public, content = bytes.fromhex(given["pub"]), labelled(given["label"], bytes.fromhex(given["content"]))
        Signature.ecdsa(right.keys, SHA256()).verify(public, bytes.fromhex(given["signature"]), content)


@pytest.mark.parametrize(("name", "copy"), [(name, copy) for name, copies in COUNTS.items() for copy in copies])
def test_every_case_of_a_file_is_counted(name: str, copy: str) -> None:
    """And every one is played by the twins, in every suite; where the file has two parts, each of both."""
    assert counted(cases(copy, name)) == COUNTS[name][copy]
    played = [run.expected(copy) for run in RUNS if run.file == name and run.through == TWINS]
    wrong = WRONG.get((name, copy), frozenset())
    assert COUNTS[name][copy] in played
    assert all(COUNTS[name][copy].keys() - one.keys() <= wrong for one in played)


@pytest.mark.parametrize("suite", sorted(EVERY_SUITE - AWS_LC))
def test_the_provider_lacks_a_suite(suite: int) -> None:
    """AWS-LC has no X448 and no Ed448: the door has no suites 4 and 6 (RFC 9420 section 17.1), and all others."""
    assert suite in (4, 6)
    assert suite not in suites()
    with pytest.raises(LocalProtocolError) as caught:
        SigningKey.generate(suite)
    assert caught.value.reason == "unsupported_suite"


@pytest.mark.parametrize("copy", [REGISTRY, WORKING_GROUP])
def test_every_file_is_played_or_named_with_a_reason(copy: str) -> None:
    played = {run.file for run in RUNS}
    whole = {run.file for run in RUNS if run.through in {DOOR, READER} and re.match(r"all($|[;,])", run.what)}
    assert played == whole | NOT_REACHED.keys() == COUNTS.keys()
    assert not whole & NOT_REACHED.keys()
    files = {path.name for path in folder(copy).glob("*.json")}
    assert files == COUNTS.keys() | (OF_OPENMLS if copy == REGISTRY else set())


def test_where_the_copies_are_one_they_are_equal() -> None:
    for name, copies in COUNTS.items():
        assert (cases(REGISTRY, name) == cases(WORKING_GROUP, name)) == (WORKING_GROUP not in copies)


# -- the page ------------------------------------------------------------------------------------------------

HEAD = """# The working group's vectors

<!-- Written by tests/vectors/test_mls_working_group.py from what it plays and counts. Do not edit. -->

The MLS working group publishes [test vectors](https://github.com/mlswg/mls-implementations/tree/main/test-vectors) for
RFC 9420 in {files} files. `tests/vectors` plays them on every run:

```
.venv/bin/pytest tests/vectors
```

No copy needs to be laid anywhere: one release of OpenMLS on crates.io ({crate}) carries the files, and
`cargo` fetches it by the lock file in `interop/vectors`. There, {same} files are the working group's of today, and
{older} are older: their cases differ. The working group's own form of these is played as well where `MLSRTC_VECTORS`
names the folder `test-vectors` of a checkout, and is in the columns *working group*.

*Public API* is `mlsrtc.mls`, and its *reader* the functions `inspect_*` and `interim_transcript_hash`. What is
*not public* is a function of the module under them. The *twins of the tests* are RFC 9420 written a second time, in
Python on `cryptography`, to make rogue members (`tests/mls`). They play every case of every file, in every suite that
it has, and so what the engine keeps private. In each of its suites the engine takes what they make, and they what it
makes (`tests/mls/test_rogue.py` and `test_follower.py`). Numbers are cases; each one is counted, and the test fails if
a file has more or fewer.

The public API has no suites 4 and 6: its provider, AWS-LC, has no X448 and no Ed448. All others are played: 1, 2, 3, 5
and 7. Two cases of the registry's copy are wrong, and refused by both: in its `crypto-basics.json` the signatures of
suites 5 and 7 are made with SHA-256, where RFC 9420 section 17.1 has SHA-512 and SHA-384.

## What is played

| file | through | what of it | suites | registry | working group |
| --- | --- | --- | --- | --- | --- |
"""


def of(number: int, total: int) -> str:
    return f"{number} of {total}"


def written() -> str:
    manifest = (REPOSITORY / "interop" / "vectors" / "Cargo.toml").read_text()
    (release,) = [line.split('"')[1] for line in manifest.splitlines() if line.startswith("openmls = ")]
    older = [name for name, copies in COUNTS.items() if WORKING_GROUP in copies]
    page = HEAD.format(files=len(COUNTS), crate=f"`openmls {release}`", same=len(COUNTS) - len(older), older=len(older))
    for run in RUNS:
        named = set().union(*(run.expected(copy) for copy in COUNTS[run.file])) - {NO_SUITE}
        shown = ", ".join(map(str, sorted(named))) or "none in it"
        numbers = [
            of(sum(run.expected(copy).values()), sum(COUNTS[run.file][copy].values()))
            if copy in COUNTS[run.file]
            else "the same"
            for copy in (REGISTRY, WORKING_GROUP)
        ]
        page += f"| {run.file} | {run.through} | {run.what} | {shown} | {' | '.join(numbers)} |\n"
    page += "\n## What the public API cannot reach\n\n| file | why |\n| --- | --- |\n"
    page += "".join(f"| {name} | {why} |\n" for name, why in sorted(NOT_REACHED.items()))
    names = ", ".join(f"`{name}`" for name in sorted(OF_OPENMLS))
    return page + f"\nThe crate holds three more files, {names}. They are OpenMLS's own, in forms of its own.\n"


def test_the_page_is_what_is_played() -> None:
    assert PAGE.read_text() == written()


if __name__ == "__main__":
    Path(PAGE).write_text(written())
