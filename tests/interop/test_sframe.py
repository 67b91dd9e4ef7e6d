"""The crate `sframe` decrypts our frames and we decrypt its, on keys from our groups and calls, in every suite."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import engines
import pytest
from clients import circle
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import INTEROP, Process
from sframing import CallOfThree, member

from mlsrtc.adapters.sframe import Kid, MlsReceiver, MlsSender, Suite, decode_header, encode_header
from mlsrtc.errors import RemoteProtocolError
from wanting import wanting

FRAMES = [(b"", b""), (b"frame", b""), (b"frame", b"beside it"), (bytes(1200), bytes(20)), (b"", b"beside it")]
COUNTERS = [0, 7, 8, 255, 256, 2**32, 2**64 - 1]


@pytest.fixture(scope="module")
def crate() -> Iterator[Process]:
    try:
        peer = engines.sframe()
    except engines.Missing as missing:
        wanting(str(missing))
    yield peer
    peer.close()


def test_it_has_all_suites(crate: Process) -> None:
    assert (crate.name, crate.suites) == ("sframe", list(Suite))


def test_our_vectors_are_those_that_it_carries(crate: Process) -> None:
    command = ["cargo", "metadata", "--locked", "--quiet", "--format-version", "1", "--manifest-path"]
    answer = subprocess.run([*command, INTEROP / "sframe" / "Cargo.toml"], check=True, capture_output=True)
    (package,) = [one for one in json.loads(answer.stdout)["packages"] if one["name"] == "sframe"]
    assert package["version"] == crate.version
    theirs = json.loads(
        Path(package["manifest_path"]).with_name("src").joinpath("test_vectors/test-vectors.json").read_text()
    )
    ours = json.loads((Path(__file__).parents[1] / "vectors" / "sframe.json").read_text())
    assert ours.pop("source")
    assert ours == theirs


@settings(deadline=None)
@given(kid=st.integers(0, 2**64 - 1), counter=st.integers(0, 2**64 - 1) | st.integers(0, 300))
def test_headers(crate: Process, kid: int, counter: int) -> None:
    assert crate.call("header", kid=kid, counter=counter)["message"] == encode_header(kid, counter)


@pytest.mark.parametrize("suite", Suite)
def test_on_keys_of_our_groups(crate: Process, suite: Suite) -> None:
    at = circle("ann", "ben", "cal")
    for _ in range(3):
        base_key = at["ben"].export("SFrame 1.0 Base Key", b"", suite.key_size).expose()
        sender, receiver = MlsSender(at["cal"], suite=suite), MlsReceiver(at["ben"], suite=suite)
        for data, metadata in FRAMES:
            frame = sender.encrypt(data, metadata=metadata)
            kid, counter, _ = decode_header(frame)
            opened = crate.call("open", suite=suite, base_key=base_key, kid=kid, message=frame, metadata=metadata)
            assert opened == {"data": data, "counter": counter}
        for context, counter in enumerate(COUNTERS):
            kid = Kid(context, at["ann"].own_leaf, at["ann"].epoch & 0xFF).number
            for data, metadata in FRAMES[:1] if counter else FRAMES[2:3]:
                fields = {"kid": kid, "counter": counter, "data": data, "metadata": metadata}
                frame = crate.call("seal", suite=suite, base_key=base_key, **fields)["message"]
                theirs = receiver.decrypt(frame, metadata=metadata)
                assert (theirs.data, theirs.counter, theirs.sender.identity) == (data, counter, b"ann")
                with pytest.raises(RemoteProtocolError, match="replayed"):
                    receiver.decrypt(frame, metadata=metadata)
        at.commit("ann", path=True)


@pytest.mark.parametrize("suite", Suite)
def test_on_keys_of_a_call(crate: Process, suite: Suite) -> None:
    call = CallOfThree()
    sender, receiver = call.sender("ann", suite), call.receiver("cal", suite)
    key = call.epochs[-1].keys[member("ann")]
    base_key = key.secret.expose()
    for data, metadata in FRAMES:
        frame = sender.encrypt(data, metadata=metadata)
        kid, counter, _ = decode_header(frame)
        opened = crate.call("open", suite=suite, base_key=base_key, kid=kid, message=frame, metadata=metadata)
        assert opened == {"data": data, "counter": counter}
    for counter, (data, metadata) in enumerate(FRAMES):
        kid = Kid(0, key.leaf, key.index).number
        fields = {"kid": kid, "counter": counter, "data": data, "metadata": metadata}
        frame = crate.call("seal", suite=suite, base_key=base_key, **fields)["message"]
        opened_here = receiver.decrypt(frame, metadata=metadata)
        assert (opened_here.data, opened_here.sender) == (data, key.sender)


@pytest.mark.parametrize("suite", Suite)
def test_it_refuses_what_was_changed(crate: Process, suite: Suite) -> None:
    at = circle("ann", "ben")
    base_key = at["ben"].export("SFrame 1.0 Base Key", b"", suite.key_size).expose()
    frame = MlsSender(at["ann"], suite=suite).encrypt(b"frame", metadata=b"beside it")
    fields = {"suite": suite, "base_key": base_key, "kid": decode_header(frame)[0]}
    requests = [
        ("open", {**fields, "message": frame[:-1] + bytes((frame[-1] ^ 1,)), "metadata": b"beside it"}),
        ("open", {**fields, "message": frame, "metadata": b"beside that"}),
        ("open", {**fields, "message": frame, "metadata": b"beside it"}),
    ]
    changed, elsewhere, genuine = crate.call_all(requests)
    assert isinstance(changed, Exception)
    assert isinstance(elsewhere, Exception)
    assert not isinstance(genuine, Exception)
