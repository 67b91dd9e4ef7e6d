"""What the MLS door refuses, and how it is told. docs/reference/mls-errors.md is written from these tables."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import twins
from clients import Circle, circle, client
from rogue import Member
from world import plain

from mlsrtc.adapters.mls_storage import SqliteStorage
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError, StoreError
from mlsrtc.mls import (
    Client,
    Credential,
    Group,
    KeyPackage,
    Limits,
    MemoryStorage,
    Observer,
    Proposal,
    Secret,
    SigningKey,
    Storage,
    Successor,
    external_senders,
    inspect_commit,
    inspect_group_info,
    inspect_key_package,
    inspect_tree,
    inspect_welcome,
    interim_transcript_hash,
    random_bytes,
    required_capabilities,
    verify_signature,
)

KEY = {b"door": Secret(b"d" * 32)}
MESSAGE, BODY = 0xF004, 0xF005


class World:
    """Two members, a stranger, and what they have made. Nothing in it is ever changed."""

    def __init__(self) -> None:
        self.at: Circle = circle("ann", "ben", "cal", limits=Limits(past_epochs=1))
        self.ann, self.ben, self.cal = (self.at[name] for name in ("ann", "ben", "cal"))
        self.client: Client = self.at.clients["ben"]
        self.stranger = client("stranger")
        self.package = self.stranger.key_package()
        self.update = self.ann.commit()
        self.proposal = self.ann.propose(Proposal.update())
        self.added = self.ann.commit(add=[self.package.public])
        self.sent = self.cal.encrypt(b"hello")
        self.ended_by = self.ann.commit(proposals=[Proposal.reinit(b"next")])
        self.ended = self.ended_by.group
        self.info = self.ann.group_info(with_tree=True)
        self.observer = Observer.observe(self.info)

    def join(self, welcome: bytes, *packages: KeyPackage, **options: Any) -> Group:
        return self.stranger.join(welcome, packages or [self.package], **options)

    @property
    def welcome(self) -> bytes:
        assert self.added.welcome is not None
        return self.added.welcome


@cache
def world() -> World:
    return World()


def flipped(message: bytes, from_end: int = 1) -> bytes:
    place = len(message) - from_end
    return message[:place] + bytes([message[place] ^ 1]) + message[place + 1 :]


def swapped(message: bytes, old: bytes, new: bytes) -> bytes:
    assert message.count(old) >= 1
    return message.replace(old, new, 1)


def wiped() -> Secret:
    value = Secret(b"x")
    value.wipe()
    return value


def far_ahead(number: int) -> bytes:
    at = world().at["ann"]
    for _ in range(number):
        sent = at.encrypt(b"")
        at = sent.group
    return sent.message


def replayed() -> object:
    opened = world().ann.decrypt(world().sent.message)
    return opened.group.decrypt(world().sent.message)


def twice() -> object:
    at = circle("ann", "ben")["ann"]
    at.encrypt(b"one")
    return at.encrypt(b"two")


def taken_over() -> object:
    """The joiner's own rule allows it, and the members' does not."""
    owner = Client(b"\0\1u\0\1d", SigningKey.generate()).create_group(b"group")
    loose = Client(b"\0\1v\0\1d", SigningKey.generate(), successor=Successor.first_fields(0))
    return owner.stage(loose.join_external(owner.group_info(with_tree=True), remove=0).message)


def renamed() -> object:
    """The committer's own rule allows it, and the members' does not."""
    anybody = Successor.first_fields(0)
    owner = Client(b"\0\1u\0\1d", SigningKey.generate(), successor=anybody)
    other = Client(b"\0\1w\0\1d", SigningKey.generate())
    package = other.key_package()
    made = owner.create_group(b"group").commit(add=[package.public])
    loose = Client(b"\0\1v\0\1d", SigningKey.generate(), successor=anybody)
    return other.join(welcomed(made), package, tree=made.tree).stage(made.group.commit(client=loose).message)


@dataclass(frozen=True)
class Case:
    name: str
    act: Callable[[World], object]
    reason: str
    where: str = ""
    section: str = ""


def rfc(*sections: str) -> str:
    return f"RFC 9420 section{'s' * (len(sections) > 1)} {', '.join(sections)}"


TLS = rfc("2.1")

REMOTE = {
    "Any message": [
        Case("noise", lambda w: w.ben.stage(b"noise"), "unsupported_version", "commit", rfc("6")),
        Case("nothing", lambda w: w.ben.stage(b""), "truncated", "commit", rfc("2.1")),
        Case(
            "a byte too many", lambda w: w.ben.stage(w.update.message + b"\0"), "trailing_bytes", "commit", rfc("2.1")
        ),
        Case("cut short", lambda w: w.ben.stage(w.update.message[:-1]), "truncated", "commit", rfc("2.1")),
        Case(
            "another version",
            lambda w: w.ben.stage(b"\0\2" + w.update.message[2:]),
            "unsupported_version",
            "commit",
            rfc("6"),
        ),
        Case("of another kind", lambda w: w.ben.stage(w.welcome), "wrong_message_type", "commit", rfc("6")),
    ],
    "Commits": [
        Case("our own, with a path", lambda w: w.ann.stage(w.update.message), "own_message", "commit", rfc("12.4.2")),
        Case(
            "our own, encrypted",
            lambda w: w.ann.stage(w.ann.commit(add=[w.package.public], private=True).message),
            "own_message",
            "commit",
            rfc("12.4.2"),
        ),
        Case(
            "of another group",
            lambda w: circle("ann", "ben")["ben"].stage(client("x").create_group(b"other").commit().message),
            "wrong_group",
            "commit",
            rfc("6"),
        ),
        Case(
            "of a past epoch",
            lambda w: w.update.group.stage(w.ben.commit().message),
            "wrong_epoch",
            "commit",
            rfc("12.4.2"),
        ),
        Case(
            "another membership tag",
            lambda w: w.ben.stage(flipped(w.update.message)),
            "bad_membership_tag",
            "commit",
            rfc("6.2"),
        ),
        Case(
            "another confirmation tag, from outside",
            lambda w: w.ben.stage(flipped(client("dan").join_external(w.info).message)),
            "bad_confirmation_tag",
            "commit",
            rfc("6.1"),
        ),
        Case(
            "other authenticated data, from outside",
            lambda w: w.ben.stage(
                swapped(client("dan").join_external(w.info, authenticated_data=b"one").message, b"one", b"two")
            ),
            "bad_signature",
            "commit",
            rfc("6.1", "7.2", "7.3", "10.1", "12.4.3.2"),
        ),
        Case(
            "a proposal we have not heard",
            lambda w: w.cal.stage(w.ben.with_proposal(w.proposal.message).commit().message),
            "unknown_proposal",
            "commit",
            rfc("12.4"),
        ),
        Case(
            "the secret of an epoch we were not in",
            lambda w: w.join(w.welcome, tree=w.added.tree).stage(
                w.added.group.commit(proposals=[Proposal.resumption_psk(1)]).message
            ),
            "missing_psk",
            "commit",
            rfc("8.4"),
        ),
        Case(
            "another pre-shared key than ours",
            lambda w: w.ben.stage(
                w.ann.commit(proposals=[Proposal.psk(b"door")], psks=KEY).message, psks={b"door": Secret(b"other")}
            ),
            "bad_confirmation_tag",
            "commit",
            rfc("6.1"),
        ),
        Case(
            "from outside, removing somebody else",
            lambda w: taken_over(),
            "bad_successor",
            "commit",
            rfc("12.4.3.2"),
        ),
        Case(
            "a new credential that is none of ours",
            lambda w: renamed(),
            "bad_successor",
            "commit",
            rfc("5.3.1"),
        ),
        Case(
            "from outside, by a client without what the group requires",
            lambda w: demanding().stage(client("dan").join_external(demanding().group_info(with_tree=True)).message),
            "bad_capabilities",
            "commit",
            rfc("7.3", "11.1", "12.1.7"),
        ),
        Case(
            "after the group has ended",
            lambda w: after_the_end().stage(sent_after_the_end("commit")),
            "group_ended",
            "commit",
            rfc("12.4.2"),
        ),
        Case("a proposal", lambda w: w.ben.stage(w.proposal.message), "wrong_message_type", "commit", rfc("6")),
    ],
    "Proposals": [
        Case(
            "a commit",
            lambda w: w.ben.with_proposal(w.update.message),
            "wrong_message_type",
            "proposal",
            rfc("6"),
        ),
        Case(
            "our own, encrypted",
            lambda w: privately_proposed()["ann"].with_proposal(private_proposal()),
            "own_message",
            "proposal",
            rfc("9.2"),
        ),
        Case(
            "encrypted, and changed on the way",
            lambda w: privately_proposed()["ben"].with_proposal(flipped(private_proposal())),
            "crypto_refused",
            "proposal",
            rfc("6.3.1", "6.3.2"),
        ),
        Case(
            "of a past epoch",
            lambda w: w.update.group.with_proposal(w.proposal.message),
            "wrong_epoch",
            "proposal",
            rfc("12.1"),
        ),
        Case(
            "another membership tag",
            lambda w: w.ben.with_proposal(flipped(w.proposal.message)),
            "bad_membership_tag",
            "proposal",
            rfc("6.2"),
        ),
        Case(
            "from outside, by who is not named",
            lambda w: w.ann.with_proposal(served(b"door").propose(Proposal.psk(b"key"))),
            "bad_sender",
            "proposal",
            rfc("12.1.8"),
        ),
        Case(
            "after the group has ended",
            lambda w: after_the_end().with_proposal(sent_after_the_end("proposal")),
            "group_ended",
            "proposal",
            rfc("12.4.2"),
        ),
    ],
    "Application messages": [
        Case("our own", lambda w: w.cal.decrypt(w.sent.message), "own_message", "message", rfc("9.2")),
        Case("a second time", lambda w: replayed(), "message_key_gone", "message", rfc("9.1")),
        Case(
            "too many are missing before it",
            lambda w: strict("ben").decrypt(far_ahead(4)),
            "too_far_ahead",
            "message",
            rfc("9.1"),
        ),
        Case(
            "changed on the way",
            lambda w: w.ann.decrypt(flipped(w.sent.message)),
            "crypto_refused",
            "message",
            rfc("6.3.1", "6.3.2"),
        ),
        Case(
            "of an epoch that is not kept",
            lambda w: w.update.group.commit().group.commit().group.decrypt(w.sent.message),
            "wrong_epoch",
            "message",
            rfc("6"),
        ),
        Case(
            "late, of somebody who has left",
            lambda w: w.ann.commit(remove=[2]).group.decrypt(w.sent.message),
            "unknown_leaf",
            "message",
            rfc("6.1", "6.3.2"),
        ),
        Case(
            "after the group has ended",
            lambda w: after_the_end().decrypt(sent_after_the_end("message")),
            "group_ended",
            "message",
            rfc("12.4.2"),
        ),
        Case("a proposal", lambda w: w.ben.decrypt(private_proposal()), "wrong_message_type", "message", rfc("6.3")),
    ],
    "Key packages": [
        Case(
            "another signature",
            lambda w: w.ann.commit(add=[flipped(w.package.public)]),
            "bad_signature",
            "commit",
            rfc("6.1", "7.2", "7.3", "10.1", "12.4.3.2"),
        ),
        Case(
            "of another suite",
            lambda w: w.ann.commit(add=[client("dan", 3).key_package().public]),
            "wrong_suite",
            "key_package",
            rfc("10.1"),
        ),
        Case(
            "of another suite, to branch",
            lambda w: w.ann.branch(b"aside", [client("ben", 3).key_package().public]),
            "wrong_suite",
            "key_package",
            rfc("10.1"),
        ),
        Case(
            "of another suite, to go on in the group that follows",
            lambda w: w.ended.reinitialize(w.at.clients["ann"], [client("ben", 3).key_package().public]),
            "wrong_suite",
            "key_package",
            rfc("10.1"),
        ),
        Case(
            "out of its lifetime",
            lambda w: w.ann.commit(add=[client("dan").key_package(not_before=5, not_after=9).public], now=10),
            "bad_lifetime",
            "commit",
            rfc("7.3"),
        ),
        Case(
            "of a member",
            lambda w: w.ann.commit(add=[client("ben").key_package().public]),
            "duplicate_leaf",
            "commit",
            rfc("7.3"),
        ),
        Case(
            "with a credential that is not believed",
            lambda w: w.ann.commit(
                add=[Client(Credential.custom(BODY, b"x"), SigningKey.generate()).key_package().public]
            ),
            "bad_credential",
            "commit",
            rfc("5.3.1"),
        ),
        Case(
            "without what the group requires",
            lambda w: demanding().commit(add=[w.package.public]),
            "bad_capabilities",
            "commit",
            rfc("7.3", "11.1", "12.1.7"),
        ),
        Case("noise", lambda w: w.ann.commit(add=[b"noise"]), "unsupported_version", "key_package", rfc("6")),
    ],
    "Welcomes": [
        Case(
            "for somebody else",
            lambda w: w.join(w.welcome, w.stranger.key_package(), tree=w.added.tree),
            "no_key_package",
            "welcome",
            rfc("12.4.3.1"),
        ),
        Case(
            "with another tree",
            lambda w: w.join(w.welcome, tree=w.ann.tree()),
            "bad_tree",
            "welcome",
            rfc("12.4.3.3"),
        ),
        Case(
            "changed on the way",
            lambda w: w.join(flipped(w.welcome), tree=w.added.tree),
            "crypto_refused",
            "welcome",
            rfc("12.4.3.1"),
        ),
        Case(
            "of a branch",
            lambda w: w.client.join(branched()[0], branched()[2], tree=branched()[1]),
            "missing_psk",
            "welcome",
            rfc("8.4"),
        ),
        Case(
            "of no branch",
            lambda w: w.ben.join_branch(*no_branch()),
            "bad_psk",
            "welcome",
            rfc("12.4.3.1"),
        ),
    ],
    "GroupInfos": [
        Case(
            "another signature",
            lambda w: client("dan").join_external(flipped(w.ann.group_info()), tree=w.ann.tree()),
            "bad_signature",
            "group_info",
            rfc("7.3", "12.4.3"),
        ),
        Case(
            "of another suite",
            lambda w: client("dan", 3).join_external(w.info),
            "wrong_suite",
            "group_info",
        ),
        Case(
            "observed, of another suite than its tree",
            lambda w: Observer.observe(w.ann.group_info(), circle("x", "y", suite=3)["x"].tree()),
            "bad_tree",
            "group_info",
            rfc("12.4.3.3"),
        ),
    ],
    "Signatures": [
        Case(
            "under another key",
            lambda w: verify_signature(1, SigningKey.generate().public, b"", SigningKey.generate().sign(b"")),
            "bad_signature",
        ),
        Case("of an unknown suite", lambda w: verify_signature(99, b"", b"", b""), "unsupported_suite"),
    ],
    "Reading without a group": [
        Case("no commit", lambda w: inspect_commit(b""), "truncated", "commit.version", TLS),
        Case(
            "a proposal as a commit",
            lambda w: inspect_commit(w.proposal.message),
            "not_a_commit",
            "commit.content_type",
            rfc("6"),
        ),
        Case("no GroupInfo", lambda w: inspect_group_info(b""), "truncated", "group_info.version", TLS),
        Case("no key package", lambda w: inspect_key_package(b""), "truncated", "key_package.version", TLS),
        Case("no Welcome", lambda w: inspect_welcome(b""), "truncated", "welcome.version", TLS),
        Case("a broken tree", lambda w: inspect_tree(b"x"), "truncated", "ratchet_tree.nodes", TLS),
        Case(
            "a commit under another key",
            lambda w: inspect_commit(w.update.message).verify(w.ann.context, SigningKey.generate().public),
            "bad_signature",
            "commit.signature",
            rfc("5.1.2"),
        ),
        Case(
            "a GroupInfo under another key",
            lambda w: inspect_group_info(w.info).verify(SigningKey.generate().public),
            "bad_signature",
            "group_info.signature",
            rfc("5.1.2"),
        ),
        Case(
            "a key package with another signature",
            lambda w: inspect_key_package(flipped(w.package.public)).verify(),
            "bad_signature",
            "key_package",
            rfc("5.1.2"),
        ),
        Case(
            "a transcript hash in an unknown suite",
            lambda w: inspect_commit(w.update.message).transcript(99, b""),
            "unsupported_suite",
            "suite",
            rfc("17.1"),
        ),
        Case(
            "an interim transcript hash in an unknown suite",
            lambda w: interim_transcript_hash(99, b"", b""),
            "unsupported_suite",
            "suite",
            rfc("17.1"),
        ),
        Case(
            "a tree hash in an unknown suite",
            lambda w: inspect_key_package(w.package.public).tree_hash(99, 0),
            "unsupported_suite",
            "suite",
            rfc("17.1"),
        ),
        Case("noise, observed", lambda w: w.observer.follow(b"noise"), "unsupported_version", "commit", rfc("6")),
    ],
}

LOCAL = {
    "Any argument": [
        Case("a number below 0", lambda w: w.ann.commit(remove=[-1]), "out_of_range"),
        Case("a number past its end", lambda w: SigningKey.generate(2**16), "out_of_range"),
        Case("text with a lone surrogate", lambda w: w.ann.export("\ud800", b"", 32), "bad_text"),
    ],
    "Clients and keys": [
        Case("an unknown suite", lambda w: SigningKey.generate(99), "unsupported_suite"),
        Case("a secret that is no key", lambda w: SigningKey.load(1, Secret(bytes(64))), "bad_key"),
        Case("a seed of 31 bytes", lambda w: SigningKey.from_seed(Secret(bytes(31))), "bad_key"),
        Case("a seed for ECDSA", lambda w: SigningKey.from_seed(Secret(bytes(32)), 2), "bad_key"),
        Case("a wiped secret", lambda w: SigningKey.load(1, wiped()), "wiped"),
        Case("to see a wiped secret", lambda w: wiped().expose(), "wiped"),
        Case("no key package", lambda w: KeyPackage.load(Secret(b"x")), "bad_saved_state"),
        Case(
            "an extension twice",
            lambda w: client("x", leaf_extensions=[(BODY, b""), (BODY, b"")]),
            "duplicate_extension",
        ),
        Case(
            "an application_id in a leaf",
            lambda w: client("x", leaf_extensions=[(1, b"\4name")]),
            "unsupported_extension",
            section=rfc("5.3.3"),
        ),
        Case(
            "a leaf's extension that is a GroupContext's",
            lambda w: client("x", leaf_extensions=[external_senders([])]),
            "misplaced_extension",
            section=rfc("17.3"),
        ),
        Case(
            "a key package's extension that is a leaf's",
            lambda w: w.client.key_package(extensions=[(1, b"\4name")]),
            "misplaced_extension",
            section=rfc("17.3"),
        ),
        Case(
            "a chain without a root",
            lambda w: Client(Credential.x509([b"noise"]), SigningKey.generate()),
            "bad_credential",
            section=rfc("5.3.1"),
        ),
        Case(
            "a custom credential of the standard's type",
            lambda w: Credential.custom(1, b""),
            "bad_credential",
            section=rfc("5.3"),
        ),
        Case("an empty chain", lambda w: Credential.x509([]), "bad_credential", section=rfc("5.3")),
        Case(
            "a root that is no certificate",
            lambda w: client("x", roots=[b"noise"]),
            "bad_root",
            section=rfc("5.3.1"),
        ),
        Case(
            "a root that is no certificate, to observe",
            lambda w: Observer.observe(w.info, roots=[b"noise"]),
            "bad_root",
            section=rfc("5.3.1"),
        ),
        Case("too many messages ahead", lambda w: Limits(ahead=2000), "bad_limit"),
        Case(
            "a lifetime the wrong way round", lambda w: w.client.key_package(not_before=2, not_after=1), "bad_lifetime"
        ),
        Case(
            "private keys that do not fit",
            lambda w: KeyPackage.from_keys(w.package.public, Secret(b"x" * 32), Secret(b"y" * 32)),
            "bad_key_package",
        ),
        Case("an empty key of an external sender", lambda w: external_senders([(b"x", b"")]), "bad_key"),
        Case("too many random bytes", lambda w: random_bytes(2**21), "bad_length"),
    ],
    "Groups": [
        Case(
            "a required capability that we lack",
            lambda w: w.client.create_group(b"", extensions=[required_capabilities(proposals=[MESSAGE])]),
            "bad_capabilities",
            section=rfc("7.3", "11.1", "12.1.7"),
        ),
        Case(
            "a GroupContext's extension that is a GroupInfo's",
            lambda w: w.client.create_group(b"", extensions=[(2, b"")]),
            "misplaced_extension",
            section=rfc("17.3"),
        ),
        Case(
            "required capabilities that are noise",
            lambda w: w.client.create_group(b"", extensions=[(3, b"noise")]),
            "bad_extension",
            section=rfc("11.1"),
        ),
        Case(
            "an external sender's key that is none of the suite",
            lambda w: w.client.create_group(b"", extensions=[external_senders([(b"x", b"no")])]),
            "bad_key",
            section=rfc("5.1.1", "12.1.8.1"),
        ),
        Case("somebody else's key package", lambda w: w.client.join(w.welcome, w.package), "wrong_client"),
        Case("somebody else's state", lambda w: w.client.load_group(w.ann.save()), "wrong_client"),
        Case(
            "a state that is not whole",
            lambda w: w.client.load_group(Secret(flipped(w.ben.save().expose()))),
            "bad_saved_state",
        ),
        Case("a key package as a state", lambda w: w.client.load_group(w.package.save()), "bad_saved_state"),
        Case("an exporter that is too long", lambda w: w.ann.export("", b"", 2**14), "bad_length"),
    ],
    "Joining": [
        Case(
            "without a key package", lambda w: w.client.join(w.welcome, []), "no_key_package", section=rfc("12.4.3.1")
        ),
        Case(
            "a branch without a key package",
            lambda w: w.ben.join_branch(branched()[0], [], tree=branched()[1]),
            "no_key_package",
            section=rfc("12.4.3.1"),
        ),
        Case("without the tree", lambda w: w.join(w.welcome), "missing_tree", section=rfc("12.4.3.3")),
        Case(
            "from outside, without the tree",
            lambda w: client("dan").join_external(w.ann.group_info()),
            "missing_tree",
            section=rfc("12.4.3.3"),
        ),
        Case(
            "to observe without the tree",
            lambda w: Observer.observe(w.ann.group_info()),
            "missing_tree",
            section=rfc("12.4.3.3"),
        ),
        Case(
            "without a pre-shared key that the Welcome asks for",
            lambda w: w.join(
                welcomed(w.ann.commit(add=[w.package.public], proposals=[Proposal.psk(b"door")], psks=KEY)),
                tree=w.added.tree,
            ),
            "missing_psk",
            section=rfc("12.4.3.1"),
        ),
    ],
    "Commits and proposals": [
        Case("to remove nobody", lambda w: w.ann.commit(remove=[9]), "unknown_leaf"),
        Case("to remove ourselves", lambda w: w.ann.commit(remove=[0]), "bad_proposal", section=rfc("12.2")),
        Case(
            "an update of our own by value",
            lambda w: w.ann.commit(proposals=[Proposal.update()]),
            "bad_proposal",
            section=rfc("12.2"),
        ),
        Case(
            "a new credential that may not follow on ours",
            lambda w: w.ann.commit(client=client("other")),
            "bad_successor",
            section=rfc("5.3.1"),
        ),
        Case(
            "to propose an update to such a credential",
            lambda w: w.ann.propose(Proposal.update(), client=client("other")),
            "bad_successor",
            section=rfc("5.3.1"),
        ),
        Case(
            "a custom proposal of the standard's type",
            lambda w: Proposal.custom(4, b""),
            "bad_proposal",
            section=rfc("17.4"),
        ),
        Case(
            "a custom proposal that not all understand",
            lambda w: w.ann.commit(proposals=[Proposal.custom(MESSAGE, b"")]),
            "bad_proposal",
            section=rfc("13.2"),
        ),
        Case(
            "to propose such a one",
            lambda w: w.ann.propose(Proposal.custom(MESSAGE, b"")),
            "bad_proposal",
            section=rfc("13.2"),
        ),
        Case(
            "an extension that not all understand",
            lambda w: w.ann.commit(proposals=[Proposal.context_extensions([(BODY, b"")])]),
            "bad_capabilities",
            section=rfc("13.4"),
        ),
        Case(
            "a new GroupContext's extension that is a GroupInfo's",
            lambda w: w.ann.propose(Proposal.context_extensions([(4, b"")])),
            "misplaced_extension",
            section=rfc("17.3"),
        ),
        Case(
            "an end and something else",
            lambda w: w.ann.commit(proposals=[Proposal.reinit(b"next")], remove=[1]),
            "bad_proposal",
            section=rfc("12.2"),
        ),
        Case(
            "to add a key package twice",
            lambda w: w.ann.commit(add=[w.package.public] * 2),
            "duplicate_leaf",
            section=rfc("7.3"),
        ),
        Case(
            "to add our own key package",
            lambda w: w.ben.commit(add=[w.client.key_package().public]),
            "duplicate_leaf",
            section=rfc("7.3"),
        ),
        Case(
            "to stage without a pre-shared key that the commit asks for",
            lambda w: w.ben.stage(w.ann.commit(proposals=[Proposal.psk(b"door")], psks=KEY).message),
            "missing_psk",
            section=rfc("12.4.2"),
        ),
        Case(
            "a pre-shared key that is not given",
            lambda w: w.ann.commit(proposals=[Proposal.psk(b"door")]),
            "missing_psk",
            section=rfc("12.4.2"),
        ),
        Case(
            "an empty pre-shared key",
            lambda w: w.ann.commit(proposals=[Proposal.psk(b"door")], psks={b"door": Secret(b"")}),
            "bad_psk",
        ),
        Case(
            "the secret of an epoch that is not kept",
            lambda w: w.ann.commit(proposals=[Proposal.resumption_psk(9)]),
            "missing_psk",
            section=rfc("8.4"),
        ),
        Case(
            "an end for a suite that we do not know",
            lambda w: w.ann.propose(Proposal.reinit(b"next", suite=99)),
            "unsupported_suite",
        ),
        Case(
            "an end for an extension that not all understand",
            lambda w: w.ann.commit(proposals=[Proposal.reinit(b"next", extensions=[(BODY, b"")])]),
            "bad_capabilities",
            section=rfc("11"),
        ),
        Case("after the group has ended", lambda w: w.ended.commit(), "group_ended", section=rfc("12.4.2")),
        Case(
            "to propose after the group has ended",
            lambda w: w.ended.propose(Proposal.update()),
            "group_ended",
            section=rfc("12.4.2"),
        ),
        Case(
            "to let somebody join after the group has ended",
            lambda w: w.ended.group_info(),
            "group_ended",
            section=rfc("12.4.2"),
        ),
        Case("to go where we are removed", lambda w: w.ben.stage(w.ann.commit(remove=[1]).message).apply(), "removed"),
        Case("unknown padding", lambda w: w.ann.encrypt(b"", padding="much"), "bad_padding"),  # type: ignore[arg-type]
    ],
    "Application messages": [
        Case("too long", lambda w: w.ann.encrypt(bytes(2**29 + 1)), "too_long", section=rfc("2.1.2")),
        Case("with a group that has encrypted before", lambda w: twice(), "spent_key", section=rfc("6.3.1")),
        Case("after the group has ended", lambda w: w.ended.encrypt(b""), "group_ended", section=rfc("12.4.2")),
        Case("while a proposal waits", lambda w: w.proposal.group.encrypt(b""), "commit_required", section=rfc("12.4")),
    ],
    "Groups that follow": [
        Case(
            "after one that has not ended",
            lambda w: w.ann.reinitialize(w.at.clients["ann"], []),
            "wrong_state",
            section=rfc("11.2"),
        ),
        Case(
            "in another suite than was agreed",
            lambda w: w.ended.reinitialize(client("ann", 3), []),
            "wrong_client",
            section=rfc("11.2"),
        ),
        Case(
            "without all members",
            lambda w: w.ended.reinitialize(w.at.clients["ann"], []),
            "not_a_subgroup",
            section=rfc("11.3"),
        ),
        Case(
            "a branch with one's own key package",
            lambda w: w.ben.branch(b"aside", [w.client.key_package().public]),
            "duplicate_leaf",
            section=rfc("7.3"),
        ),
        Case(
            "without the extensions that were agreed on",
            lambda w: agreed().reinitialize(client("ann"), []),
            "bad_capabilities",
            section=rfc("13.4"),
        ),
        Case(
            "a branch under the group's own identifier",
            lambda w: w.ann.branch(w.ann.group_id, [w.client.key_package().public]),
            "bad_group_id",
            section=rfc("11"),
        ),
        Case(
            "a branch with a stranger",
            lambda w: w.ann.branch(b"aside", [w.package.public]),
            "not_a_subgroup",
            section=rfc("11.3"),
        ),
    ],
    "Storage": [
        Case("after it was closed", lambda w: closed().keys(), "closed"),
        Case("from another thread than made it", lambda w: elsewhere(lambda storage: storage.keys()), "other_thread"),
        Case("to close it there", lambda w: elsewhere(lambda storage: storage.close()), "other_thread"),
        Case("a key that is text", lambda w: MemoryStorage().read("x"), "bad_record"),  # type: ignore[arg-type]
        Case(
            "a record that is no secret",
            lambda w: MemoryStorage().write(b"x", {"x": b""}),  # type: ignore[dict-item]
            "bad_record",
        ),
        Case(
            "records that are no mapping",
            lambda w: MemoryStorage().write(b"x", [("x", Secret(b""))]),  # type: ignore[arg-type]
            "bad_record",
        ),
        Case("a secret that was wiped", lambda w: MemoryStorage().write(b"x", {"x": wiped()}), "wiped"),
        Case("in the file ':memory:'", lambda w: SqliteStorage(":memory:"), "bad_path"),
        Case("in a file whose name has a zero byte", lambda w: SqliteStorage("a\0b"), "bad_path"),
    ],
    "From outside": [
        Case(
            "to propose without a sender", lambda w: Observer.observe(w.info).propose(Proposal.remove(1)), "wrong_state"
        ),
        Case(
            "to propose where nobody is named",
            lambda w: Observer.observe(w.info, sender=w.stranger).propose(Proposal.remove(1)),
            "bad_sender",
            section=rfc("12.1.8"),
        ),
        Case(
            "to propose where another is named",
            lambda w: Observer.observe(named().group_info(with_tree=True), sender=w.stranger).propose(
                Proposal.remove(0)
            ),
            "bad_sender",
            section=rfc("12.1.8"),
        ),
        Case(
            "to join again without removing our old leaf",
            lambda w: w.client.join_external(w.info),
            "duplicate_leaf",
            section=rfc("7.3"),
        ),
        Case(
            "to join again under another key, removing somebody else",
            lambda w: Client(b"\0\1u", SigningKey.generate(), successor=Successor.first_fields(0)).join_external(
                fielded().group_info(with_tree=True), remove=1
            ),
            "duplicate_leaf",
            section=rfc("7.3"),
        ),
        Case(
            "to propose an update",
            lambda w: served(b"door").propose(Proposal.update()),
            "bad_proposal",
            section=rfc("12.2"),
        ),
        Case(
            "to propose after the group has ended",
            lambda w: w.observer.follow(w.ended_by.message).propose(Proposal.remove(1)),
            "group_ended",
            section=rfc("12.4.2"),
        ),
        Case(
            "to join with another's key package",
            lambda w: w.client.propose_join(w.info, w.package),
            "wrong_client",
        ),
    ],
}


STORE = {
    "Storage in a file": [
        Case("open in another process, or twice in this one", lambda w: opened_twice(), "locked"),
        Case("no SQLite file", lambda w: of_bytes(b"no database" * 100), "damaged"),
        Case("cut short", lambda w: changed(lambda path: path.write_bytes(path.read_bytes()[:5000])), "damaged"),
        Case("another application's", lambda w: changed_by_sql("PRAGMA application_id = 1"), "not_ours"),
        Case("of a newer version", lambda w: changed_by_sql("PRAGMA user_version = 99"), "newer_schema"),
        Case("in a folder that is not there", lambda w: SqliteStorage("/nowhere/at/all.db"), "no_access"),
    ],
}


def closed() -> Storage:
    with MemoryStorage() as storage:
        return storage


def elsewhere(act: Callable[[Storage], object]) -> object:
    with (
        TemporaryDirectory() as directory,
        SqliteStorage(Path(directory) / "mls.db") as storage,
        ThreadPoolExecutor(1) as pool,
    ):
        return pool.submit(act, storage).result()


def opened_twice() -> object:
    with TemporaryDirectory() as directory, SqliteStorage(Path(directory) / "mls.db"):
        return SqliteStorage(Path(directory) / "mls.db", lock_timeout=0.0)


def of_bytes(content: bytes) -> object:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "mls.db"
        path.write_bytes(content)
        return SqliteStorage(path)


def changed(change: Callable[[Path], object]) -> object:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "mls.db"
        with SqliteStorage(path) as storage:
            storage.write(b"x", {str(number): Secret(bytes(1000)) for number in range(50)})
        change(path)
        return SqliteStorage(path)


def changed_by_sql(statement: str) -> object:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)

    return changed(change)


@cache
def agreed() -> Group:
    """A group that has ended for one with an extension."""
    at = circle("ann", extension_types=[BODY])
    return at["ann"].commit(proposals=[Proposal.reinit(b"next", extensions=[(BODY, b"")])]).group


@cache
def demanding() -> Group:
    owner = client("owner", proposal_types=[MESSAGE])
    return owner.create_group(b"demanding", extensions=[required_capabilities(proposals=[MESSAGE])])


@cache
def named() -> Group:
    """A group that names somebody who proposes from outside."""
    door = SigningKey.generate().public
    return client("owner").create_group(b"named", extensions=[external_senders([(b"door", door)])])


@cache
def fielded() -> Group:
    """A group whose members' credentials are made of fields."""
    owner, other = (Client(name, SigningKey.generate()) for name in (b"\0\1u", b"\0\1v"))
    return owner.create_group(b"fielded").commit(add=[other.key_package().public]).group


@cache
def served(name: bytes) -> Observer:
    """A group's external sender, looking at the group of another world that names it."""
    sender = Client(name, SigningKey.generate())
    group = client("owner").create_group(b"circle", extensions=[external_senders([(name, sender.signing_key.public)])])
    return Observer.observe(group.commit().group.group_info(with_tree=True), sender=sender)


@cache
def rogue_end() -> tuple[Group, Member]:
    """A group that a member has ended who goes on sending in it: how somebody else sees it, and that member."""
    place = plain()
    end = place.rogue.commit([twins.Proposal(twins.REINIT, twins.ReInit(group_id=b"next"))])
    return place.groups[0].stage(end.bytes).apply(), end.after


def after_the_end() -> Group:
    return rogue_end()[0]


def sent_after_the_end(kind: str) -> bytes:
    rogue = deepcopy(rogue_end()[1])
    match kind:
        case "commit":
            return rogue.commit().bytes
        case "proposal":
            return rogue.propose(twins.Proposal(twins.REMOVE, 0)).bytes
        case _:
            return rogue.encrypt(rogue.framed(twins.APPLICATION, b"more")).bytes


def strict(name: str) -> Group:
    """A member of the world's group that has kept a narrower rule."""
    at = world().at
    narrow = Client(name.encode(), at.clients[name].signing_key, limits=Limits(ahead=2))
    return narrow.load_group(at[name].save())


@cache
def privately_proposed() -> Circle:
    return circle("ann", "ben")


@cache
def private_proposal() -> bytes:
    return privately_proposed()["ann"].propose(Proposal.update(), private=True).message


def welcomed(commit: Any) -> bytes:
    assert commit.welcome is not None
    return bytes(commit.welcome)


@cache
def branched() -> tuple[bytes, bytes, KeyPackage]:
    package = world().client.key_package()
    founded = world().ann.branch(b"aside", [package.public])
    return welcomed(founded), founded.tree, package


def no_branch() -> tuple[bytes, KeyPackage]:
    package = world().client.key_package()
    return welcomed(client("x").create_group(b"aside").commit(add=[package.public])), package


@pytest.mark.parametrize("case", [one for table in REMOTE.values() for one in table], ids=lambda case: case.name)
def test_what_others_got_wrong_is_told_as_theirs(case: Case) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        case.act(world())
    error = caught.value
    assert (error.reason, error.where, error.section) == (case.reason, case.where, case.section)


@pytest.mark.parametrize("case", [one for table in LOCAL.values() for one in table], ids=lambda case: case.name)
def test_what_the_caller_got_wrong_is_told_as_the_callers(case: Case) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        case.act(world())
    assert (caught.value.reason, caught.value.section) == (case.reason, case.section)
    assert str(caught.value).startswith(case.reason) or case in LOCAL["Storage"]


@pytest.mark.parametrize("case", [one for table in STORE.values() for one in table], ids=lambda case: case.name)
def test_what_is_wrong_with_a_file_is_told_as_the_stores(case: Case) -> None:
    with pytest.raises(StoreError) as caught:
        case.act(world())
    assert caught.value.reason == case.reason


def test_the_world_is_as_it_was() -> None:
    """After all of this, what is genuine still applies."""
    w = world()
    assert w.ben.stage(w.update.message).apply().epoch_authenticator() == w.update.group.epoch_authenticator()
    assert w.join(w.welcome, tree=w.added.tree).epoch_authenticator() == w.added.group.epoch_authenticator()
    assert w.ann.decrypt(w.sent.message).data == b"hello"


READERS: dict[str, tuple[Callable[[World], bytes], Callable[[bytes], object], Callable[[World, bytes], object]]] = {
    "commit": (lambda w: w.update.message, inspect_commit, lambda w, found: w.ben.stage(found)),
    "key package": (lambda w: w.package.public, inspect_key_package, lambda w, found: w.ann.commit(add=[found])),
    "Welcome": (lambda w: w.welcome, inspect_welcome, lambda w, found: w.join(found, tree=w.added.tree)),
    "GroupInfo": (lambda w: w.info, inspect_group_info, lambda w, found: Observer.observe(found)),
    "tree": (lambda w: w.added.tree, inspect_tree, lambda w, found: w.join(w.welcome, tree=found)),
}


def told(read: Callable[[bytes], object], found: bytes) -> tuple[str, str]:
    with pytest.raises(RemoteProtocolError) as caught:
        read(found)
    return caught.value.reason, caught.value.section


@pytest.mark.parametrize("kind", READERS)
def test_what_cannot_be_read_is_told_alike_with_and_without_a_group(kind: str) -> None:
    """The reader that needs no group is not the engine's: both name what is wrong by one word, and one section."""
    w = world()
    genuine, alone, inside = READERS[kind]
    whole = genuine(w)
    spoiled = [*(whole[:length] for length in range(len(whole))), whole + b"\0"]
    if kind != "tree":
        spoiled += [b"noise", b"\0\2" + whole[2:], whole[:3] + b"\x63" + whole[4:]]
    for found in spoiled:
        assert told(alone, found) == told(partial(inside, w), found)
