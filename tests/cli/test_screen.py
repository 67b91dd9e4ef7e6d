"""What the demo shows: numbers for machines, a table that fits the terminal for people."""

import io
import json

import pytest
from rich.console import Console

from mlsrtc import EpochChanged
from mlsrtc.cli.demo.cost import Traffic
from mlsrtc.cli.demo.ledger import Ledger
from mlsrtc.cli.demo.scene import LAYOUTS, ROWS, SAID, CallScene
from mlsrtc.cli.demo.screen import JsonScreen, PlainScreen, picture
from mlsrtc.identifiers import EpochId, MemberId

FACTS = {"epochs": 6, "seconds_from_leave_to_new_keys": 0.58, "bytes_sent": 42_200, "olm_messages_instead": 1140}


def test_machines_get_numbers() -> None:
    stream = io.StringIO()
    JsonScreen(stream).verdict([], FACTS)
    result = json.loads(stream.getvalue())
    assert (result["type"], result["passed"]) == ("result", True)
    assert {name: result[name] for name in FACTS} == FACTS


def test_people_get_units() -> None:
    stream = io.StringIO()
    PlainScreen(stream).verdict([], FACTS)
    figures = [line.split()[-2:] for line in stream.getvalue().splitlines() if line.startswith("  ")]
    assert figures[:4] == [["epochs", "6"], ["keys", "0.58"], ["42.2", "kB"], ["instead", "1,140"]]


@pytest.fixture
def scene() -> CallScene:
    """A call of 41 devices, ten more that have left, and 16 epochs."""
    ledger = Ledger()
    members = tuple(MemberId(f"m{number}") for number in range(41))
    for seat in range(51):
        account = ledger.open(seat, f"device{seat + 1:02}")
        account.members = {MemberId(f"m{seat}")}
        account.present = seat < 41
    for number in range(1, 17):
        changed = EpochChanged(EpochId(bytes([number]) * 32), number, members[7], "12345" * 6, members, (), members[:1])
        for seat in range(41):
            ledger.tell(seat, changed, float(number))
    return CallScene(ledger, Traffic(), olm_bytes=1000)


def drawn(scene: CallScene, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
    console.print(scene.draw([f"{number} said" for number in range(9)]))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_wide_terminal_shows_every_column_whole(scene: CallScene) -> None:
    lines = drawn(scene, 110, 40)
    assert lines[2].split() == " ".join(LAYOUTS[0]).split()
    assert sum("12345 12345 12345 12345 12345 12345" in line for line in lines) == ROWS
    assert [line.split() for line in lines[-SAID:]] == [[str(number), "said"] for number in range(3, 9)]


def test_a_usual_terminal_shows_the_newest_epochs_and_the_costs(scene: CallScene) -> None:
    lines = drawn(scene, 80, 24)
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if "device08" in line]
    assert [row[0] for row in rows] == [str(17 - len(rows) + at) for at in range(len(rows))]
    assert rows[-1] == ["16", "device08", "41", "-1", "41", "12345", "12345", "…", "-"]
    assert len(rows) >= 4
    assert any("Olm messages" in line for line in lines)
    assert "8 said" in lines[-1]


@pytest.mark.parametrize("width", range(50, 120, 10))
@pytest.mark.parametrize("height", [14, 24, 50])
def test_no_cell_is_cut_and_no_terminal_overflows(scene: CallScene, width: int, height: int) -> None:
    lines = drawn(scene, width, height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    heading = lines[2].split()
    assert any(heading == " ".join(layout).replace(" in short", "").split() for layout in LAYOUTS)
    assert sum(line.split()[0] == "16" for line in lines if line.strip()) == 1


def test_the_picture_is_the_widest_table(scene: CallScene) -> None:
    assert picture(scene).count("12345&#160;12345&#160;12345&#160;12345&#160;12345&#160;12345") == ROWS
