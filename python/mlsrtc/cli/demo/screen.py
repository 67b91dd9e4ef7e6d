"""Where the demo speaks: a live table on a terminal, plain lines elsewhere, one JSON object a line with `--json`.

All three say the same things in the same order: steps while it sets up, what happens, the verdict. What there is to
draw is a scene's to say.
"""

import io
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

PICTURE_LINES = 24


@dataclass(frozen=True, slots=True)
class News:
    """One thing that is new in a scene: as a line for people, and as facts of a kind for machines."""

    kind: str
    text: str
    facts: Mapping[str, Any]


class Scene(Protocol):
    """What a screen shows."""

    @property
    def passed(self) -> Sequence[str]:
        """What was checked, in words, for when all of it held."""

    def news(self) -> Iterable[News]:
        """What is new since this was asked last."""

    def draw(self, said: Sequence[str]) -> Any:
        """The scene as it is now, and below it what was said last, as a rich renderable."""


class Screen(Protocol):
    """Where the demo speaks."""

    def __enter__(self) -> "Screen": ...
    def __exit__(self, *failure: object) -> None: ...

    def step(self, text: str) -> None:
        """Something that is being set up."""

    def play(self, scene: Scene) -> None:
        """It begins: from now on `refresh` may be called."""

    def say(self, text: str) -> None:
        """Something that happened in the call."""

    def refresh(self) -> None:
        """The scene may have changed."""

    def verdict(self, wrong: list[str], facts: dict[str, float]) -> None:
        """How it ended."""


def choose(*, as_json: bool, stream: TextIO) -> "Screen":
    """JSON lines if asked for, a live table on a terminal, else plain lines."""
    if as_json:
        return JsonScreen(stream)
    return LiveScreen() if stream.isatty() else PlainScreen(stream)


class _Lines:
    """What plain lines and JSON lines share: no drawing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = time.monotonic()
        self._scene: Scene | None = None

    def __enter__(self) -> "Screen":
        return self  # type: ignore[return-value]

    def __exit__(self, *failure: object) -> None:
        self._stream.flush()

    def play(self, scene: Scene) -> None:
        """Remember what to draw from."""
        self._scene = scene

    def _seconds(self) -> float:
        return time.monotonic() - self._start

    def _news(self) -> Iterable[News]:
        return () if self._scene is None else self._scene.news()


class PlainScreen(_Lines):
    """One line for each thing that happens."""

    def _print(self, text: str) -> None:
        print(f"{self._seconds():6.1f} s  {text}", file=self._stream, flush=True)

    def step(self, text: str) -> None:
        """A line."""
        self._print(text)

    def say(self, text: str) -> None:
        """A line."""
        self.refresh()
        self._print(text)

    def refresh(self) -> None:
        """A line for each thing that is new."""
        for news in self._news():
            self._print(news.text)

    def verdict(self, wrong: list[str], facts: dict[str, float]) -> None:
        """The figures and the verdict."""
        self.refresh()
        for line in closing_lines(self._scene, wrong, facts):
            print(line, file=self._stream, flush=True)


class JsonScreen(_Lines):
    """One JSON object a line: `{"type": "step" | "event" | "result", or what the scene has, "seconds": …}`."""

    def _print(self, kind: str, **facts: Any) -> None:
        print(json.dumps({"type": kind, "seconds": round(self._seconds(), 3), **facts}), file=self._stream, flush=True)

    def step(self, text: str) -> None:
        """A `step` line."""
        self._print("step", text=text)

    def say(self, text: str) -> None:
        """An `event` line."""
        self.refresh()
        self._print("event", text=text)

    def refresh(self) -> None:
        """A line for each thing that is new."""
        for news in self._news():
            self._print(news.kind, **news.facts)

    def verdict(self, wrong: list[str], facts: dict[str, float]) -> None:
        """The `result` line, last."""
        self.refresh()
        self._print("result", passed=not wrong, wrong=wrong, **facts)


class LiveScreen:
    """A table that is drawn again as the call goes on (rich)."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._scene: Scene | None = None
        self._said: list[str] = []
        self._steps: list[str] = []
        self._start = time.monotonic()
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=8, get_renderable=self._draw)

    def __enter__(self) -> "Screen":
        self._live.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        self._live.__exit__(None, None, None)

    def step(self, text: str) -> None:
        """The spinner's text."""
        self._steps.append(text)

    def play(self, scene: Scene) -> None:
        """From now on the table is drawn."""
        self._scene = scene

    def say(self, text: str) -> None:
        """A line under the table."""
        self._said.append(f"{time.monotonic() - self._start:6.1f} s  {text}")

    def refresh(self) -> None:
        """The live display redraws itself."""

    def verdict(self, wrong: list[str], facts: dict[str, float]) -> None:
        """The figures and the verdict, under the last table."""
        self._live.stop()
        for line in closing_lines(self._scene, wrong, facts):
            self._console.print(line, style="bold red" if wrong else "bold green" if line.startswith("PASS") else None)

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        if self._scene is None:
            done = [Text(f"  {text}", style="dim") for text in self._steps[:-1]]
            return Group(*done, Spinner("dots", text=self._steps[-1] if self._steps else "starting"))
        return self._scene.draw(self._said)


def picture(scene: Scene) -> str:
    """The scene as it would stand on a terminal of 110 columns, as SVG."""
    from rich.console import Console

    console = Console(record=True, width=110, height=PICTURE_LINES, file=io.StringIO(), highlight=False)
    console.print(scene.draw([]))
    # rich names a font to be fetched from elsewhere; a picture fetches nothing.
    return re.sub(r"@font-face\s*{[^}]*}", "", console.export_svg(title="mlsrtc demo"))


def size(count: float) -> str:
    """Bytes for a reader."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _figure(name: str, value: float) -> str:
    return size(value) if "bytes" in name.split("_") else f"{value:,}"


def closing_lines(scene: Scene | None, wrong: list[str], facts: dict[str, float]) -> list[str]:
    """The figures and the verdict in words."""
    lines = ["", *(f"  {name.replace('_', ' '):<42}{_figure(name, value)}" for name, value in facts.items()), ""]
    if wrong or scene is None:
        return [*lines, *(f"FAIL  {text}" for text in wrong)]
    return [*lines, *(f"{'    ' if number else 'PASS'}  {text}" for number, text in enumerate(scene.passed))]
