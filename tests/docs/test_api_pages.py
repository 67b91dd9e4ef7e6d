"""docs/reference/api-*.md name everything that a program may use. Run this file to write the pages anew:

PYTHONPATH=python:tests:tests/mls:tests/docs python tests/docs/test_api_pages.py
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any

import pages
import pytest
import reference
import test_bad_input as door
from reference import Entry

from mlsrtc import mls

MLS = "mlsrtc.mls"


@dataclass(frozen=True)
class Chapter:
    """Some names of a module under a title. `about`: where the standard speaks of them, or why it does not."""

    title: str
    module: str
    names: tuple[str, ...]
    about: str = ""


@dataclass(frozen=True)
class Page:
    file: str
    title: str
    about: str
    chapters: tuple[Chapter, ...]


def rfc(*sections: str) -> str:
    return f"RFC 9420 section{'s' if len(sections) > 1 else ''} {' and '.join(sections)}."


DOOR = Page(
    "api-mls.md",
    "The API of `mlsrtc.mls`",
    "RFC 9420 in Python. How the parts go together is shown in the [tutorial](../tutorial.md) and on "
    "[its second page](../tutorial-messages.md); what is refused, and how each refusal was made, in "
    "[what the MLS door refuses](mls-errors.md). All binary values are `bytes` as the standard encodes them; where it "
    "says `Buffer`, give `bytes`, a `bytearray`, a `memoryview` or another buffer of bytes: it is read at once. An "
    "argument of another type is a TypeError, a number out of range a LocalProtocolError (`out_of_range`), and so is "
    "text with a lone surrogate (`bad_text`); each names the argument. Every "
    "value but a `Secret` and the storages is frozen. Below a function stand the reasons for which it refuses "
    "in the tests, gathered by running them. `authenticated_data` is sent in the clear beside "
    "a message, covered by its signature (RFC 9420 section 6.1).",
    (
        Chapter("Keys and secrets", MLS, ("Secret", "SigningKey", "verify_signature", "random_bytes", "suites"),
                rfc("5.1", "17.1")),
        Chapter("Who a member is", MLS, ("Client", "Credential", "Successor", "Limits", "KeyPackage"),
                rfc("5.3", "10")),
        Chapter("Members of a group", MLS, ("Group", "Member", "Commit", "Staged"), rfc("8.5", "12.4")),
        Chapter("What is proposed", MLS, ("Proposal", "Proposed", "ReInit"), rfc("12.1")),
        Chapter("Messages to the members", MLS, ("Outgoing", "Received"), rfc("12.1", "15")),
        Chapter("What a group demands", MLS, ("required_capabilities", "external_senders"), rfc("11.1", "12.1.8.1")),
        Chapter("Groups that follow on others", MLS, ("Founded",), rfc("11.2", "11.3")),
        Chapter("From outside", MLS, ("Observer",), rfc("12.1.8", "12.4.3.3")),
        Chapter(
            "Reading messages without a group",
            MLS,
            ("inspect_commit", "CommitFacts", "inspect_group_info", "GroupInfoFacts", "inspect_key_package",
             "LeafFacts", "inspect_welcome", "WelcomeFacts", "inspect_tree", "interim_transcript_hash"),
            rfc("6", "7.2", "8.2", "10", "12.4"),
        ),
        Chapter("Storage", MLS, ("Storage", "MemoryStorage"),
                "None of the standard's: what a restart needs is the application's."),
    ),
)  # fmt: skip


def whole(title: str, module: str, *, without: frozenset[str] = frozenset()) -> Chapter:
    return Chapter(title, module, tuple(name for name in reference.public(module) if name not in without))


PAGES = (
    DOOR,
    Page(
        "api-call.md",
        "The API of a call",
        "A call of one device, without I/O. [How to join a call](../how-to/call.md) shows it, [the design]"
        "(../design.md) explains it. Times are `Now`, or seconds of its monotonic clock where a `float` is given.",
        (
            Chapter("The call", "mlsrtc.session", ("Session", "Phase", "CallMember", "Device")),
            Chapter("Keys that are handed out", "mlsrtc.sharing_session", ("SharingSession",)),
            Chapter("One key for all", "mlsrtc.shared_key_session", ("SharedKeySession",)),
            Chapter("Who sees us", "mlsrtc.wire.rtc", ("MembershipFormat",)),
            whole("Policy", "mlsrtc.policy"),
            whole("What a call tells", "mlsrtc.notices"),
            Chapter("The keys it tells", "mlsrtc.media.keys", ("MediaKey", "Sender", "Derivation")),
            Chapter("The key it is given", "mlsrtc.media.shared", ("SharedKey",)),
            whole("What comes in", "mlsrtc.wire.incoming", without=frozenset({"TOLD", "told_id", "claimed_id"})),
            whole("What goes out", "mlsrtc.outbox", without=frozenset({"Outbox"})),
            whole("Errors", "mlsrtc.errors"),
            whole("Names", "mlsrtc.identifiers"),
        ),
    ),
    Page(
        "api-adapters.md",
        "The API of the adapters",
        "What joins a call to a homeserver, a disk and a clock.",
        (
            whole("matrix-nio", "mlsrtc.adapters.nio"),
            whole("The loop", "mlsrtc.adapters.driver", without=frozenset(
                {"LOGGER", "NOTICES_KEPT", "LEAVE_FLUSH_SECONDS", "KEPT_ALWAYS", "CALLS_OF"})),
            Chapter("The focus: a LiveKit service and its tokens", "mlsrtc.adapters.focus", (
                "CallFocus", "own_focus", "find_focus", "present_memberships", "oldest_focus", "Focus", "Source",
                "FocusTokens", "Grant", "room_alias", "FocusError")),
            whole("Media with LiveKit", "mlsrtc.adapters.livekit", without=frozenset(
                {"Cryptor", "KeyProvider", "KeyRing", "room_options"})),
            whole("A transport of your own", "mlsrtc.adapters.transport"),
            whole("Event types for its filters", "mlsrtc.adapters.interest"),
            Chapter("Stores of a call", "mlsrtc.adapters.sqlite", ("SqliteStore",)),
            whole("A store of your own", "mlsrtc.adapters.store"),
            Chapter("Storage of MLS in a file", "mlsrtc.adapters.mls_storage", ("SqliteStorage",)),
            whole("SFrame", "mlsrtc.adapters.sframe"),
        ),
    ),
    Page(
        "api-testing.md",
        "The API of `mlsrtc.testing`",
        "A hostile homeserver in memory, and a party of devices in virtual time. Times are seconds of that time.",
        (whole("For tests of calls", "mlsrtc.testing"),),
    ),
)  # fmt: skip


@cache
def entries(chapter: Chapter) -> tuple[Entry, ...]:
    return tuple(reference.entry(chapter.module, name) for name in chapter.names)


def functions(entry: Entry) -> Iterator[tuple[str, Entry]]:
    """The entry, and what it has, with their qualified names."""
    yield entry.name, entry
    for member in entry.members:
        yield f"{entry.name}.{member.name}", member


@cache
def refusals() -> Mapping[str, list[str]]:
    """The reasons for which each function of the core refuses in the tests' tables, by its qualified name."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    world = door.world()
    for table in (*door.REMOTE.values(), *door.LOCAL.values()):
        for case in table:
            raised: list[Any] = []

            def watch(frame: FrameType, event: str, function: Any, raised: list[Any] = raised) -> None:
                if event == "c_exception":
                    raised.append(function)

            sys.setprofile(watch)
            try:
                case.act(world)
            except (door.RemoteProtocolError, door.LocalProtocolError):
                pass
            finally:
                sys.setprofile(None)
            if raised:  # a class is no function: what its call refuses stands in its docstring
                found[raised[-1].__qualname__].add(case.reason)
    return {name: sorted(reasons) for name, reasons in found.items()}


# -- as Markdown ---------------------------------------------------------------------------------------------


def anchor(name: str) -> str:
    return re.sub(r"[^\w]", "", name).lower()


def places(page: Page) -> dict[str, str]:
    """Where each name of all pages is explained, as seen from this one. What stands here goes before."""
    found: dict[str, str] = {}
    for other in (*(one for one in PAGES if one is not page), page):
        base = "" if other is page else other.file
        for chapter in other.chapters:
            for entry in entries(chapter):
                for name, one in functions(entry):
                    found[name] = f"{base}#{anchor(entry.name if one.kind == 'property' else name)}"
    return found


def linked(text: str, page: Page, owner: str) -> str:
    """`Group.stage()`, and `stage()` within `Group`, lead to where they are explained."""
    known = places(page)

    def link(found: re.Match[str]) -> str:
        name, called = found[1], "(" in found[0]
        for full in (f"{owner}.{name}", name):
            if full in known and full != owner and (called or "." in name or name[0].isupper()):
                return f"[{found[0]}]({known[full]})"
        return found[0]

    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(
        part if part.startswith("```") else re.sub(r"(?<!\[)`(\w+(?:\.\w+)?)(?:\([^`]*\))?`", link, part)
        for part in parts
    )


def explained(entry: Entry, level: int, page: Page, owner: str) -> str:
    name = f"{owner}.{entry.name}" if owner else entry.name
    text = f"{'#' * level} `{name}`\n\n```python\n{entry.code}\n```\n"
    if entry.doc:
        doc = reference.markdown(entry.doc, entry.parameters)
        text += f"\n{linked(doc, page, owner or entry.name)}\n"
    properties = [one for one in entry.members if one.kind == "property"]
    if properties:
        text += "\nProperties:\n\n" + "".join(
            f"* `{one.code}` · {linked(' '.join(one.doc.split()).replace('``', '`'), page, entry.name)}\n"
            for one in properties
        )
    if page is DOOR and (reasons := refusals().get(name)):
        text += f"\nRefuses in the tests with {', '.join(f'`{reason}`' for reason in reasons)}.\n"
    for one in entry.members:
        if one.kind != "property":
            text += "\n" + explained(one, level + 1, page, entry.name)
    return text


def written(page: Page) -> str:
    text = f"# {page.title}\n\n<!-- Written by tests/docs/test_api_pages.py from the docstrings. Do not edit. -->\n\n"
    text += linked(page.about, page, "") + "\n"
    for chapter in page.chapters:
        module = "" if page is DOOR else f"`{chapter.module}`. "
        text += f"\n## {chapter.title}\n"
        if about := f"{module}{chapter.about}".strip():
            text += f"\n{about}\n"
        text += "".join("\n" + explained(entry, 3, page, "") for entry in entries(chapter))
    return text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.file)
def test_the_page_is_what_the_docstrings_say(page: Page) -> None:
    assert (pages.DOCS / "reference" / page.file).read_text() == written(page)


# -- every name ----------------------------------------------------------------------------------------------

NAMED = {name for page in PAGES for chapter in page.chapters for name in chapter.names}
OF_THE_DOOR = [pair for chapter in DOOR.chapters for entry in entries(chapter) for pair in functions(entry)]
EVERYTHING = [
    pytest.param(entry, name, id=f"{chapter.module}.{name}")
    for page in PAGES
    for chapter in page.chapters
    for top in entries(chapter)
    for name, entry in functions(top)
]


def test_every_name_of_the_door_stands_in_one_chapter() -> None:
    assert sorted(name for chapter in DOOR.chapters for name in chapter.names) == sorted(mls.__all__)


def test_every_name_of_the_package_and_of_its_examples_is_explained() -> None:
    assert set(reference.public("mlsrtc")) <= NAMED
    shown = "\n".join(page.read_text() for page in [*pages.DOCS.rglob("*.md"), pages.DOCS.parent / "README.md"])
    for block in re.findall(r"^```python[^\n]*\n(.*?)^```$", shown, re.DOTALL | re.MULTILINE):
        if "from mlsrtc" not in block:
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mlsrtc"):
                assert {one.name for one in node.names} <= NAMED | {"mls"}


def test_what_the_binary_has_is_on_the_page() -> None:
    page = written(DOOR)
    for name in mls.__all__:
        assert f"\n### `{name}`\n" in page
        thing = getattr(mls, name)
        for member in vars(thing) if isinstance(thing, type) else ():
            if not member.startswith("_"):
                assert re.search(rf"^(#### `{name}\.{member}`$|\* `{member}: | +{member}: )", page, re.MULTILINE), (
                    member
                )


@pytest.mark.parametrize(("entry", "name"), EVERYTHING)
def test_everything_has_a_docstring(entry: Entry, name: str) -> None:
    assert entry.doc, name


# -- the door: units, errors, sections -----------------------------------------------------------------------

UNITS = {
    "now": "seconds",
    "not_before": "seconds",
    "not_after": "seconds",
    "lifetime": "seconds",
    "length": "bytes",
    "ahead": "messages",
    "behind": "behind the sender's newest",
    "past_epochs": "epochs",
}
"""What a number by this name counts; the docstring says so."""

REFUSES_NOTHING = {
    "CommitFacts", "Credential.basic", "Group.epoch_authenticator",
    "Group.members", "Group.save", "Group.sender_keys", "Group.tree", "KeyPackage.save",
    "Observer.members", "Observer.tree", "Proposal.add", "Proposal.context_extensions",
    "Proposal.psk", "Proposal.reinit", "Proposal.remove", "Proposal.resumption_psk", "Proposal.update", "Secret.wipe",
    "SigningKey.save", "SigningKey.sign", "Successor.first_fields", "required_capabilities", "suites",
}  # fmt: skip
"""Functions that only make a value of what they are given, or tell what one holds."""


def says(entry: Entry, name: str) -> str:
    """The docstring of a name, with that of its class, which explains the common."""
    owner = name.partition(".")[0]
    return entry.doc + "".join(one.doc for top, one in OF_THE_DOOR if top == owner)


@pytest.mark.parametrize(("name", "entry"), OF_THE_DOOR, ids=[name for name, _ in OF_THE_DOOR])
def test_the_door_tells_units_errors_and_options(name: str, entry: Entry) -> None:
    doc = says(entry, name) + DOOR.about
    assert all(unit in doc for word, unit in UNITS.items() if word in {*entry.parameters, entry.name})
    assert all(re.search(rf"\b{option.removeprefix('with_')}\b", doc) for option in entry.options)
    if entry.kind == "function":
        told = "Raises" in doc or "See `Storage." in doc or bool(refusals().get(name))
        assert told != (name in REFUSES_NOTHING)


def test_what_is_told_to_refuse_nothing_is_there() -> None:
    assert {name for name, _ in OF_THE_DOOR} >= REFUSES_NOTHING


def test_every_chapter_of_the_door_names_its_sections_or_why_there_is_none() -> None:
    for chapter in DOOR.chapters:
        assert re.match(r"RFC 9420 sections? [\d.]+( and [\d.]+)*\.$|None of the standard's: ", chapter.about)


if __name__ == "__main__":
    for one in PAGES:
        (pages.DOCS / "reference" / one.file).write_text(written(one))
