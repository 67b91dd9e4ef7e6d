"""The call of the demo as a screen shows it: a row for each epoch, the devices, what was sent. No network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlsrtc.cli.demo.cost import Traffic
from mlsrtc.cli.demo.ledger import Epoch, Ledger
from mlsrtc.cli.demo.screen import News, size
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

PASSED = (
    "All who stood on an epoch hold the same keys, one for each member; where the",
    "call came to rest, that is everybody who was in it. Nobody holds a key of an",
    "epoch before it joined or after it left. What a device had saved when it left",
    "or crashed opens no later commit. Everybody in the call refused the stranger;",
    "it is in no epoch, was told no key, and the group it made opens no commit.",
)


@dataclass(frozen=True, slots=True)
class CallScene:
    """The call, as a screen shows it. `olm_bytes`: the measured size of one Olm message of today's key sharing."""

    ledger: Ledger
    traffic: Traffic
    olm_bytes: int
    _told: set[EpochId] = field(default_factory=set)

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

    @property
    def passed(self) -> Sequence[str]:
        """What was checked, in words."""
        return PASSED

    def news(self) -> Iterable[News]:
        """The epochs that are new since this was asked last, and whose keys somebody holds."""
        for epoch in self.epochs():
            if epoch.id not in self._told and self.ledger.held(epoch.id):
                self._told.add(epoch.id)
                facts = {
                    "id": epoch.id.hex(),
                    "epoch": epoch.number,
                    "committer": self.committer(epoch),
                    "members": len(epoch.members),
                    "added": epoch.added,
                    "removed": epoch.removed,
                    "safety_code": epoch.safety_code,
                    "fingerprint": self.ledger.fingerprint(epoch.id),
                }
                yield News("epoch", describe(self, epoch), facts)

    def draw(self, said: Sequence[str]) -> Any:
        """The epochs, the devices, the costs, and what was said last, as a rich renderable that fits the terminal: the
        newest epochs, as many as there is room for, in the columns that there is room for."""
        return _Drawing(self, said[-SAID:])


@dataclass(frozen=True, slots=True)
class _Drawing:
    scene: CallScene
    said: Sequence[str]

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


def _width(table: Any, console: Any) -> int:
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(width=WIDEST), table).maximum


def _epochs(scene: CallScene, columns: Sequence[str], rows: int) -> Any:
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


def _devices(scene: CallScene) -> Any:
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


def _costs(scene: CallScene) -> Any:
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


def describe(scene: CallScene, epoch: Epoch) -> str:
    """One line about an epoch."""
    return (
        f"epoch {epoch.number:>3} by {scene.committer(epoch):<10} {len(epoch.members):>3} devices  {change(epoch):<8} "
        f"code {epoch.safety_code[:10]}…  keys {scene.ledger.fingerprint(epoch.id)}"
    )
