"""Installs a wheel, or a wheel built from an sdist, into a bare virtual environment, and runs the tutorial there.

    python scripts/try_package.py dist/mlsrtc-0.1.0.tar.gz
    python3.13 scripts/try_package.py dist/mlsrtc-0.1.0-cp311-abi3-*.whl

The environment is of the Python that runs this. For a wheel nothing is on its PATH but itself: no Rust, no C compiler,
and pip may build nothing. An sdist is built in a folder of its own, with what registries give and nothing of this
checkout.
"""

import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "docs"))

import pages  # noqa: E402 the folder of the module is put on the path above

BELONGS = """
import sys, mlsrtc, mlsrtc._core
for module in (mlsrtc, mlsrtc._core):
    assert module.__file__.startswith(sys.prefix), module.__file__
"""
"""Run before the tutorial: what it imports is what was installed, and the doors besides MLS import as well."""


def run(*command: str | Path, cwd: Path, environment: dict[str, str]) -> None:
    """Runs to success or raises; errors are shown."""
    words = [str(part) for part in command]
    subprocess.run(words, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 all words are ours


def bare(executables: Path) -> dict[str, str]:
    """This environment without anything to build with. pip keeps its settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CARGO", "RUST", "PYTHON"))}
    return {**kept, "PATH": str(executables)}


def wheel_of(sdist: Path, folder: Path) -> Path:
    """The wheel that pip builds from an sdist in build isolation."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-cache-dir", "--wheel-dir", folder)
    run(*pip, sdist, cwd=folder, environment=environment)
    (wheel,) = folder.glob("*.whl")
    return wheel


def try_wheel(wheel: Path, folder: Path) -> None:
    home = folder / "environment"
    venv.create(home, with_pip=True)
    executables = home / ("Scripts" if os.name == "nt" else "bin")
    python, environment = executables / "python", bare(executables)
    pip = (python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:")
    run(*pip, wheel, cwd=folder, environment=environment)
    program = folder / "tutorial.py"
    program.write_text(BELONGS + "\n".join(code for _, code in pages.blocks("tutorial.md")), encoding="utf-8")
    run(python, "-I", program, cwd=folder, environment=environment)
    run(executables / "mlsrtc", "inspect", "--help", cwd=folder, environment=environment)


def main(package: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.monotonic()
        wheel = package if package.suffix == ".whl" else wheel_of(package, folder)
        built, on_cpu = time.monotonic() - started, os.times().children_user
        try_wheel(wheel, folder)
    took = f"built in {built:.0f} s, {on_cpu:.0f} s of them on a CPU; " if package != wheel else ""
    print(f"{package.name}: {took}the tutorial runs in Python {'.'.join(map(str, sys.version_info[:3]))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(strict=True))
