"""The key distribution schemes of the field on one trace and one network model, side by side.

Models of Jitsi, Zoom, Element Call, the Famedly SDK, Discord, Webex, Wire and Cloudflare, every constant with its
source, beside the real state machines of mlsrtc: messages, bytes, processor time, seconds until all have keys, seconds
that a leaver could still listen, and seconds of media that somebody present could not decrypt.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsrtc.simulate.trace import Trace

HELP = "compare key distribution schemes on one trace"
CALIBRATION = Path("docs/results/simulate/synapse.json")  # where a checkout has it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `mlsrtc simulate`."""
    from mlsrtc.simulate.trace import BUILT_IN

    parser.add_argument(
        "--trace", default="stand-up", metavar="NAME|FILE", help=f"one of {', '.join(BUILT_IN)}, or a JSON file"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the trace and of all chance in the runs (default 1)")
    parser.add_argument("--schemes", metavar="NAME,...", help="only these (default: all)")
    parser.add_argument("--homeservers", type=int, default=1, metavar="N", help="people are spread over N (default 1)")
    parser.add_argument(
        "--growth",
        type=int,
        default=200,
        metavar="N",
        help="show how models grow up to N devices (default 200; 0: not)",
    )
    parser.add_argument(
        "--real-growth", type=int, default=50, metavar="N", help="and real machines up to N (default 50)"
    )
    parser.add_argument(
        "--real-people",
        type=int,
        default=100,
        metavar="N",
        help="real machines play with at most N of the trace's people (default 100)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object with all figures and sources")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots to FILE")
    parser.add_argument(
        "--synapse", type=Path, metavar="FILE", help=f"runs on a real Synapse to show beside (default: {CALIBRATION})"
    )


def run(options: argparse.Namespace) -> int:
    """Compare. Returns 0, or 2 for a trace, a scheme or a file that cannot be had."""
    missing = _missing(plots=options.html is not None)
    if missing is not None:
        print(
            f"mlsrtc simulate needs the extra 'simulate' (pip install 'mlsrtc[simulate]'): {missing}", file=sys.stderr
        )
        return 2
    try:
        return _compare(options)
    except OSError as error:
        print(f"mlsrtc simulate: {error.filename}: {error.strerror}", file=sys.stderr)
    except _Refused as error:
        print(f"mlsrtc simulate: {error}", file=sys.stderr)
    return 2


class _Refused(Exception):
    """What is asked for cannot be had."""


def _missing(*, plots: bool) -> str | None:
    try:
        import rich  # noqa: F401
        import vodozemac  # noqa: F401

        if plots:
            import matplotlib  # noqa: F401
    except ImportError as missing:
        return str(missing)
    return None


def _compare(options: argparse.Namespace) -> int:
    from mlsrtc.simulate import primitives
    from mlsrtc.simulate.compare import GROWTH, compare
    from mlsrtc.simulate.network import NetworkModel

    trace = _trace(options.trace, options.seed)
    names = _schemes(options.schemes)
    if not 1 <= options.homeservers <= 5:
        raise _Refused(f"--homeservers {options.homeservers}: 1 to 5 are possible")
    if options.real_people < 2:
        raise _Refused(f"--real-people {options.real_people}: 2 at least")
    calibration = _calibration(options.synapse)
    if options.html is not None:
        options.html.open("a").close()
    comparison = compare(
        trace,
        primitives.measured(),
        seed=options.seed,
        model=NetworkModel(homeservers=options.homeservers),
        names=names,
        growth=[n for n in GROWTH if n <= options.growth],
        real_growth=options.real_growth,
        real_people=options.real_people,
        calibration=calibration,
        processes=os.cpu_count() or 1,
        said=lambda text: _say(text) if sys.stderr.isatty() else None,
    )
    if options.html is not None:
        from mlsrtc.simulate.page import page

        options.html.write_text(page(comparison, _command(options)))
    if options.json:
        json.dump(comparison.facts(), sys.stdout, indent=1)
        print()
    else:
        from mlsrtc.simulate.terminal import show

        show(comparison, sys.stdout)
    return 0


def _trace(name: str, seed: int) -> "Trace":
    from mlsrtc.simulate.trace import BUILT_IN, TraceError, built_in, read

    if name in BUILT_IN:
        return built_in(name, seed)
    if not Path(name).exists():
        raise _Refused(f"--trace {name}: no file, and none of {', '.join(BUILT_IN)}")
    try:
        return read(Path(name))
    except TraceError as error:
        raise _Refused(f"{name}: {error}") from error


def _schemes(text: str | None) -> list[str] | None:
    from mlsrtc.simulate.schemes import SCHEMES

    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in SCHEMES]
    if unknown:
        raise _Refused(f"--schemes {unknown[0]}: none of {', '.join(SCHEMES)}")
    return names


def _calibration(path: Path | None) -> "Mapping[str, Any] | None":
    from mlsrtc.simulate.compare import read_calibration

    if path is None and not CALIBRATION.exists():
        return None
    try:
        return read_calibration(path or CALIBRATION)
    except ValueError as error:
        raise _Refused(f"{path or CALIBRATION}: {error}") from error


def _command(options: argparse.Namespace) -> str:
    parts = ["mlsrtc", "simulate", "--trace", options.trace, "--seed", str(options.seed)]
    parts += ["--growth", str(options.growth), "--real-growth", str(options.real_growth)]
    if options.real_people != 100:
        parts += ["--real-people", str(options.real_people)]
    if options.homeservers != 1:
        parts += ["--homeservers", str(options.homeservers)]
    if options.schemes is not None:
        parts += ["--schemes", options.schemes]
    return shlex.join([*parts, "--html", str(options.html)])


def _say(text: str) -> None:
    print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
