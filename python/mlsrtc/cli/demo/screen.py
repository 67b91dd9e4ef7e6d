"""What the demo shows: a live table on a terminal, plain lines elsewhere, one JSON object a line with `--json`. No
network.

All three say the same things in the same order: steps while it sets up, what happens in the call, the verdict.
"""

import io
import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from mlsrtc.cli.demo.cost import Traffic
from mlsrtc.cli.demo.ledger import Epoch, Ledger
from mlsrtc.identifiers import EpochId, MemberId

ROWS = 12  # epochs that the live table shows where there is room
FEWEST_ROWS = 4  # of these, before lines under it are left out
SAID = 6  # lines under it
WIDEST = 1000  # columns, to ask how wide the table would be

SHORT = " in short"
NUMBERS = frozenset({"epoch", "devices", "standing"})
LAYOUTS = (
    ("epoch", "committer", "devices", "change", "standing", "safety code", "keys"),
    ("epoch", "committer", "devices", "change", "standing", "safety code" + SHORT, "keys"),
    ("epoch", "committer", "devices", "change", "safety code" + SHORT, "keys"),
    ("epoch", "committer", "devices", "safety code" + SHORT),
    ("epoch", "devices", "keys"),
)
"""The columns of the table, for ever narrower terminals: the first that fits is taken."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a screen draws from. `olm_bytes`: the measured size of one Olm message of today's key sharing."""

    ledger: Ledger
    traffic: Traffic
    olm_bytes: int

    def olm_messages(self) -> int:
        """n(n-1) messages for each change of keys that the call went through."""
        return sum(len(epoch.members) * (len(epoch.members) - 1) for epoch in self.ledger.epochs.values())

    def committer(self, epoch: Epoch) -> str:
        """The name of the device that made an epoch."""
        return self.name(epoch.committer)

    def name(self, member: MemberId | None) -> str:
        """The name of the device that had this member_id."""
        for account in self.ledger.accounts.values():
            if member in account.members:
                return account.name
        return "-"

    def epochs(self) -> list[Epoch]:
        """The call's epochs in the order they came."""
        return sorted(self.ledger.epochs.values(), key=lambda epoch: (epoch.number, epoch.at))


class Screen(Protocol):
    """Where the demo speaks."""

    def __enter__(self) -> "Screen": ...
    def __exit__(self, *failure: object) -> None: ...

    def step(self, text: str) -> None:
        """Something that is being set up."""

    def play(self, scene: Scene) -> None:
        """The call begins: from now on `refresh` may be called."""

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
        self._shown: set[EpochId] = set()

    def __enter__(self) -> "Screen":
        return self  # type: ignore[return-value]

    def __exit__(self, *failure: object) -> None:
        self._stream.flush()

    def play(self, scene: Scene) -> None:
        """Remember what to draw from."""
        self._scene = scene

    def _seconds(self) -> float:
        return time.monotonic() - self._start

    def _new_epochs(self) -> Iterable[Epoch]:
        if self._scene is not None:
            for epoch in self._scene.epochs():
                if epoch.id not in self._shown and self._scene.ledger.held(epoch.id):
                    self._shown.add(epoch.id)
                    yield epoch


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
        """A line for each epoch that is new."""
        for epoch in self._new_epochs():
            assert self._scene is not None
            self._print(describe(self._scene, epoch))

    def verdict(self, wrong: list[str], facts: dict[str, float]) -> None:
        """The figures and the verdict."""
        self.refresh()
        for line in closing_lines(wrong, facts):
            print(line, file=self._stream, flush=True)


class JsonScreen(_Lines):
    """One JSON object a line: `{"type": "step" | "event" | "epoch" | "result", "seconds": …}`."""

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
        """An `epoch` line for each epoch that is new."""
        for epoch in self._new_epochs():
            assert self._scene is not None
            self._print(
                "epoch",
                id=epoch.id.hex(),
                epoch=epoch.number,
                committer=self._scene.committer(epoch),
                members=len(epoch.members),
                added=epoch.added,
                removed=epoch.removed,
                safety_code=epoch.safety_code,
                fingerprint=self._scene.ledger.fingerprint(epoch.id),
            )

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
        for line in closing_lines(wrong, facts):
            self._console.print(line, style="bold red" if wrong else "bold green" if line.startswith("PASS") else None)

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        if self._scene is None:
            done = [Text(f"  {text}", style="dim") for text in self._steps[:-1]]
            return Group(*done, Spinner("dots", text=self._steps[-1] if self._steps else "starting"))
        return draw(self._scene, self._said)


def draw(scene: Scene, said: list[str]) -> Any:
    """The epochs, the devices, the costs, and what was said last, as a rich renderable that fits the terminal: the
    newest epochs, as many as there is room for, in the columns that there is room for."""
    return _Drawing(scene, said[-SAID:])


@dataclass(frozen=True, slots=True)
class _Drawing:
    scene: Scene
    said: list[str]

    def __rich_console__(self, console: Any, options: Any) -> Iterable[Any]:
        from rich.console import Group
        from rich.text import Text

        wide = options.update(height=None)

        def height(part: Any) -> int:
            return len(console.render_lines(part, wide, pad=False))

        below = Group(_devices(self.scene), _costs(self.scene))
        columns = next(
            (some for some in LAYOUTS if _width(_epochs(self.scene, some, ROWS), console) <= wide.max_width), ()
        )
        free = console.height - height(below) - height(_epochs(self.scene, columns, 0)) - 1
        said = self.said[-max(0, free - FEWEST_ROWS) :] if free > FEWEST_ROWS else []
        lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in said]
        yield _epochs(self.scene, columns, max(1, min(ROWS, free - len(lines))))
        yield below
        yield from lines


def picture(scene: Scene) -> str:
    """The scene as it would stand on a terminal of 110 columns, as SVG."""
    from rich.console import Console

    console = Console(record=True, width=110, height=2 * ROWS, file=io.StringIO(), highlight=False)
    console.print(draw(scene, []))
    # rich names a font to be fetched from elsewhere; a picture fetches nothing.
    return re.sub(r"@font-face\s*{[^}]*}", "", console.export_svg(title="mlsrtc demo"))


def _width(table: Any, console: Any) -> int:
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(width=WIDEST), table).maximum


def _epochs(scene: Scene, columns: Sequence[str], rows: int) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, title="epochs of the call, newest last", title_justify="left", pad_edge=False)
    for name in columns:
        justify = "right" if name in NUMBERS else "left"
        table.add_column(name.removesuffix(SHORT), justify=justify, no_wrap=True)  # type: ignore[arg-type]
    standing = scene.ledger.standing()
    for epoch in scene.epochs()[-rows:] if rows else ():
        groups = [epoch.safety_code[at : at + 5] for at in range(0, len(epoch.safety_code), 5)]
        cells = {
            "epoch": str(epoch.number),
            "committer": scene.committer(epoch),
            "devices": str(len(epoch.members)),
            "change": change(epoch),
            "standing": str(standing.get(epoch.id, 0)),
            "safety code": " ".join(groups),
            "safety code" + SHORT: " ".join(groups[:2]) + " …",
            "keys": scene.ledger.fingerprint(epoch.id),
        }
        table.add_row(*(cells[name] for name in columns), style="bold" if standing.get(epoch.id) else "dim")
    return table


def _devices(scene: Scene) -> Any:
    from rich.text import Text

    text = Text("  devices  ")
    newest = scene.epochs()[-1].id if scene.ledger.epochs else None
    for account in scene.ledger.accounts.values():
        if not account.present:
            text.append("· ", style="dim")
        elif account.muted:
            text.append("! ", style="bold red")
        elif account.epoch is None:
            text.append("○ ", style="yellow")
        else:
            text.append("● ", style="green" if account.epoch == newest else "yellow")
    return text


def _costs(scene: Scene) -> Any:
    from rich.text import Text

    traffic, olm = scene.traffic, scene.olm_messages()
    return Text(
        f"  sent     {traffic.commits} commits, {sum(traffic.events.values())} events in all, "
        f"{size(traffic.total_bytes)}\n"
        f"  instead  {olm:,} Olm messages, {size(olm * scene.olm_bytes)}\n"
    )


def change(epoch: Epoch) -> str:
    """What an epoch changed: `+3 -1`."""
    parts = [f"+{epoch.added}" if epoch.added else "", f"-{epoch.removed}" if epoch.removed else ""]
    return " ".join(part for part in parts if part) or "rekey"


def describe(scene: Scene, epoch: Epoch) -> str:
    """One line about an epoch."""
    return (
        f"epoch {epoch.number:>3} by {scene.committer(epoch):<10} {len(epoch.members):>3} devices  {change(epoch):<8} "
        f"code {epoch.safety_code[:10]}…  keys {scene.ledger.fingerprint(epoch.id)}"
    )


def size(count: float) -> str:
    """Bytes for a reader."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _figure(name: str, value: float) -> str:
    return size(value) if "bytes" in name.split("_") else f"{value:,}"


def closing_lines(wrong: list[str], facts: dict[str, float]) -> list[str]:
    """The figures and the verdict in words."""
    lines = ["", *(f"  {name.replace('_', ' '):<42}{_figure(name, value)}" for name, value in facts.items()), ""]
    if wrong:
        return [*lines, *(f"FAIL  {text}" for text in wrong)]
    return [
        *lines,
        "PASS  All who stood on an epoch hold the same keys, one for each member; where the",
        "      call came to rest, that is everybody who was in it. Nobody holds a key of an",
        "      epoch before it joined or after it left. What a device had saved when it left",
        "      or crashed opens no later commit. Everybody in the call refused the stranger;",
        "      it is in no epoch, was told no key, and the group it made opens no commit.",
    ]
