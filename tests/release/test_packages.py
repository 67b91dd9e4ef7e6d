"""What a release is made of. That it builds and runs is `scripts/wheel`'s, which takes minutes."""

import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def tracked(*folders: str) -> set[str]:
    """The repository's files there; what was built or cached beside them is not among them."""
    listed = subprocess.run(["git", "ls-files", *folders], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    return set(listed.stdout.splitlines())


def test_python_and_rust_have_one_version() -> None:
    workspace = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["workspace"]
    locked = tomllib.loads((REPOSITORY / "Cargo.lock").read_text())["package"]
    ours = {package["version"] for package in locked if package["name"].startswith("mlsrtc")}
    assert {PROJECT["version"], workspace["package"]["version"]} == ours


def test_the_sdist_holds_what_builds_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("maturin", reason="the extra `test` installs it")
    build = [sys.executable, "-m", "maturin", "sdist", "--out", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, capture_output=True, check=True)
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as packed:
        held = {name.partition("/")[2] for name in packed.getnames()}
    texts = {"Cargo.lock", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "PKG-INFO", "README.md", "pyproject.toml"}
    assert held == texts | tracked("rust/core", "rust/py", "python") - tracked("rust/core/tests")


def test_every_licence_that_is_named_is_there() -> None:
    assert PROJECT["license"] == "Apache-2.0 OR MIT"
    for name, words in (("LICENSE-APACHE", "Apache License"), ("LICENSE-MIT", "Permission is hereby granted")):
        assert name in PROJECT["license-files"]
        assert words in (REPOSITORY / name).read_text()
