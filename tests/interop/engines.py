"""Builds and starts the peers: each from the registry that it is published in, at the version that its folder pins.

What is built lies below `interop/*/target`, `interop/*/node_modules` and `target/interop`, and is built again only when
what it was built from has changed."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from ours import Ours
from peers import INTEROP, REPOSITORY, Peer, Process

from one_at_a_time import one_at_a_time


class Missing(Exception):
    """This machine has not what a peer needs."""


@cache
def _built_by_cargo(crate: str, feature: str = "", *, release: bool = False) -> Path:
    """What a feature changes is built in a folder of its own, so that neither build undoes the other."""
    if shutil.which("cargo") is None:
        raise Missing(f"{crate} needs cargo")
    target = INTEROP / crate / "target" / feature
    build = ["cargo", "build", "--locked", "--quiet", "--bin", "peer", "--features", feature]
    subprocess.run(
        [*build, *(["--release"] if release else []), "--manifest-path", INTEROP / crate / "Cargo.toml"],
        check=True,
        env=os.environ | {"CARGO_TARGET_DIR": str(target)},
    )
    return target / ("release" if release else "debug") / "peer"


@cache
def installed_by_npm(folder: str) -> Path:
    """The folder, with what its package-lock.json names beside it. Raises `Missing`."""
    if shutil.which("npm") is None:
        raise Missing(f"{folder} needs Node 20 or newer, and npm")
    place = INTEROP / folder
    lock, mark = place / "package-lock.json", place / "node_modules" / ".installed"
    with one_at_a_time(lock):
        if _is_stale(lock, mark):
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=place, check=True)
            _mark(lock, mark)
    return place


@cache
def _installed_by_pip(folder: str) -> list[Path]:
    """A virtual environment of its own, since the peers' dependencies are none of ours."""
    requirements = INTEROP / folder / "requirements.txt"
    place = REPOSITORY / "target" / "interop" / folder
    if _is_stale(requirements, place / ".installed"):
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", requirements], check=True)
        _mark(requirements, place / ".installed")
    return [place / "bin" / "python", INTEROP / folder / "peer.py"]


def python_with(folder: str) -> Path:
    """An interpreter that has the peer of this folder, from PyPI."""
    return _installed_by_pip(folder)[0]


def _digest(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()


def _is_stale(source: Path, mark: Path) -> bool:
    return not mark.is_file() or mark.read_text() != _digest(source)


def _mark(source: Path, mark: Path) -> None:
    mark.write_text(_digest(source))


STARTERS: Mapping[str, Callable[[], Peer]] = {
    "mlsrtc": Ours,
    "OpenMLS": lambda: Process([_built_by_cargo("openmls")]),
    "OpenMLS on libcrux": lambda: Process([_built_by_cargo("openmls", "libcrux")]),
    "mls-rs": lambda: Process([_built_by_cargo("mls-rs")]),
    "ts-mls": lambda: Process(["node", installed_by_npm("ts-mls") / "peer.mjs"]),
    "rfc9420": lambda: Process(_installed_by_pip("rfc9420")),
    "davey": lambda: Process(_installed_by_pip("davey")),
    "rine-mls": lambda: Process(_installed_by_pip("rine-mls")),
}

MEASURED: Mapping[str, Callable[[], Peer]] = STARTERS | {
    "OpenMLS": lambda: Process([_built_by_cargo("openmls", release=True)]),
    "mls-rs": lambda: Process([_built_by_cargo("mls-rs", release=True)]),
}
"""The same, for who measures them: built as a release is."""


def sframe() -> Process:
    """The crate `sframe`, which is no engine of MLS. Raises `Missing`."""
    return Process([_built_by_cargo("sframe")])


def starter(names: "list[str] | tuple[str, ...]") -> Callable[[], Mapping[str, Peer]]:
    """What a history is given to start its peers, in this order. Raises `Missing`."""

    def start() -> Mapping[str, Peer]:
        return {name: STARTERS[name]() for name in names}

    return start
