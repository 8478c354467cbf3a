"""docs/protocol.md says what consumers/protocol.py, the API and the browser's client do."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import get_args

import pytest
from ninja import Schema

from accounts.api import OWN_PREFIXES
from chat import rooms
from chat.api import MessageItem, RoomItem
from chat.models import Room
from consumers import protocol
from consumers.protocol import Close, Reset, Revoked, Whisper
from events.log import LoggedEvent
from hub.api import api
from tasks import jobs
from tasks.api import JobItem
from tasks.models import State
from tests.docs.pages import ROOT, text_of

PAGE = text_of(ROOT / "docs" / "protocol.md")
STATIC = ROOT / "web" / "static" / "hub"


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    section = PAGE.partition(f"# {heading}\n")[2]
    found = re.search(r"^\|.*?\n(?=[^|])", section, re.MULTILINE | re.DOTALL)
    assert found, heading
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in found[0].splitlines()
    ]
    return rows[2:]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def javascript(*names: str) -> str:
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)


def made() -> dict[str, list[str]]:
    """The fields of every frame that the hub makes, as they follow each other."""
    frames = [
        protocol.welcome(user={}, connection="", epoch="", cursor="", offsets={}),
        protocol.frame(LoggedEvent("user.1", 1, "order.late", "{}", "")),
        protocol.frame(Whisper("user.1", "order.tick", {})),
        protocol.frame(Reset("user.1", 1, "expired")),
        protocol.frame(Revoked("user.1")),
        protocol.heartbeat(""),
        protocol.reply(1, {}),
        protocol.refusal(1, "forbidden", ""),
    ]
    found: dict[str, list[str]] = {}
    for frame in map(json.loads, frames):
        fields = found.setdefault(frame.pop("op"), [])
        fields += [name for name in frame if name not in fields]
    return found


def test_frames_to_the_client_are_those_that_are_sent() -> None:
    assert made() == {words(row[0])[0]: words(row[1]) for row in table("To the client")}


def test_every_frame_is_made_in_one_place() -> None:
    for path in (ROOT / "consumers").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        ops = re.findall(r"""["']op["'"]+\s*:\s*"(\w+)""", source)
        assert set(ops) <= (made().keys() if path.name == "protocol.py" else set()), path


def test_frames_from_the_client_are_those_that_are_understood() -> None:
    shown = {words(row[0])[0]: words(row[1]) for row in table("From the client")}
    assert shown == {
        op: [*fields, *protocol.OPTIONAL.get(op, {})] for op, fields in protocol.FROM_CLIENT.items()
    }


def test_the_browsers_client_takes_every_frame_and_sends_no_other() -> None:
    source = javascript("client.js", "transports/websocket.js")
    taken = set(re.findall(r'frame\.op === "(\w+)"', source))
    assert taken == set(made())
    sent = set(re.findall(r'\bop: "(\w+)"', javascript("client.js")))
    assert sent
    assert sent <= set(protocol.FROM_CLIENT)
    everywhere = "\n".join(path.read_text(encoding="utf-8") for path in STATIC.rglob("*.js"))
    assert set(re.findall(r'request\(\{\s*op: "(\w+)"', everywhere)) <= set(protocol.FROM_CLIENT)


def test_streams_name_their_blocks_as_sockets_name_their_frames() -> None:
    assert set(protocol.NAMES.values()) <= set(made())
    for name in protocol.NAMES.values():
        assert f"`{name}`" in PAGE.partition("## By HTTP")[2]


def test_close_codes_are_those_that_are_sent_and_the_client_does_what_the_table_says() -> None:
    shown = {int(row[0]): row[2] for row in table("Close codes")}
    assert {int(code) for code in Close} <= shown.keys()
    source = javascript("closing.js")
    names = dict(re.findall(r'const (\w+) = "([\w-]+)";', source))
    after = {int(code): names[name] for code, name in re.findall(r"\[(\d{4}), (\w+)\]", source)}
    spoken = {
        "resumes": "resume",
        "stops": "stop",
        "waits, then resumes": "wait",
        "tries once at once, then signs in": "sign-in",
    }
    for code, does in shown.items():
        assert spoken[does] == after.get(code, "resume"), code
    assert after.keys() <= shown.keys()
    vectors = json.loads((ROOT / "tests" / "vectors" / "closing.json").read_text(encoding="utf-8"))
    for code, does in shown.items():
        assert vectors["codes"][str(code)] == spoken[does]


def test_reasons_of_a_reset_are_those_that_are_given() -> None:
    shown = {words(row[0])[0] for row in table("Cursor")}
    assert shown == set(get_args(protocol.ResetReason))


def test_limits_are_those_that_hold() -> None:
    for place, value, _ in table("Limits"):
        path, _, name = words(place)[0].partition("::")
        module = import_module(path.removesuffix(".py").replace("/", "."))
        assert getattr(module, name) == int(value), place


def test_the_api_table_is_the_api() -> None:
    shown = {words(row[0])[0] for row in table("API")}
    paths = api.get_openapi_schema()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert shown == served


def test_the_hubs_own_first_words_are_those_that_are_refused() -> None:
    sentence = PAGE.partition("publishes them is refused: ")[2].partition(".\n")[0]
    assert set(words(sentence)) == OWN_PREFIXES


def test_every_event_type_of_ours_is_in_the_table() -> None:
    shown = {word for row in table("Event types") for word in words(row[0]) if word[0].isalpha()}
    for package in ("notifications", "events", "consumers", "chat"):
        for path in (ROOT / package).rglob("*.py"):
            spoken = re.findall(
                r'"((?:notification|announcement|presence|message|member)\.[a-z]+)"',
                path.read_text(encoding="utf-8"),
            )
            assert set(spoken) <= shown, path


def test_jobs_go_where_the_table_says_and_tell_so() -> None:
    rows = table("Jobs")
    shown = {state: set(words(after)) for before, after in rows for state in words(before)}
    assert shown == {str(state): set(map(str, after)) for state, after in jobs.LEGAL.items()}
    types = {word for row in table("Event types") for word in words(row[0])}
    assert {f"job.{state}" for state in State} <= types
    spoken: set[str] = set()
    for source in (ROOT / "tasks").glob("*.py"):
        text = source.read_text(encoding="utf-8")
        spoken |= set(re.findall(r'topics\.\w+(?:\([^()]*\))?,\s*"([a-z.]+_?\w+)"', text))
    assert {"job.progress", "job.log", "hub.workers_away"} <= spoken <= types


def test_rooms_tell_what_the_table_says() -> None:
    told = {kind: words(row[2]) for row in table("Event types") for kind in words(row[0])}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "chat").glob("*.py"))
    spoken = re.findall(r'topics\.\w+(?:\([^()]*\))?,\s*"(room\.\w+)"', source)
    assert set(spoken) == {kind for kind in told if kind.startswith("room.")}
    fields = re.findall(r"\w+", told["room.updated"][0])
    assert fields == list(rooms.public(Room(pk=1)))


@pytest.mark.parametrize(
    ("thing", "schema"), [("job", JobItem), ("room", RoomItem), ("message", MessageItem)]
)
def test_a_thing_has_the_fields_that_are_named(thing: str, schema: type[Schema]) -> None:
    sentence = PAGE.partition(f"A {thing} is `{{")[2].partition("}`")[0]
    assert sorted(sentence.replace("\n", " ").split(", ")) == sorted(schema.model_fields)


def test_layer_messages_are_named_as_they_are_sent() -> None:
    shown = {words(row[0])[0] for row in table("On the channel layer")}
    sent: set[str] = set()
    for name in ("sequence.py", "whispering.py"):
        source = (ROOT / "events" / name).read_text(encoding="utf-8")
        sent |= set(re.findall(r'"type": "(hub\.\w+)"', source))
    assert shown == sent
