"""The group that engines are measured in. It is the same for all of them, and so are the messages that they are given.

Its members are ours. In a *set* tree each joined from outside, so that no node is blank but those that nobody sits
below; in a *blank* one a single commit added them all, so that every node is, and no commit could be larger. The host
is one of the members. It lets an engine in, makes the commits that the engine processes, and follows those that it
makes. A host is a value: whatever an engine did, the next one finds the group as it was.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count

from cipher_suites import SUITES, CipherSuite, labelled
from rogue import key_package_reference
from schedule import Secrets
from twins import (
    RATCHET_TREE,
    EncryptedGroupSecrets,
    Extension,
    GroupInfo,
    GroupSecrets,
    KeyPackage,
    MLSMessage,
    Welcome,
    message,
)

from mlsrtc.mls import Client, Commit, Group, SigningKey

SET, BLANK = "set", "blank"
DAY = 24 * 3600
NUMBERS = count(1)


def newcomer(suite: int) -> Client:
    """Somebody with an identity of eight bytes, as DAVE wants it."""
    return Client(next(NUMBERS).to_bytes(8), SigningKey.generate(suite))


def package(suite: int) -> bytes:
    """A KeyPackage of somebody who will never join."""
    now = int(time.time())
    # OpenMLS takes no leaf that is valid for more than 84 days and an hour.
    return newcomer(suite).key_package(not_before=now - 3600, not_after=now + 80 * DAY).public


@dataclass(frozen=True)
class Invitation:
    """What lets one newcomer in. The tree is in the Welcome, or beside it."""

    welcome: bytes
    tree: bytes | None


@dataclass(frozen=True)
class Host:
    """A member of the group at one epoch."""

    client: Client
    group: Group

    @staticmethod
    def of(
        tree: str, suite: int, members: int, group_id: bytes, extensions: Iterable[tuple[int, bytes]] = ()
    ) -> "Host":
        """In a `set` tree the host is the last of so many leaves, in a `blank` one the first."""
        client = newcomer(suite)
        group = client.create_group(group_id, extensions=list(extensions))
        if tree == BLANK:
            return Host(client, group.commit(add=[package(suite) for _ in range(members - 1)]).group)
        for _ in range(members - 1):
            client = newcomer(suite)
            group = client.join_external(group.group_info(), tree=group.tree()).group
        return Host(client, group)

    def commit(self, *, add: Iterable[bytes] = (), remove: Iterable[int] = ()) -> tuple["Host", bytes]:
        made = self.group.commit(add=list(add), remove=list(remove))
        return replace(self, group=made.group), made.message

    def knows(self, proposal: bytes) -> "Host":
        return replace(self, group=self.group.with_proposal(proposal))

    def follow(self, commit: bytes) -> "Host":
        return replace(self, group=self.group.stage(commit).apply())

    def admit(self, package: bytes, *, tree_in_welcome: bool) -> tuple["Host", Invitation]:
        """Adds the one whose KeyPackage this is, and a witness."""
        witness = Witness.new(self.group.suite)
        made = self.group.commit(add=[package, witness.package])
        assert made.welcome is not None
        after = replace(self, group=made.group)
        if not tree_in_welcome:
            return after, Invitation(made.welcome, made.tree)
        return after, Invitation(witness.rewritten(made, package, self.client.signing_key), None)


@dataclass(frozen=True)
class Witness:
    """Whoever is added can open the Welcome and write it anew, and this one is in our hands. Some engines take the tree
    from the Welcome alone, and ours carry none."""

    suite: CipherSuite
    init_key: bytes
    package: bytes

    @staticmethod
    def new(number: int) -> "Witness":
        suite, client = SUITES[number], newcomer(number)
        init_key = suite.kem.generate()
        draft = MLSMessage.decode(client.key_package().public).body
        draft.init_key = suite.kem.public(init_key)
        draft.signature = client.signing_key.sign(labelled("KeyPackageTBS", draft.unsigned))
        return Witness(suite, init_key, message(draft))

    def rewritten(self, commit: Commit, package: bytes, author: SigningKey) -> bytes:
        """The Welcome of a commit that added both, with the tree in it, for the other one; `author` is the commit's."""
        suite, welcome = self.suite, MLSMessage.decode(commit.welcome or b"").body
        ours = key_package_reference(suite, MLSMessage.decode(self.package).body)
        sealed = next(one.encrypted_group_secrets for one in welcome.secrets if one.new_member == ours)
        secrets = suite.decrypt_with_label(self.init_key, "Welcome", welcome.encrypted_group_info, sealed)
        key = Secrets(suite, GroupSecrets.decode(secrets).joiner_secret, suite.zero, b"").welcome_key()

        info = GroupInfo.decode(suite.aead.open(*key, welcome.encrypted_group_info))
        info.extensions.append(Extension(RATCHET_TREE, commit.tree))
        info.signature = author.sign(labelled("GroupInfoTBS", info.unsigned))
        encrypted = suite.aead.seal(*key, info.encode())

        receiver: KeyPackage = MLSMessage.decode(package).body
        sealed = suite.encrypt_with_label(receiver.init_key, "Welcome", encrypted, secrets)
        joiner = EncryptedGroupSecrets(key_package_reference(suite, receiver), sealed)
        return message(Welcome(cipher_suite=welcome.cipher_suite, secrets=[joiner], encrypted_group_info=encrypted))
