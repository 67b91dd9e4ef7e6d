"""Application messages (RFC 9420 sections 6.3, 9 and 15): each key once, out of order, late, padded."""

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import PRIVATE, Circle, circle
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import Client, Group, Limits, Proposal, Secret, suites


def send(at: Circle, author: str, *texts: bytes, padding: str = "step") -> list[bytes]:
    """Messages one after the other, the author going on with each."""
    messages = []
    for text in texts:
        made = at[author].encrypt(text, authenticated_data=b"to all", padding=padding)  # type: ignore[arg-type]
        at.groups[author] = made.group
        messages.append(made.message)
    return messages


def read(at: Circle, reader: str, message: bytes) -> bytes:
    opened = at[reader].decrypt(message)
    at.groups[reader] = opened.group
    return opened.data


def refusal(group: Group, message: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        group.decrypt(message)
    return caught.value.reason


@pytest.mark.parametrize("suite", suites(post_quantum=True))
def test_what_one_encrypts_all_others_read(suite: int) -> None:
    at = circle("ann", "ben", "cal", suite=suite)
    for author in ("ann", "cal", "ann"):
        (message,) = send(at, author, b"hello from " + author.encode())
        assert message.startswith(PRIVATE)
        assert b"to all" in message
        assert b"hello" not in message
        for reader in sorted(set(at.groups) - {author}):
            opened = at[reader].decrypt(message)
            assert opened.data == b"hello from " + author.encode()
            assert opened.authenticated_data == b"to all"
            assert (opened.sender, opened.epoch) == (at[author].own_leaf, 1)
            at.groups[reader] = opened.group
        assert refusal(at[author], message) == "own_message"


def test_a_group_that_has_encrypted_is_spent() -> None:
    """Two messages under one key would be told apart by 32 random bits only, and nobody could read the second."""
    at = circle("ann", "ben")
    old = at["ann"]
    made = old.encrypt(b"one")
    with pytest.raises(LocalProtocolError, match="spent_key"):
        old.encrypt(b"two")
    again = made.group.encrypt(b"two")
    assert [at["ben"].decrypt(message).generation for message in (made.message, again.message)] == [0, 1]


def test_every_value_of_one_epoch_shares_the_count() -> None:
    """One commit staged twice, one state loaded twice, a value from before a proposal: none repeats a key."""
    at = circle("ann", "ben")
    commit = at["ben"].commit()
    staged = at["ann"].stage(commit.message)
    ways = [staged.apply(), staged.apply(), at["ann"].stage(commit.message).apply()]
    ways += [at.clients["ann"].load_group(ways[0].save()) for _ in range(2)]
    first = ways[0].encrypt(b"one")
    for other in ways:
        with pytest.raises(LocalProtocolError, match="spent_key"):
            other.encrypt(b"two")
    loaded = at.clients["ann"].load_group(first.group.save())
    second = loaded.encrypt(b"two")
    with pytest.raises(LocalProtocolError, match="spent_key"):
        first.group.encrypt(b"three")
    assert [commit.group.decrypt(one.message).generation for one in (first, second)] == [0, 1]


def test_a_state_that_was_saved_after_a_message_goes_on_after_it_though_nobody_holds_the_epoch() -> None:
    at = circle("ann", "ben")
    send(at, "ann", *[b"x"] * 5)
    state = at["ann"].save()
    del at.groups["ann"]
    at.groups["ann"] = at.clients["ann"].load_group(state)
    (message,) = send(at, "ann", b"the sixth")
    assert at["ben"].decrypt(message).generation == 5


def test_of_threads_that_encrypt_with_one_group_one_succeeds() -> None:
    at = circle("ann", "ben")

    def attempt(number: int) -> bytes | None:
        try:
            return at["ann"].encrypt(b"%d" % number).message
        except LocalProtocolError as error:
            assert "spent_key" in str(error)
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [message for message in pool.map(attempt, range(64)) if message is not None]
    assert len(made) == 1
    assert at["ben"].decrypt(made[0]).generation == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_group_that_came_over_a_fork_does_not_encrypt() -> None:
    """Parent and child hold the same keys, and neither sees what the other used."""
    at = circle("ann", "ben")
    child = os.fork()
    if child == 0:
        try:
            at["ann"].encrypt(b"from the child")
        except LocalProtocolError as error:
            os._exit(0 if "forked" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    (message,) = send(at, "ann", b"from the parent")
    assert read(at, "ben", message) == b"from the parent"


def test_a_message_opens_once() -> None:
    at = circle("ann", "ben")
    (message,) = send(at, "ann", b"once")
    before = at["ben"]
    assert read(at, "ben", message) == b"once"
    assert refusal(at["ben"], message) == "message_key_gone"
    at.reload()
    assert refusal(at["ben"], message) == "message_key_gone"
    assert before.decrypt(message).data == b"once"


def test_messages_are_read_in_any_order_and_after_restarts() -> None:
    at = circle("ann", "ben", "cal")
    messages = [
        (text, send(at, author, text)[0])
        for author, text in [("ann", b"a%d" % number) for number in range(20)]
        + [("cal", b"c%d" % n) for n in range(20)]
    ]
    random.Random(7).shuffle(messages)
    for number, (text, message) in enumerate(messages):
        assert read(at, "ben", message) == text
        if number % 10 == 0:
            at.reload()
    assert {refusal(at["ben"], message) for _, message in messages} == {"message_key_gone"}


def test_how_far_ahead_and_behind_is_a_rule() -> None:
    at = circle("ann", "ben", limits=Limits(ahead=3, behind=2))
    messages = send(at, "ann", *[b"%d" % number for number in range(12)])
    assert refusal(at["ben"], messages[4]) == "too_far_ahead"
    assert read(at, "ben", messages[3]) == b"3"
    assert refusal(at["ben"], messages[1]) == "message_key_gone"
    assert read(at, "ben", messages[2]) == b"2"
    assert refusal(at["ben"], messages[8]) == "too_far_ahead"
    assert read(at, "ben", messages[7]) == b"7"
    assert [refusal(at["ben"], messages[number]) for number in (4, 5)] == ["message_key_gone"] * 2
    assert read(at, "ben", messages[6]) == b"6"


def test_the_limits_themselves_are_limited() -> None:
    assert Limits() == Limits(ahead=1024, behind=128, past_epochs=0)
    with pytest.raises(LocalProtocolError, match="bad_limit"):
        Limits(ahead=1025)


def test_an_insider_that_jumps_ahead_does_not_make_the_state_grow() -> None:
    """The engine keeps the key of every message that was skipped: those too far behind are dropped here."""
    at = circle("ann", "ben", limits=Limits(ahead=1024, behind=16))
    sizes = []
    for _ in range(6):
        *_, last = send(at, "ann", *[b"x"] * 600)
        assert read(at, "ben", last) == b"x"
        sizes.append(len(at["ben"].save()))
    assert max(sizes) - min(sizes) < 100, sizes
    assert sizes[0] < len(at["ann"].save()) + 16 * 80


@pytest.mark.parametrize("reload", [False, True], ids=["kept", "saved and loaded"])
def test_late_messages_of_past_epochs_are_read_while_they_are_kept(reload: bool) -> None:
    at = circle("ann", "ben", "cal", limits=Limits(past_epochs=2))
    late = {}
    for epoch in (1, 2, 3, 4):
        late[epoch] = send(at, "ann", b"first of %d" % epoch, b"second of %d" % epoch)
        at.commit("cal")
        if reload:
            at.reload()
    for epoch in (1, 2):
        assert refusal(at["ben"], late[epoch][0]) == "wrong_epoch"
    for epoch in (4, 3):
        opened = at["ben"].decrypt(late[epoch][1])
        assert (opened.data, opened.epoch, opened.generation) == (b"second of %d" % epoch, epoch, 1)
        at.groups["ben"] = opened.group
        if reload:
            at.reload()
        assert refusal(at["ben"], late[epoch][1]) == "message_key_gone"
        assert read(at, "ben", late[epoch][0]) == b"first of %d" % epoch
    at.commit("ann")
    assert refusal(at["ben"], late[3][0]) == "wrong_epoch"


def test_a_message_that_was_read_in_time_is_not_read_again_when_it_is_late() -> None:
    at = circle("ann", "ben", limits=Limits(past_epochs=1))
    first, second = send(at, "ann", b"in time", b"late")
    assert read(at, "ben", first) == b"in time"
    at.commit("ann")
    assert refusal(at["ben"], first) == "message_key_gone"
    assert read(at, "ben", second) == b"late"


def test_without_past_epochs_nothing_of_them_is_kept() -> None:
    at = circle("ann", "ben")
    (message,) = send(at, "ann", b"late")
    at.commit("ann")
    assert refusal(at["ben"], message) == "wrong_epoch"
    key = at.clients["ben"].signing_key
    at.clients["ben"] = Client(b"ben", key, limits=Limits(past_epochs=5))
    at.reload()
    assert refusal(at["ben"], message) == "wrong_epoch"


def test_a_late_message_of_somebody_who_has_left_is_refused() -> None:
    """Its leaf may be somebody else's now, and the engine keeps no credentials of the past."""
    at = circle("ann", "ben", "cal", limits=Limits(past_epochs=3))
    (message,) = send(at, "cal", b"before I go")
    before = at["ben"]
    at.commit("ann", remove=[2])
    assert refusal(at["ben"], message) == "unknown_leaf"
    assert before.decrypt(message).data == b"before I go"


def test_a_state_without_messages_and_past_epochs_has_its_first_form() -> None:
    """Calls use neither: what they save must not grow. The fifth byte is the version of the form."""
    at = circle("ann", "ben")
    at.commit("ann")
    assert {group.save().expose()[:5] for group in at.groups.values()} == {b"MLSg\1"}
    size = len(at["ben"].save())
    (message,) = send(at, "ann", b"a message")
    assert at["ann"].save().expose()[:5] == b"MLSg\2"
    read(at, "ben", message)
    assert at["ben"].save().expose()[:5] == b"MLSg\2"
    at.commit("ben")
    assert at["ben"].save().expose()[:5] == b"MLSg\1"
    assert abs(len(at["ben"].save()) - size) < 64


def test_who_knows_a_proposal_commits_before_it_writes() -> None:
    at = circle("ann", "ben")
    made = at["ann"].propose(Proposal.update())
    for group in (made.group, at["ben"].with_proposal(made.message)):
        with pytest.raises(LocalProtocolError, match="commit_required"):
            group.encrypt(b"too early")


def test_only_application_messages_are_opened() -> None:
    at = circle("ann", "ben")
    commit = at["ann"].commit(private=True)
    proposal = at["ben"].propose(Proposal.update(), private=True)
    for message in (commit.message, proposal.message, commit.group_info, at["ann"].commit().message):
        assert refusal(at["ben"], message) == "wrong_message_type"
    assert refusal(at["ben"], b"noise") == "unsupported_version"
    (message,) = send(at, "ann", b"text")
    for other in (at["ben"].stage, at["ben"].with_proposal):
        with pytest.raises(RemoteProtocolError) as caught:
            other(message)
        assert caught.value.reason == "wrong_message_type"
    stranger = circle("ann", "ben")
    assert refusal(stranger["ben"], message) in {"crypto_refused", "malformed", "truncated"}


def test_every_message_that_was_changed_on_the_way_is_refused_and_changes_nothing() -> None:
    at = circle("ann", "ben")
    (message,) = send(at, "ann", b"as it was")
    before = at["ben"].save()
    for position in range(len(message)):
        bad = bytearray(message)
        bad[position] ^= 1 << (position % 8)
        assert refusal(at["ben"], bytes(bad))
        assert refusal(at["ben"], message[:position]) == "truncated"
    assert refusal(at["ben"], message + b"\0") == "trailing_bytes"
    assert at["ben"].save() == before
    assert read(at, "ben", message) == b"as it was"


def test_padding_hides_the_length() -> None:
    at = circle("ann", "ben")
    for padding, sizes in (("none", 200), ("step", 8), ("padme", 40)):
        lengths = {len(send(at, "ann", bytes(length), padding=padding)[0]) for length in range(1, 201)}
        assert len(lengths) <= sizes
        if padding == "none":
            assert len(lengths) > 190
    for padding in ("none", "step", "padme"):
        (message,) = send(at, "ann", b"text", padding=padding)
        opened = at["ben"].decrypt(message)
        assert opened.data == b"text"
    with pytest.raises(LocalProtocolError, match="bad_padding"):
        at["ann"].encrypt(b"", padding="much")  # type: ignore[arg-type]


def test_no_repr_shows_what_was_written() -> None:
    at = circle("ann", "ben")
    made = at["ann"].encrypt(b"a secret of ours")
    opened = at["ben"].decrypt(made.message)
    assert "secret" not in repr(made) + repr(opened) + repr(made.group)
    assert repr(opened) == "Received(from leaf 0, epoch 1, 16 bytes)"


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_every_message_is_read_exactly_once_whatever_the_order(data: st.DataObject) -> None:
    at = circle("ann", "ben", "cal", limits=Limits(past_epochs=2))
    waiting: list[tuple[int, str, bytes, bytes]] = []
    read_by_ben = set()
    for number in range(30):
        match data.draw(st.sampled_from(["send", "send", "read", "read", "commit", "restart"]), label="step"):
            case "send":
                author = data.draw(st.sampled_from(["ann", "cal"]), label="author")
                text = b"%d" % number
                waiting.append((at[author].epoch, author, text, send(at, author, text)[0]))
            case "commit":
                at.commit(data.draw(st.sampled_from(["ann", "ben", "cal"]), label="committer"))
            case "restart":
                at.reload()
            case "read" if waiting:
                epoch, author, text, message = data.draw(st.sampled_from(waiting), label="message")
                if at["ben"].epoch - epoch > 2:
                    assert refusal(at["ben"], message) == "wrong_epoch"
                elif message in read_by_ben:
                    assert refusal(at["ben"], message) == "message_key_gone"
                else:
                    opened = at["ben"].decrypt(message)
                    assert (opened.data, opened.sender, opened.epoch) == (text, at[author].own_leaf, epoch)
                    at.groups["ben"] = opened.group
                    read_by_ben.add(message)


def test_states_with_messages_that_lie_are_refused() -> None:
    at = circle("ann", "ben", limits=Limits(past_epochs=2))
    (message,) = send(at, "ann", b"text")
    read(at, "ben", message)
    at.commit("ann")
    send(at, "ben", b"more")
    state = at["ben"].save().expose()
    for position in range(0, len(state), 7):
        bad = bytearray(state)
        bad[position] ^= 1
        with pytest.raises(LocalProtocolError, match="bad_saved_state"):
            at.clients["ben"].load_group(Secret(bytes(bad)))
