"""Prints a hash of what an editable install is built from, so that `run` rebuilds only when it must."""

import hashlib
from pathlib import Path

root = Path(__file__).parent.parent
files = [root / "pyproject.toml", root / "Cargo.toml", root / "Cargo.lock"]
for crate in ("rust/core", "rust/py"):
    files += sorted(path for path in (root / crate).rglob("*") if path.suffix in {".rs", ".toml"})
digest = hashlib.sha256()
for path in files:
    digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
print(digest.hexdigest())
