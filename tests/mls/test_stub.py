"""The checked-in stub `_core.pyi` and the binary: kept by hand in two places, so compared."""

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import mlsrtc
from mlsrtc import _core, mls

STUB = Path(mlsrtc.__file__).with_name("_core.pyi")
TREE = ast.parse(STUB.read_text())
INHERITED = {"__repr__", "__doc__", "__module__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__eq__"}
"""What every type has; the stub need not say it again."""

COPYREG = {"__slotnames__"}
"""What `copyreg` leaves on a type when somebody tries to pickle it."""


def public(thing: type | ModuleType) -> set[str]:
    """Names the binary defines itself, without what every type or module has."""
    names = {name for name in vars(thing) if not name.startswith("__")}
    if isinstance(thing, type):
        names |= {name for name in vars(thing) if name.startswith("__")} - INHERITED - COPYREG
    return names


def described(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    found: dict[str, ast.stmt] = {}
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = statement
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found[statement.target.id] = statement
    return found


CLASSES = {name: node for name, node in described(TREE.body).items() if isinstance(node, ast.ClassDef)}
FUNCTIONS = {name: node for name, node in described(TREE.body).items() if isinstance(node, ast.FunctionDef)}


def decorators(function: ast.FunctionDef) -> set[str]:
    return {node.id for node in function.decorator_list if isinstance(node, ast.Name)}


NONE = "no default"


def from_stub(function: ast.FunctionDef) -> list[tuple[str, str, object]]:
    """Name, kind and default, for every parameter but self and cls. A default that is no literal is no value here."""
    given = function.args
    missing: list[ast.expr | None] = [None] * (len(given.args) - len(given.defaults))
    found = [(one, "positional", default) for one, default in zip(given.args, [*missing, *given.defaults], strict=True)]
    found += [(one, "keyword", default) for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return [
        (one.arg, kind, NONE if default is None else ast.literal_eval(default))
        for one, kind, default in found
        if one.arg not in {"self", "cls"}
    ]


def from_binary(thing: object) -> list[tuple[str, str, object]]:
    kinds: dict[object, str] = {
        inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional",
        inspect.Parameter.POSITIONAL_ONLY: "positional",
        inspect.Parameter.KEYWORD_ONLY: "keyword",
    }
    parameters = inspect.signature(thing).parameters.values()  # type: ignore[arg-type]
    return [
        (one.name, kinds[one.kind], NONE if one.default is one.empty else one.default)
        for one in parameters
        if one.name != "self"
    ]


def test_no_default_is_left_out() -> None:
    functions = [node for node in ast.walk(TREE) if isinstance(node, ast.FunctionDef)]
    defaults = [default for node in functions for _, _, default in from_stub(node)]
    assert len([one for one in defaults if one != NONE]) > 50
    assert ... not in defaults  # and the binary's are compared with these


def test_the_module_has_the_names_of_the_stub() -> None:
    assert public(_core) - {"_core"} == set(CLASSES) | set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_have_the_signatures_of_the_stub(name: str) -> None:
    assert from_binary(getattr(_core, name)) == from_stub(FUNCTIONS[name])


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_classes_have_the_members_and_signatures_of_the_stub(name: str) -> None:
    binary, stub = getattr(_core, name), described(CLASSES[name].body)
    assert public(binary) - INHERITED - {"__hash__"} == set(stub) - INHERITED - {"__hash__"}
    for member, node in stub.items():
        if not isinstance(node, ast.FunctionDef):
            continue
        found = inspect.getattr_static(binary, member)
        assert ("property" in decorators(node)) == inspect.isgetsetdescriptor(found), member
        assert ("staticmethod" in decorators(node)) == isinstance(found, staticmethod), member
        if member == "__new__":
            assert from_binary(binary) == from_stub(node)
        elif not inspect.isgetsetdescriptor(found) and not member.startswith("__"):
            assert from_binary(getattr(binary, member)) == from_stub(node), member


@pytest.mark.parametrize("name", mls.__all__)
def test_everything_the_door_offers_is_explained(name: str) -> None:
    thing = getattr(mls, name)
    assert inspect.getdoc(thing)
    if isinstance(thing, type):
        for member in public(thing):
            if not member.startswith("_") and member != "SAME_IDENTITY":
                assert inspect.getdoc(getattr(thing, member)), member
