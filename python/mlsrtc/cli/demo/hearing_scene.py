"""Who hears whom, as a screen shows it: a row for each who listens, a column for each tone. No network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlsrtc.cli.demo.hearing import Hall
from mlsrtc.cli.demo.screen import News

SAID = 8  # lines under the table

PASSED = (
    "Everybody in the call heard everybody else in it, each by the pitch of",
    "its tone. Who kept all keys of the device that left hears nothing sent",
    "since. The stranger, who got everything and has no key, heard no tone.",
)


@dataclass(slots=True)
class HearingScene:
    """A hall, as a screen shows it."""

    hall: Hall
    _heard: dict[tuple[str, str], bool] = field(default_factory=dict)

    @property
    def passed(self) -> Sequence[str]:
        """What was checked, in words."""
        return PASSED

    def news(self) -> Iterable[News]:
        """Who has begun to hear whom, and who has stopped, since this was asked last."""
        for listener in self.hall.listeners:
            for sender in self.hall.seats:
                hears = self.hall.hears(listener, sender)
                if hears != self._heard.get((listener.name, sender), False):
                    self._heard[listener.name, sender] = hears
                    text = f"{listener.name} hears {'' if hears else 'nothing more of '}{sender}"
                    yield News("hearing", text, {"listener": listener.name, "sender": sender, "hears": hears})

    def draw(self, said: Sequence[str]) -> Any:
        """The table and what was said last, as a rich renderable."""
        from rich.console import Group
        from rich.text import Text

        lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in said[-SAID:]]
        return Group(self._table(), self._epoch(), *lines)

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE, title="who hears whose tone", title_justify="left", pad_edge=False)
        table.add_column("")
        for seat in self.hall.seats.values():
            table.add_column(f"{seat.name}\n{seat.pitch:.0f} Hz", justify="center", no_wrap=True)
        inside = {seat.name for seat in self.hall.inside}
        for listener in self.hall.listeners:
            cells = [
                "" if sender == listener.name else "[green]●[/]" if self.hall.hears(listener, sender) else "[dim]·[/]"
                for sender in self.hall.seats
            ]
            table.add_row(listener.name, *cells, style=None if listener.name in inside else "dim")
        return table

    def _epoch(self) -> Any:
        from rich.text import Text

        epoch = self.hall.epoch
        if epoch is None:
            return Text("  no epoch yet\n", style="dim")
        groups = " ".join(epoch.safety_code[at : at + 5] for at in range(0, len(epoch.safety_code), 5))
        return Text(f"  epoch {epoch.epoch}, {len(epoch.members)} members, safety code {groups}\n")
