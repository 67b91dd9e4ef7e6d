"""The names of a module as a reference shows them: signatures from the source, and from the stub for the binary core;
explanations from the docstrings, which for the core only the binary has.

No tool reads both halves of a compiled module: from a stub a reference gets types and no words, from a binary words and
no types.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mlsrtc

PACKAGE = Path(mlsrtc.__file__).parent
WIDE = 100
"""Characters of a signature that stand on one line."""

FieldNode = ast.AnnAssign | ast.Assign


@dataclass(frozen=True)
class Entry:
    """One name. `kind`: class, function, property or value; `options`: its keyword-only parameters."""

    name: str
    kind: str
    code: str
    doc: str
    parameters: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    members: tuple["Entry", ...] = ()


@dataclass(frozen=True)
class Source:
    """A module as text and tree; `aliases`: the private names that its stub has for types."""

    module: str
    text: str
    body: Sequence[ast.stmt]
    aliases: Mapping[str, str]

    @property
    def explained(self) -> bool:
        """Whether the docstrings stand in it. A stub has none."""
        return self.module != "mlsrtc._core"

    def lines(self, node: ast.stmt) -> str:
        """As written, with the comment behind it."""
        return "\n".join(self.text.splitlines()[node.lineno - 1 : node.end_lineno])

    def type(self, node: ast.expr | None) -> str:
        text = "None" if node is None else ast.unparse(node)
        for alias, meant in self.aliases.items():
            text = re.sub(rf"\b{alias}\b", meant, text)
        return text


@cache
def source(module: str) -> Source:
    place = PACKAGE.parent.joinpath(*module.split("."))
    file = next(
        one for one in (place / "__init__.py", place.with_suffix(".py"), place.with_suffix(".pyi")) if one.is_file()
    )
    text = file.read_text()
    body = ast.parse(text).body
    aliases = {name: ast.unparse(node.value) for name, node in _fields(body) if name.startswith("_") and node.value}
    return Source(module, text, body, aliases if file.suffix == ".pyi" else {})


def public(module: str) -> list[str]:
    """The names that a module offers: its `__all__`, or what it defines without an underscore."""
    offered = getattr(importlib.import_module(module), "__all__", None)
    if offered is not None:
        return sorted(offered)
    body = source(module).body
    defined = [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    return [name for name in [*defined, *(name for name, _ in _fields(body))] if not name.startswith("_")]


def entry(module: str, name: str) -> Entry:
    """One public name, from the module that defines it."""
    found = source(module)
    for node in found.body:
        if isinstance(node, ast.ImportFrom) and name in {one.name for one in node.names}:
            assert node.module is not None
            return entry(node.module, name)
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _class(found, node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return _function(found, node, "")
    for at, node in enumerate(found.body):
        if isinstance(node, FieldNode) and name in {one for one, _ in _fields([node])}:
            return Entry(name, "value", found.lines(node), _string(found.body[at + 1 : at + 2]))
    raise LookupError(f"{module} has no {name}")


def _fields(body: Sequence[ast.stmt]) -> Iterator[tuple[str, FieldNode]]:
    for node in body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        target = node.targets[0] if isinstance(node, ast.Assign) else target
        if isinstance(target, ast.Name) and isinstance(node, FieldNode):
            yield target.id, node


def _string(body: Sequence[ast.stmt]) -> str:
    """The string that begins a body, as a docstring or as what stands below a value."""
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return inspect.cleandoc(first.value.value)
    return ""


def _doc(found: Source, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, owner: str) -> str:
    if found.explained:
        return _string(node.body)
    thing = importlib.import_module(found.module)
    if owner:
        thing = getattr(thing, owner)
    return inspect.getdoc(getattr(thing, node.name)) or ""


def _parameters(found: Source, arguments: ast.arguments) -> tuple[list[str], list[str]]:
    """Each parameter as written, and the names of those that go by keyword only."""
    places = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(places) - len(arguments.defaults)) + list(arguments.defaults)
    shown = [
        _parameter(found, one, default)
        for one, default in zip(places, defaults, strict=True)
        if one.arg not in {"self", "cls"}
    ]
    if arguments.vararg:
        shown.append("*" + _parameter(found, arguments.vararg, None))
    elif arguments.kwonlyargs:
        shown.append("*")
    options = list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    return shown + [_parameter(found, one, default) for one, default in options], [one.arg for one, _ in options]


def _parameter(found: Source, one: ast.arg, default: ast.expr | None) -> str:
    kind = found.type(one.annotation)
    if default is None:
        return f"{one.arg}: {kind}"
    return f"{one.arg}: {kind} = {ast.unparse(default)}"


def _signature(head: str, parameters: Sequence[str], tail: str = "") -> str:
    line = f"{head}({', '.join(parameters)}){tail}"
    if len(line) <= WIDE:
        return line
    return f"{head}(\n" + "".join(f"    {one},\n" for one in parameters) + f"){tail}"


def _names(parameters: Sequence[str]) -> tuple[str, ...]:
    return tuple(one.partition(":")[0].strip("* ") for one in parameters if one != "*")


def _function(found: Source, node: ast.FunctionDef | ast.AsyncFunctionDef, owner: str) -> Entry:
    decorators = {ast.unparse(one) for one in node.decorator_list}
    doc, result = _doc(found, node, owner), found.type(node.returns)
    if "property" in decorators:
        return Entry(node.name, "property", f"{node.name}: {result}", doc)
    parameters, options = _parameters(found, node.args)
    before = "".join(f"@{one}\n" for one in sorted(decorators & {"staticmethod", "classmethod", "asynccontextmanager"}))
    head = f"{before}{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}def {node.name}"
    code = _signature(head, parameters, f" -> {result}")
    return Entry(node.name, "function", code, doc, _names(parameters), tuple(options))


def _class(found: Source, node: ast.ClassDef) -> Entry:
    doc = _doc(found, node, "")
    methods = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    makers = [one for one in methods if one.name in {"__new__", "__init__"}]
    members = [_function(found, one, node.name) for one in methods if not one.name.startswith("_")]
    fields = [field for name, field in _fields(node.body) if not name.startswith("_")]
    bases = [base for base in map(ast.unparse, node.bases) if base not in {"Protocol", "Closing"}]
    head = f"class {node.name}" + (f"({', '.join(bases)})" if bases else "")
    if makers:
        parameters, options = _parameters(found, makers[0].args)
        code = (f"{head}\n" if bases else "") + _signature(f"{'' if bases else 'class '}{node.name}", parameters)
        return Entry(node.name, "class", code, doc, _names(parameters), tuple(options), tuple(members))
    decorators = "".join(f"@{ast.unparse(one)}\n" for one in node.decorator_list if ast.unparse(one) != "final")
    code = decorators + head + (":" if fields else "") + "".join("\n" + found.lines(field) for field in fields)
    return Entry(node.name, "class", code, doc, tuple(name for name, _ in _fields(node.body)), (), tuple(members))


# -- as Markdown ---------------------------------------------------------------------------------------------


def markdown(doc: str, parameters: Sequence[str] = ()) -> str:
    """A docstring, with its lines about parameters as a list and its examples as code."""
    return "\n\n".join(_paragraph(one, set(parameters)) for one in doc.split("\n\n")).replace("``", "`")


def _paragraph(text: str, parameters: set[str]) -> str:
    if text.startswith(">>>"):
        return f"```pycon\n{text}\n```"
    lines: list[str] = []
    listing = False
    for line in text.splitlines():
        about = re.match(r"(\w+(?:, \w+)*):\s+(?=\S)", line)
        if about and set(about[1].split(", ")) <= parameters:
            names = ", ".join(f"`{name}`" for name in about[1].split(", "))
            lines += ([""] if lines and not listing else []) + [f"* {names}: {line[about.end() :]}"]
            listing = True
        elif line.startswith("Raises ") and listing:
            lines += ["", line]
            listing = False
        else:
            lines.append(f"    {line}" if listing else line)
    return "\n".join(lines)
