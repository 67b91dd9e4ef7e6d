"""The MLS working group's test vectors: where they are, and how many cases each file has.

They are not part of this repository. One release of OpenMLS carries a copy, which cargo fetches by the lock file in
`interop/vectors`; 11 of its files are the working group's of today, 5 are older and have other cases. Where
MLSRTC_VECTORS names the folder `test-vectors` of the working group's mls-implementations, or it lies at
../shared/vectors/mlswg beside the repository, its own form of these 5 is run as well.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MANIFEST = REPOSITORY / "interop" / "vectors" / "Cargo.toml"
FOLDER = Path(os.environ.get("MLSRTC_VECTORS") or REPOSITORY.parent / "shared" / "vectors" / "mlswg")

REGISTRY, WORKING_GROUP = "registry", "working group"
OF_OPENMLS = {"kat_encryption_openmls.json", "kat_tree_kem_openmls.json", "storage-stability.json"}
"""Files beside the copy that are OpenMLS's own, in forms of its own."""

Case = dict[str, Any]
Counts = Mapping[int, int]
NO_SUITE = 0


def each(cases: int) -> Counts:
    """As many for every suite of RFC 9420 section 17.1."""
    return dict.fromkeys(range(1, 8), cases)


SAME: Mapping[str, Counts] = {
    "deserialization.json": {NO_SUITE: 14},
    "key-schedule.json": each(1),
    "messages.json": {NO_SUITE: 300},
    "passive-client-handling-commit.json": each(13),
    "passive-client-random.json": {1: 1},
    "passive-client-welcome.json": each(8),
    "secret-tree.json": each(3),
    "tree-math.json": {NO_SUITE: 10},
    "tree-validation.json": each(14),
    "treekem.json": each(11),
    "welcome.json": each(1),
}
"""How many cases each file has for each suite, where both copies are one."""

DIFFERENT: Mapping[str, Mapping[str, Counts]] = {
    "crypto-basics.json": {REGISTRY: each(1), WORKING_GROUP: each(1)},
    "message-protection.json": {REGISTRY: each(1), WORKING_GROUP: each(1)},
    "psk_secret.json": {REGISTRY: each(10), WORKING_GROUP: each(11)},
    "transcript-hashes.json": {REGISTRY: dict.fromkeys((1, 2, 3), 100), WORKING_GROUP: each(1)},
    "tree-operations.json": {REGISTRY: {1: 5}, WORKING_GROUP: {1: 5}},
}

COUNTS: Mapping[str, Mapping[str, Counts]] = {name: {REGISTRY: counts} for name, counts in SAME.items()} | DIFFERENT


@cache
def folder(copy: str) -> Path:
    """Where a copy lies. The registry's is fetched if it is not here; the working group's is asked for by a skip."""
    if copy == REGISTRY:
        command = ["cargo", "metadata", "--locked", "--quiet", "--format-version", "1", "--manifest-path", MANIFEST]
        answer = subprocess.run(command, check=True, capture_output=True)
        (crate,) = [one for one in json.loads(answer.stdout)["packages"] if one["name"] == "openmls"]
        return Path(crate["manifest_path"]).with_name("test_vectors")
    if not FOLDER.is_dir():
        pytest.skip("these cases are in no registry: set MLSRTC_VECTORS to the working group's test-vectors folder")
    return FOLDER


@cache
def cases(copy: str, name: str) -> list[Case]:
    loaded: list[Case] = json.loads((folder(copy) / name).read_text())
    return loaded


def counted(found: list[Case]) -> Counts:
    return Counter(case.get("cipher_suite", NO_SUITE) for case in found)
