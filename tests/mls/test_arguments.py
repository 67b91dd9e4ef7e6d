"""Every argument of every function of the binary: what is no value for it is refused by its name."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from clients import circle, client
from test_stub import CLASSES, FUNCTIONS, decorators, described

from mlsrtc import _core
from mlsrtc.errors import LocalProtocolError
from mlsrtc.mls import (
    Client,
    Group,
    Observer,
    Proposal,
    Secret,
    SigningKey,
    Successor,
    external_senders,
    inspect_commit,
    inspect_group_info,
    inspect_key_package,
    random_bytes,
    required_capabilities,
)


def owner(name: str) -> Any:
    """A value of a class that has methods with arguments, or the class itself for what it makes without one."""
    group = circle("ann", "ben")["ann"]
    values: dict[str, Callable[[], Any]] = {
        "SigningKey": SigningKey.generate,
        "Client": lambda: client("ann"),
        "Group": lambda: group,
        "Observer": lambda: Observer.observe(group.group_info(with_tree=True)),
        "LeafFacts": lambda: inspect_key_package(client("dan").key_package().public),
        "CommitFacts": lambda: inspect_commit(group.commit().message),
        "GroupInfoFacts": lambda: inspect_group_info(group.group_info()),
    }
    return values[name]() if name in values else getattr(_core, name)


def sample(kind: str) -> Any:
    """Something of this annotation."""
    values: dict[str, Callable[[], Any]] = {
        "Buffer": lambda: b"",
        "Buffer | Credential": lambda: b"ann",
        "int": lambda: 1,
        "str": lambda: "label",
        "bool": lambda: False,
        "_Padding": lambda: "step",
        "Secret": lambda: Secret(b"x"),
        "SigningKey": SigningKey.generate,
        "Successor": lambda: Successor.SAME_IDENTITY,
        "Limits": _core.Limits,
        "Client": lambda: client("ann"),
        "Proposal": Proposal.update,
        "KeyPackage": lambda: client("ann").key_package(),
        "Mapping[bytes, Secret]": dict,
        "KeyPackage | Sequence[KeyPackage]": list,
        "_Extensions": list,
    }
    return [] if kind.startswith("Sequence") else values[kind]()


@dataclass(frozen=True)
class Argument:
    """One argument of a function, `kind` as annotated without its None. `call` gives it a value, and all others one."""

    function: str
    name: str
    kind: str
    others: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.function}({self.name})"

    def call(self, value: object) -> object:
        class_name, _, method = self.function.rpartition(".")
        if not class_name:
            function = getattr(_core, method)
        elif method == "__new__":
            function = getattr(_core, class_name)
        else:
            function = getattr(owner(class_name), method)
        return function(**{name: sample(kind) for name, kind in self.others}, **{self.name: value})


def arguments() -> Iterator[Argument]:
    functions = [(name, node) for name, node in FUNCTIONS.items()]
    for class_name, body in CLASSES.items():
        members = described(body.body).items()
        functions += [(f"{class_name}.{name}", node) for name, node in members if isinstance(node, ast.FunctionDef)]
    for function, node in functions:
        if "property" in decorators(node):
            continue
        given = [one for one in (*node.args.args, *node.args.kwonlyargs) if one.annotation is not None]
        kinds = {one.arg: ast.unparse(one.annotation).removesuffix(" | None") for one in given if one.annotation}
        needed = {one.arg for one in node.args.args[: len(node.args.args) - len(node.args.defaults)]}
        for name, kind in kinds.items():
            others = [(other, kinds[other]) for other in kinds if other in needed and other != name]
            yield Argument(function, name, kind, tuple(others))


ALL = list(arguments())
BYTES = [one for one in ALL if one.kind.startswith("Buffer")]
NUMBERS = [one for one in ALL if one.kind in {"int", "Sequence[int]"}]
LISTS = [one for one in ALL if one.kind.startswith("Sequence") or one.kind == "_Extensions"]


def told(argument: Argument, value: object) -> str:
    with pytest.raises(TypeError) as caught:
        argument.call(value)
    assert str(caught.value).startswith(f"argument '{argument.name}'")
    return str(caught.value)


def test_the_binary_has_these_arguments() -> None:
    assert (len(ALL), len(BYTES), len(NUMBERS), len(LISTS)) > (100, 30, 25, 15)


@pytest.mark.parametrize("argument", ALL, ids=str)
def test_another_type_is_refused_by_the_arguments_name(argument: Argument) -> None:
    message = told(argument, object())
    assert "wanted, not object" in message
    assert not re.search("enum|variant|extract|Vec|convert", message)


@pytest.mark.parametrize("argument", BYTES, ids=str)
def test_bytes_are_any_buffer_of_bytes_and_nothing_else(argument: Argument) -> None:
    def outcome(value: object) -> object:
        try:
            return type(argument.call(value))
        except Exception as error:
            return repr(error)

    for value in (b"", b"ab"):
        twice = bytes(byte for byte in value for _ in range(2))
        for given in (bytearray(value), memoryview(value), memoryview(bytearray(twice))[::2]):
            assert bytes(given) == value
            assert outcome(given) == outcome(value)
    for wrong in ([97, 98], (97,), "ab", 5, memoryview(b"abcd").cast("i")):
        assert f"not {type(wrong).__name__}" in told(argument, wrong)


@pytest.mark.parametrize("argument", NUMBERS, ids=str)
@pytest.mark.parametrize("number", [-1, 2**64, -(2**70), 10**5000], ids=["-1", "2^64", "-2^70", "10^5000"])
def test_a_number_out_of_range_is_the_callers_own_mistake(argument: Argument, number: int) -> None:
    several = argument.kind.startswith("Sequence")
    with pytest.raises(LocalProtocolError) as caught:
        argument.call([1, number] if several else number)
    assert caught.value.reason == "out_of_range"
    place = ", item 1" if several else ""
    assert str(caught.value).startswith(f"out_of_range: argument '{argument.name}'{place}: not from 0 to ")


@pytest.mark.parametrize("argument", NUMBERS, ids=str)
def test_a_float_and_text_are_no_numbers(argument: Argument) -> None:
    for wrong in (1.0, "1"):
        value = [wrong] if argument.kind.startswith("Sequence") else wrong
        assert f"int wanted, not {type(wrong).__name__}" in told(argument, value)


@pytest.mark.parametrize("argument", LISTS, ids=str)
def test_text_and_bytes_are_no_sequences_of_anything(argument: Argument) -> None:
    for wrong in ("ab", b"ab", bytearray(b"ab"), memoryview(b"ab"), {1: 2}):
        told(argument, wrong)


def test_each_kind_of_number_has_its_own_range() -> None:
    key = SigningKey.generate()
    cases: list[tuple[Callable[[], object], int]] = [
        (lambda: Successor.first_fields(256), 2**8),
        (lambda: SigningKey.generate(70000), 2**16),
        (lambda: Client(b"a", key, extension_types=[2**16]), 2**16),
        (lambda: Proposal.remove(2**32), 2**32),
        (lambda: Proposal.resumption_psk(2**64), 2**64),
        (lambda: external_senders([(b"a", b"b")] * 2) and required_capabilities(proposals=[2**16]), 2**16),
        (lambda: random_bytes(-5), 2**64),
    ]
    for call, end in cases:
        with pytest.raises(LocalProtocolError, match=f"not from 0 to {end - 1}$"):
            call()


def test_a_value_is_told_which_of_its_properties_is_wanted() -> None:
    group = circle("ann", "ben")["ann"]
    package = client("dan").key_package()
    sent = group.propose(Proposal.update())
    cases: list[tuple[Callable[[], object], str]] = [
        (
            lambda: group.commit(add=[package]),
            "argument 'add', item 0: bytes wanted, not KeyPackage (give its .public)",
        ),
        (lambda: Proposal.add(package), "argument 'key_package': bytes wanted, not KeyPackage (give its .public)"),
        (lambda: group.stage(group.commit()), "argument 'message': bytes wanted, not Commit (give its .message)"),
        (lambda: group.with_proposal(sent), "argument 'message': bytes wanted, not Outgoing (give its .message)"),
        (
            lambda: external_senders([(b"a", SigningKey.generate())]),
            "argument 'senders', item 0, the second: bytes wanted, not SigningKey (give its .public)",
        ),
        (
            lambda: client("ann").join(b"", package.public),
            "argument 'key_packages': KeyPackage or a sequence of them wanted, not bytes",
        ),
        (lambda: Client("ann", SigningKey.generate()), "argument 'identity': bytes or Credential wanted, not str"),
    ]
    for call, message in cases:
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value) == message


def test_pairs_and_mappings_say_where_they_are_wrong() -> None:
    group: Group = circle("ann", "ben")["ann"]
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: Proposal.context_extensions([5]), "argument 'extensions', item 0: a pair wanted, not int"),
        (lambda: Proposal.context_extensions([(1,)]), "argument 'extensions', item 0: a pair wanted, not 1 values"),
        (
            lambda: Proposal.context_extensions([(1, "")]),
            "argument 'extensions', item 0, the second: bytes wanted, not str",
        ),
        (lambda: group.commit(psks=[]), "argument 'psks': a mapping wanted, not list"),
        (lambda: group.commit(psks={"a": Secret(b"")}), "argument 'psks', a key of it: bytes wanted, not str"),
        (lambda: group.commit(psks={b"a": b""}), "argument 'psks', a value of it: Secret wanted, not bytes"),
    ]
    for call, message in cases:
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value) == message
    with pytest.raises(LocalProtocolError, match="argument 'extensions', item 1, the first: not from 0 to 65535"):
        Proposal.context_extensions([(1, b""), (-1, b"")])


def test_text_with_a_lone_surrogate_is_the_callers_own_mistake() -> None:
    group = circle("ann", "ben")["ann"]
    calls: list[Callable[[], object]] = [
        lambda: group.export("\ud800", b"", 32),
        lambda: group.sender_keys("a\udfff", b"", []),
    ]
    for call in calls:
        with pytest.raises(LocalProtocolError, match="argument 'label'") as caught:
            call()
        assert caught.value.reason == "bad_text"
    with pytest.raises(LocalProtocolError, match="argument 'padding'"):
        group.encrypt(b"", padding="\ud800")  # type: ignore[arg-type]


def test_what_a_number_raises_itself_is_not_hidden() -> None:
    class Odd:
        def __index__(self) -> int:
            raise RuntimeError("odd")

    with pytest.raises(RuntimeError, match="odd"):
        Proposal.remove(Odd())  # type: ignore[arg-type]


def test_a_buffer_is_read_when_it_is_given() -> None:
    group = circle("ann", "ben")
    data = bytearray(b"hello")
    sent = group["ann"].encrypt(data, authenticated_data=memoryview(b"xchat")[1:])
    secret = Secret(data)
    data[:] = bytes(5)
    opened = group["ben"].decrypt(bytearray(sent.message))
    assert (opened.data, opened.authenticated_data, secret.expose()) == (b"hello", b"chat", b"hello")
