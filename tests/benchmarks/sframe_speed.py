"""What SFrame costs beside bare AES-GCM, for frames of 1,200 bytes, in one thread.

    PYTHONPATH=python:tests/mls:tests/adapters python tests/benchmarks/sframe_speed.py [--rounds 400] [--write]

Bare is `AESGCM.encrypt` and `decrypt` of the `cryptography` library with a key of 128 bits, a nonce and no associated
data. In each round everything is measured once, in turn, and divided by what bare took in this round; the table has the
median of all rounds, and between which values the middle half of them lies. --write puts it into
docs/results/sframe.md.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sframing import CallOfThree

from mlsrtc.adapters.sframe import Suite

PAGE = Path(__file__).parents[2] / "docs" / "results" / "sframe.md"
SIZE = 1200
FRAMES = 50
"""In one round: few, so that what else the machine does falls into few of the rounds."""

Work = Callable[[], None]


def each(function: Callable[..., object], arguments: Iterable[tuple[object, ...]]) -> float:
    """Seconds for all of them."""
    ready = list(arguments)
    began = time.perf_counter()
    for one in ready:
        function(*one)
    return time.perf_counter() - began


def bare() -> dict[str, float]:
    cipher, data = AESGCM(bytes(16)), bytes(SIZE)
    nonces = [number.to_bytes(12, "big") for number in range(FRAMES)]
    sealed = [cipher.encrypt(nonce, data, None) for nonce in nonces]
    return {
        "encrypt": each(cipher.encrypt, ((nonce, data, None) for nonce in nonces)),
        "decrypt": each(cipher.decrypt, ((nonce, frame, None) for nonce, frame in zip(nonces, sealed, strict=True))),
    }


def sframe(call: CallOfThree, suite: Suite) -> dict[str, float]:
    sender, receiver = call.sender("ann", suite), call.receiver("cal", suite)
    data = bytes(SIZE)
    receiver.decrypt(sender.encrypt(data))  # derives the key
    frames = [sender.encrypt(data) for _ in range(FRAMES)]
    return {
        "encrypt": each(sender.encrypt, ((data,) for _ in range(FRAMES))),
        "decrypt": each(receiver.decrypt, ((frame,) for frame in frames)),
    }


def measured(rounds: int) -> dict[tuple[Suite, str], list[float]]:
    """Ratios to bare, by suite and what was done."""
    call = CallOfThree()
    ratios: dict[tuple[Suite, str], list[float]] = {}
    for _ in range(rounds):
        floor = bare()
        for suite in Suite:
            for what, seconds in sframe(call, suite).items():
                ratios.setdefault((suite, what), []).append(seconds / floor[what])
    return ratios


def table(ratios: dict[tuple[Suite, str], list[float]], rounds: int) -> str:
    lines = [
        f"Median of {rounds} rounds of {FRAMES} frames; in brackets the middle half of them.",
        "",
        "| suite | encrypt | decrypt |",
        "| --- | --- | --- |",
    ]
    for suite in Suite:
        cells = [
            f"{middle:.1f} ({low:.1f}–{high:.1f})"
            for low, middle, high in (statistics.quantiles(ratios[suite, what]) for what in ("encrypt", "decrypt"))
        ]
        lines.append(f"| {suite.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=400)
    options.add_argument("--write", action="store_true")
    asked = options.parse_args()
    found = table(measured(asked.rounds), asked.rounds)
    print(found)
    if asked.write:
        before, mark, _ = PAGE.read_text().partition("<!-- measured -->\n")
        PAGE.write_text(before + mark + "\n" + found)


if __name__ == "__main__":
    main()
