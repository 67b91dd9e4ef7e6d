"""docs/design.md says what is built: its numbers are the policy's, and its rows the import contract's."""

import ast
import re
import tomllib
from dataclasses import fields
from enum import Enum
from pathlib import Path

import pages

import mlsrtc
from mlsrtc.policy import Policy

PAGE = (pages.DOCS / "design.md").read_text()
PACKAGE = Path(mlsrtc.__file__).parent


def chapter(title: str) -> str:
    found = re.search(rf"^##+ (?:\d+\. )?{title}\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    lines = [line for line in chapter(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def layers() -> list[list[str]]:
    return [re.findall(r"`(\w+)`", row[1]) for row in rows("The parts")]


def test_the_table_of_numbers_is_the_policy() -> None:
    shown = {row[0].strip("`"): row[1] for row in rows("Numbers")}
    built = {field.name: getattr(Policy(), field.name) for field in fields(Policy)}
    assert shown == {name: str(value.value if isinstance(value, Enum) else value) for name, value in built.items()}


def test_the_numbers_that_are_not_in_force_are_those_that_nothing_reads() -> None:
    named = re.search(r"^Not in force yet: (.*)\.$", chapter("Numbers"), re.MULTILINE)
    listed = set(re.findall(r"`(\w+)`", named[1])) if named else set()
    code = "\n".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    assert listed == {field.name for field in fields(Policy) if not re.search(rf"policy\.{field.name}\b", code)}


def test_every_part_of_the_package_stands_in_one_row() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    parts = found - {"__init__", "__main__", "__pycache__"} | {"_core"}
    listed = [module for layer in layers() for module in layer]
    assert sorted(listed) == sorted(parts)


def test_the_rows_stand_in_the_order_of_the_import_contract() -> None:
    settings = tomllib.loads((pages.DOCS.parent / "pyproject.toml").read_text())
    contract = next(one for one in settings["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    row = {module: number for number, layer in enumerate(layers()) for module in layer}
    rows_of_layers = [{row[module] for module in re.findall(r"\w+", layer)} for layer in contract["layers"]]
    assert all(len(found) == 1 for found in rows_of_layers), "a layer of the contract stands in one row"
    order = [found.pop() for found in rows_of_layers]
    assert order == sorted(order)
    assert len(set(order)) == len(layers())


def test_no_module_takes_from_the_package_itself_what_its_layer_may_not_know() -> None:
    """`from mlsrtc import Session` would pass the import contract, which must let the extension module through."""
    modules = {path.stem for path in PACKAGE.iterdir()} | {"_core"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "mlsrtc":
                assert {name.name for name in node.names} <= modules, path
