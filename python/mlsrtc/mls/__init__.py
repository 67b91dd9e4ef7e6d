"""RFC 9420 (Messaging Layer Security) in Python: mls-rs, bound. Knows no Matrix, file or socket.

Times are arguments; only `Group.branch` and `Group.reinitialize` look at the system's clock.

State in, state out. A `Group` is one member at one epoch and never changes; what leads on gives a new one:

>>> from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
>>> alice = Client(b"alice", SigningKey.generate())
>>> bob = Client(b"bob", SigningKey.generate())
>>> key_package = bob.key_package() # Bob publishes key_package.public
>>> epoch_0 = alice.create_group(b"a group")
>>> commit = epoch_0.commit(add=[key_package.public])
>>> commit                          # commit.message is for the members, .welcome and .tree are for Bob
Commit(to epoch 1, ... bytes)
>>> at_alice = commit.group         # when the group's order says that this commit is the one
>>> at_bob = bob.join(commit.welcome, key_package, tree=commit.tree)
>>> at_alice.epoch_authenticator() == at_bob.epoch_authenticator()
True

Somebody else's commit is looked at before it is applied, or dropped:

>>> update = at_bob.commit()        # a commit of nothing rekeys Bob's path
>>> staged = at_alice.stage(update.message)
>>> staged.sender, [member.identity for member in staged.updated]
(1, [b'bob'])
>>> at_alice = staged.apply()
>>> at_alice.epoch
2

Secrets for use outside come from the exporter; they are equal for all in the epoch, and new in the next:

>>> at_alice.export("recorder", b"room 7", 32) == update.group.export("recorder", b"room 7", 32)
True
>>> at_alice.export("recorder", b"room 7", 32)
Secret(32 bytes)

Whoever has a signed GroupInfo and the tree can join from outside, and take away the leaf it left behind:

>>> commit = bob.join_external(at_alice.group_info(), tree=at_alice.tree(), remove=1)
>>> staged = at_alice.stage(commit.message)
>>> staged.external, len(staged.removed), len(staged.added)
(True, 1, 1)

What a group knows is saved and loaded as one secret; the client says who we are:

>>> alice.load_group(staged.apply().save())
Group(id=612067726f7570…, epoch=3, own_leaf=0)

Members also write to each other. Each key is used once: go on with the group that comes back.

>>> at_alice, at_bob = staged.apply(), commit.group
>>> sent = at_alice.encrypt(b"hello", authenticated_data=b"chat")
>>> opened = at_bob.decrypt(sent.message)
>>> opened.data, opened.sender
(b'hello', 0)
>>> try:
...     at_alice.encrypt(b"once more with the old group")
... except LocalProtocolError as error:
...     error.reason
'spent_key'
>>> at_alice, at_bob = sent.group, opened.group

A proposal asks for something that somebody else commits:

>>> asked = at_bob.propose(Proposal.update())
>>> at_alice = at_alice.with_proposal(asked.message)
>>> commit = at_alice.commit(proposals=[Proposal.psk(b"door")], psks={b"door": Secret(b"known to both")})
>>> staged = asked.group.stage(commit.message, psks={b"door": Secret(b"known to both")})
>>> sorted((one.proposal.kind, one.sender) for one in staged.proposals)
[('psk', 0), ('update', 1)]

What is wrong with bytes that came from others is raised as `mlsrtc.errors.RemoteProtocolError`, with a reason
that a program can read, and has changed nothing; what a caller asked for in error is raised as
`mlsrtc.errors.LocalProtocolError`. Both have a `reason`.

>>> try:
...     at_alice.stage(b"")
... except RemoteProtocolError as error:
...     error.reason
'truncated'

`Credential` says who somebody is, `Limits` how late messages may be, `Storage` where all of it is kept, and
`inspect_commit` and its siblings read messages without a group. The tutorial in the documentation, of two pages, goes
through every part.

What takes longer than about 50 µs releases the GIL. Order, delivery and which of two rival commits counts are
the application's; for calls in Matrix, the rest of this package takes them.
"""

from mlsrtc._core import (
    Client,
    Commit,
    CommitFacts,
    Credential,
    Founded,
    Group,
    GroupInfoFacts,
    KeyPackage,
    LeafFacts,
    Limits,
    Member,
    Observer,
    Outgoing,
    Proposal,
    Proposed,
    Received,
    ReInit,
    Secret,
    SigningKey,
    Staged,
    Successor,
    WelcomeFacts,
    external_senders,
    inspect_commit,
    inspect_group_info,
    inspect_key_package,
    inspect_tree,
    inspect_welcome,
    interim_transcript_hash,
    random_bytes,
    required_capabilities,
    suites,
    verify_signature,
)
from mlsrtc.mls.storage import MemoryStorage, Storage

__all__ = [
    "Client",
    "Commit",
    "CommitFacts",
    "Credential",
    "Founded",
    "Group",
    "GroupInfoFacts",
    "KeyPackage",
    "LeafFacts",
    "Limits",
    "Member",
    "MemoryStorage",
    "Observer",
    "Outgoing",
    "Proposal",
    "Proposed",
    "ReInit",
    "Received",
    "Secret",
    "SigningKey",
    "Staged",
    "Storage",
    "Successor",
    "WelcomeFacts",
    "external_senders",
    "inspect_commit",
    "inspect_group_info",
    "inspect_key_package",
    "inspect_tree",
    "inspect_welcome",
    "interim_transcript_hash",
    "random_bytes",
    "required_capabilities",
    "suites",
    "verify_signature",
]
