"""docs/how-to, the README, examples/: the session by hand runs; programs on nio are what the adapters take."""

import importlib
import re
from pathlib import Path
from typing import Any, get_args

import pages
import pytest
import reference

import mlsrtc
from mlsrtc.adapters import sframe

CALL = "how-to/call.md"
SFRAME = "how-to/sframe.md"
LIVEKIT = "how-to/livekit.md"
SHARING = "how-to/key-sharing.md"


def test_a_call_by_hand_runs_from_top_to_bottom() -> None:
    namespace: dict[str, Any] = {}
    for code in pages.compiled(CALL):
        exec(code, namespace)
    assert set(namespace["keys_of"](namespace["carol"])) == {"@bob:one.test", "@carol:one.test"}


def test_frames_of_the_call_by_hand_are_encrypted_and_decrypted() -> None:
    namespace: dict[str, Any] = {}
    for page in (CALL, SFRAME):
        for code in pages.compiled(page):
            exec(code, namespace)
    assert namespace["heard"].data == b"a word"
    with pytest.raises(mlsrtc.LocalProtocolError, match="no key to send under"):
        namespace["sender"].encrypt(b"a picture")


def test_every_reason_for_which_a_frame_is_refused_stands_in_the_table() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (pages.DOCS / SFRAME).read_text(), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    documented = re.search(r"has changed nothing:(.*?)\. A frame", sframe.__doc__ or "", re.DOTALL)
    assert documented is not None
    assert told == set(re.findall(r"`(\w+)`", documented[1]))


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (CALL, "bot.py"),
        (SFRAME, "bot.py"),
        (LIVEKIT, "bot.py"),
        (SHARING, "bot.py"),
        (SHARING, "famedly.py"),
        ("../README.md", None),
    ],
)
def test_a_program_on_nio_has_the_adapters_types(page: str, title: str | None, tmp_path: Path) -> None:
    ((_, code),) = pages.blocks(page, title=title)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    assert callable(namespace["take_part"])
    program = tmp_path / "bot.py"
    program.write_text(code)
    assert pages.untyped(program) == ""


@pytest.mark.parametrize("example", sorted((pages.ROOT / "examples").glob("*.py")), ids=lambda file: str(file.name))
def test_an_example_is_short_typed_and_stands_on_public_names(example: Path) -> None:
    text = example.read_text()
    assert len(text.splitlines()) < 80
    for module, names in re.findall(r"^from (mlsrtc\S*) import (.*)$", text, re.MULTILINE):
        assert module == "mlsrtc" or re.fullmatch(r"mlsrtc\.adapters\.\w+", module)
        assert set(names.split(", ")) <= set(reference.public(module))
    assert pages.untyped(example) == ""


def test_what_is_shown_of_media_has_the_adapters_types(tmp_path: Path) -> None:
    pytest.importorskip("livekit.api", reason="the extra `test` installs LiveKit")
    namespace: dict[str, Any] = {"__name__": "media"}
    for code in pages.compiled(LIVEKIT):
        exec(code, namespace)
    program = tmp_path / "media.py"
    program.write_text(pages.program(LIVEKIT))
    assert pages.untyped(program) == ""


@pytest.mark.parametrize(
    ("title", "module", "name"),
    [
        ("`MediaError`", "mlsrtc.adapters.livekit", "MediaError"),
        ("`FocusError`", "mlsrtc.adapters.focus", "FocusError"),
        ("`MediaRefused`", "mlsrtc.adapters.livekit", "MediaRefused"),
        ("`TrackWithdrawn`", "mlsrtc.adapters.livekit", "TrackWithdrawn"),
        ("`DataRefused`", "mlsrtc.adapters.livekit", "DataRefused"),
    ],
)
def test_every_reason_of_media_stands_in_its_table(title: str, module: str, name: str) -> None:
    page = (pages.DOCS / LIVEKIT).read_text()
    table = page.partition(f"\n| {title} | why |\n")[2].partition("\n\n")[0]
    told = {one for row in table.splitlines() for one in re.findall(r"`(\w+)`", row.split("|")[1])}
    documented = (getattr(importlib.import_module(module), name).__doc__ or "").partition("reason:")[2]
    reasons = re.findall(r"\b([a-z_]+)(?:``| and ([a-z_]+))? \(", documented) + re.findall(r"``()(\w+)``", documented)
    assert told == {one for pair in reasons for one in pair if one}


def test_the_table_tells_what_to_do_with_every_notice_and_the_package_exports_them() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (pages.DOCS / CALL).read_text(), re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(told) == sorted(notice.__name__ for notice in get_args(mlsrtc.Notice))
    assert set(told) <= set(mlsrtc.__all__)
