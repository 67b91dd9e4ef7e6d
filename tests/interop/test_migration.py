"""docs/how-to/migrate.md says of other packages what is so: they are asked."""

import ast
import re
import subprocess

import pytest
from engines import python_with
from peers import INTEROP, REPOSITORY

PAGE = (REPOSITORY / "docs" / "how-to" / "migrate.md").read_text()
MODULES = {"rfc9420": "rfc9420", "rine-mls": "rine_mls", "davey": "davey"}


def chapter(package: str) -> str:
    found = re.search(rf"^## From {package}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def sentences(package: str) -> list[str]:
    """The list of what is different, each item on one line."""
    listed = re.findall(r"^\* (.*?)(?=\n\* |\n\n)", chapter(package), re.DOTALL | re.MULTILINE)
    return [" ".join(one.split()) for one in listed]


def claims(package: str) -> dict[str, str]:
    """The functions of the program that checks them, and what each is said to show."""
    tree = ast.parse((INTEROP / package / "claims.py").read_text())
    functions = [one for one in tree.body if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")]
    return {one.name: " ".join((ast.get_docstring(one) or "").split()) for one in functions}


@pytest.mark.parametrize("package", MODULES)
def test_each_sentence_is_checked_in_the_package_itself(package: str) -> None:
    assert sentences(package) == list(claims(package).values())
    python = python_with(package)
    done = subprocess.run(
        [python, INTEROP / package / "claims.py"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(claims(package))


@pytest.mark.parametrize("package", MODULES)
def test_the_left_column_names_what_there_is(package: str) -> None:
    rows = [line.split("|")[1] for line in chapter(package).splitlines() if line.startswith("| `")]
    names = [name for row in rows for name in re.findall(r"`(.*?)`", row)]
    assert len(names) > 10
    look = "import functools, importlib, sys; there = importlib.import_module(sys.argv[1])\n"
    look += "for name in sys.argv[2:]: functools.reduce(getattr, name.split('.'), there)"
    python = python_with(package)
    subprocess.run([python, "-c", look, MODULES[package], *names], check=True)


@pytest.mark.parametrize("package", MODULES)
def test_the_versions_are_those_that_are_asked(package: str) -> None:
    version = (INTEROP / package / "requirements.txt").read_text().strip().removeprefix(f"{package}==")
    assert f"`{package}` {version}" in " ".join(PAGE.split())
