"""What the demo shows: numbers for machines, a table that fits the terminal for people."""

import io
import json

from mlsrtc.cli.demo.screen import JsonScreen, PlainScreen

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
