"""What the binding adds to the core's own calls, and what two threads gain.

`rust/core/benches/door.rs` is given a member as it was saved here, and times the same calls on it in Rust.
"""

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

from door_engines import CONTEXT, LABEL, VICTIM
from door_group import SET, Host, newcomer, package
from peers import REPOSITORY

from mlsrtc.mls import Client, Group, KeyPackage

BENCH = ("cargo", "bench", "--quiet", "--package", "mlsrtc-core", "--bench", "door", "--")
TRIES = 2
ROUNDS, ROUND, AT_MOST = 31, 500_000, 3.0
"""As in the bench: so many rounds, each of so many nanoseconds, but no more than so many seconds in all."""


@dataclass(frozen=True)
class Scene:
    """A member, saved and loaded, and what it is given to do."""

    client: Client
    package: KeyPackage
    group: Group
    welcome: bytes
    tree: bytes
    commit: bytes
    added: bytes
    infos: list[bytes]

    @staticmethod
    def of(members: int) -> "Scene":
        host, client = Host.of(SET, 1, members - 1, b"a group"), newcomer(1)
        key_package = client.key_package()
        made = host.group.commit(add=[key_package.public])
        assert made.welcome is not None
        joined = client.join(made.welcome, key_package, tree=made.tree).commit()
        _, commit = Host(host.client, made.group.stage(joined.message).apply()).commit(remove=[VICTIM])
        return Scene(
            client,
            key_package,
            client.load_group(joined.group.save()),
            made.welcome,
            made.tree,
            commit,
            package(1),
            [bytes([7]) * 110 for _ in range(members)],
        )

    def save(self, folder: Path) -> None:
        files = {
            "key": self.client.signing_key.save().expose(),
            "identity": self.client.identity,
            "group": self.group.save().expose(),
            "package": self.package.save().expose(),
            "welcome": self.welcome,
            "tree": self.tree,
            "commit": self.commit,
            "added": self.added,
            "leaf": VICTIM.to_bytes(4),
        }
        for name, content in files.items():
            (folder / name).write_bytes(content)

    def calls(self) -> Mapping[str, Callable[[], object]]:
        group = self.group
        return {
            "export": lambda: group.export(LABEL, CONTEXT, 32),
            "export all": lambda: group.sender_keys(LABEL, CONTEXT, self.infos),
            "save": group.save,
            "tree": group.tree,
            "process a removal": lambda: group.stage(self.commit).apply(),
            "remove": lambda: group.commit(remove=[VICTIM]),
            "add": lambda: group.commit(add=[self.added]),
            "join": lambda: self.client.join(self.welcome, self.package, tree=self.tree),
        }


def least(act: Callable[[], object]) -> float:
    """Nanoseconds, the least of many rounds."""
    began = time.perf_counter_ns()
    act()
    times = max(1, min(1000, ROUND // (time.perf_counter_ns() - began)))
    first, found = time.monotonic(), list[float]()
    while len(found) < ROUNDS and (len(found) < 3 or time.monotonic() - first < AT_MOST):
        began = time.perf_counter_ns()
        for _ in range(times):
            act()
        found.append((time.perf_counter_ns() - began) / times)
    return min(found)


def native(scene: Scene) -> dict[str, int]:
    """Nanoseconds of the provider's primitives and of the core's calls."""
    with tempfile.TemporaryDirectory() as folder:
        scene.save(Path(folder))
        ran = subprocess.run([*BENCH, folder], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE)
    found: dict[str, int] = json.loads(ran.stdout)
    return found


def compared(members: int) -> dict[str, dict[str, float]]:
    """By call: nanoseconds in Rust and from Python, the least of tries in turn; and the primitives."""
    scene = Scene.of(members)
    python, rust = dict[str, float](), native(scene)
    for _ in range(TRIES):
        python = {name: min(least(call), python.get(name, inf)) for name, call in scene.calls().items()}
        rust = {name: min(ns, rust[name]) for name, ns in native(scene).items()}
    return {
        "python": python,
        "rust": {name: rust.pop(name) for name in python},
        "primitives": dict(rust),
    }


def gain(first: Callable[[], object], second: Callable[[], object], seconds: float = 1.0) -> float:
    """How much sooner two do their work in two threads than one after the other: 2 at best."""

    def repeated(act: Callable[[], object]) -> None:
        for _ in range(times):
            act()

    times = max(1, int(seconds * 1e9 / 2 / least(first)))
    began = time.perf_counter()
    repeated(first), repeated(second)
    alone = time.perf_counter() - began
    threads = [threading.Thread(target=repeated, args=(act,)) for act in (first, second)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return alone / (time.perf_counter() - began)


def gains(members: int) -> dict[str, float]:
    """By call, on two groups: the middle one of five tries."""
    one, other = Scene.of(members).calls(), Scene.of(members).calls()
    return {
        name: sorted(gain(one[name], other[name]) for _ in range(5))[2]
        for name in ("process a removal", "remove", "add")
    }
